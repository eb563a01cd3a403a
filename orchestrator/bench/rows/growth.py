"""growth: how the time of a step grows with what it has to do."""

from __future__ import annotations

from typing import Any

from orchestrator.bench.row import Part, Row, ours

WITHIN = 0.1
# What grows -> (the slope that is right, where it is measured). Our side tells the slope as its value, and the times.
SWEEPS: dict[str, tuple[float, dict[str, Any]]] = {
    "parameters": (1.0, {"values": [1e4, 1e5, 1e6, 1e7, 1e8]}),
    "probes": (1.0, {"values": [8, 64, 512, 4096]}),
    "devices": (0.0, {"values": [1, 4, 16, 64], "ms": 20.0, "probes": 16, "workers": 4}),
    "replay": (1.0, {"values": [100, 1000, 10_000]}),
}
ROW = Row(
    "growth",
    "Log-log slope of the time of a step with parameters, probes and devices, and of the time of a replay with steps.",
    tuple(
        Part(
            f"growth/{what}",
            "log-log slope",
            ours("growth", what=what, **about),
            bar=right + WITHIN,
            better="lower",
            how="ours",
            quick={"values": about["values"][:2]},
            deadline_s=900.0,
        )
        for what, (right, about) in SWEEPS.items()
    ),
)

"""growth: how the time of a step grows with what it has to do."""

from __future__ import annotations

from typing import Any

from orchestrator.bench.row import Part, Row, Side, ours

WITHIN = 0.1
STEP: dict[str, Any] = {"method": {"name": "spsa", "probes": 4}, "batch": 64, "generations": 3}
# What grows -> (the slope that is right, our side). It tells the slope as its value, and the times beside it.
SWEEPS: dict[str, tuple[float, Side]] = {
    "parameters": (1.0, ours("growth", what="parameters", values=[1e4, 1e5, 1e6, 1e7, 1e8], **STEP)),
    "probes": (1.0, ours("growth", what="probes", values=[8, 64, 512, 4096], **STEP)),
    "devices": (0.0, ours("growth_devices", values=[1, 4, 16, 64], ms=20.0, probes=16, workers=4)),
    "replay": (1.0, ours("growth", what="replay", values=[100, 1000, 10_000], **STEP)),
}
SMALL = {"parameters": [1e4, 1e5], "devices": [1, 4], "replay": [10, 100]}
ROW = Row(
    "growth",
    "Log-log slope of the time of a step with parameters, probes and devices, and of the time of a replay with steps.",
    tuple(
        Part(
            f"growth/{what}",
            "log-log slope",
            side,
            bar=right + WITHIN,
            better="lower",
            how="ours",
            quick={"values": SMALL[what], "generations": 1} if what in SMALL else None,
            deadline_s=900.0,
        )
        for what, (right, side) in SWEEPS.items()
    ),
)

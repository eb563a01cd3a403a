"""stragglers: what is left of the rate when some devices are slow."""

from __future__ import annotations

from orchestrator.bench.row import Part, Row, ours

ABOUT = {"devices": 16, "slow": 3, "factor": 100.0, "ms": 1.0, "probes": 128, "seconds": 10.0}
ROW = Row(
    "stragglers",
    "Share of the summed rates of 16 devices, three of them 100 times slower, with 128 probes in mode `fastest`.",
    tuple(
        Part(
            name,
            "measurements/s",
            ours("stragglers", mode=mode, **ABOUT),
            ours("bare_devices", stages=1, **ABOUT),
            "summed rates of the devices",
            bar,
            reason="the threads of a host hand each other the lock of the interpreter between two cores",
            quick={"seconds": 0.5, "factor": 10.0} if bar else None,
        )
        for name, mode, bar in (("stragglers", "fastest", 0.90), ("stragglers/waiting-for-all", "deterministic", None))
    ),
)

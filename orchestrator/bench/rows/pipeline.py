"""pipeline: stages that work at the same time."""

from __future__ import annotations

from orchestrator.bench.row import Part, Row, ours

ABOUT = {"stages": 4, "ms": 5.0, "probes": 128, "seconds": 5.0}
ROW = Row(
    "pipeline",
    "Rate of four stages of 5 ms over four actors with 128 probes, against one stage after the other.",
    (
        Part(
            "pipeline",
            "measurements/s",
            ours("pipeline", overlap=True, **ABOUT),
            ours("pipeline", overlap=False, **ABOUT),
            "one stage after the other",
            3.5,
            quick={"seconds": 0.5},
        ),
    ),
)

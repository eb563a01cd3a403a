"""record: what journal, ledger and tracking cost."""

from __future__ import annotations

from orchestrator.bench.row import Part, Row, ours

STEPS, MS, PAIRS = 800, 20.0, 15
ROW = Row(
    "record",
    "Time of a step of about 20 ms with journal, ledger and tracking, in units of the same loop in memory: the upper "
    "end of the 95 % interval over pairs of runs.",
    (
        Part(
            "record",
            "s a step",
            ours("record", kept=True, steps=STEPS, probes=None),
            ours("record", kept=False, steps=STEPS, probes=None),
            "the same loop in memory",
            1.05,
            "lower",
            "upper end",
            rounds=PAIRS,
            prepare=ours("probes", ms=MS, steps=60),
            quick={"steps": 20, "ms": 5.0},
        ),
    ),
)

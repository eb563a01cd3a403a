"""record: what journal, ledger and tracking cost."""

from __future__ import annotations

from orchestrator.bench.row import Part, Row, ours

STEPS, MS, PAIRS = 500, 20.0, 15


def part(name: str, key: str, bar: float | None) -> Part:
    """The upper end over pairs of runs, of the settled steps or of all."""
    return Part(
        name,
        "s a step",
        ours("record", kept=True, steps=STEPS, probes=None),
        ours("record", kept=False, steps=STEPS, probes=None),
        "the same loop in memory",
        bar,
        "lower",
        "upper end",
        key=key,
        rounds=PAIRS,
        prepare=ours("probes", ms=MS, steps=60),
        quick={"steps": 20, "ms": 5.0},
    )


ROW = Row(
    "record",
    "Time of a step of about 20 ms with journal, ledger and tracking, in units of the same loop in memory: the upper "
    "end of the 95 % interval over pairs of runs. Of the second half of 500 steps; beside it of the whole run, in "
    "which the exporter imports MLflow, two seconds of a processor.",
    (part("record", "settled", 1.05), part("record/whole-run", "value", None)),
)

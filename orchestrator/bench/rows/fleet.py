"""fleet: thousands of small chips."""

from __future__ import annotations

from orchestrator.bench.row import Part, Row, ours

BATCH = 32
REASON = (
    "every write of a chip draws a number for each of its 4,820 conductances: physics is four fifths of what a chip "
    "takes in a bank, and a tenth of what it takes alone"
)
ROW = Row(
    "fleet",
    "Passes of chips a second (samples through a chip) in steps of SPSA with 4,096 crossbar chips of 2,410 parameters, "
    "batch 32, each with its own or all with one set of them.",
    tuple(
        Part(
            f"fleet/{share}",
            "chip-passes/s",
            ours("fleet", chips=4096, layers=[64, 32, 10], share=share, batch=BATCH, seconds=5.0),
            ours("chip_by_chip", chips=4096, layers=[64, 32, 10], share=share, batch=BATCH, seconds=5.0),
            "one call for each chip",
            50.0,
            reason=REASON,
            quick={"chips": 16, "seconds": 0.5},
        )
        for share in ("own", "tied")
    ),
)

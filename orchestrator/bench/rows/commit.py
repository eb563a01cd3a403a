"""commit: an update from many directions against one forward pass."""

from __future__ import annotations

from typing import Any

from orchestrator.bench.row import Part, Row, ours

WIDTH, DIRECTIONS, BATCH = 1024, 32, 100
METHODS: dict[str, dict[str, Any]] = {
    "spsa": {"name": "spsa", "probes": DIRECTIONS, "optimizer": "sgd"},
    "rank-1": {"name": "low-rank-es", "probes": DIRECTIONS, "optimizer": "sgd"},
}
REASON = (
    "32 directions of a million entries are added one after the other, so that a replay keeps its bits; a forward pass "
    "of 100 samples is one product"
)
ROW = Row(
    "commit",
    "Time of the update of one layer of width 1,024 from 32 directions, by a plain gradient step, in units of one "
    "forward pass of 100 samples.",
    tuple(
        Part(
            f"commit/{name}",
            "updates/s, passes/s",
            ours("commit", width=WIDTH, method=method, seconds=1.0),
            ours("unperturbed", layers=[WIDTH, WIDTH], batch=BATCH, forwards=1, seconds=1.0),
            "one forward pass",
            1.0,
            "lower",
            "theirs/ours",
            reason=REASON,
            quick={"seconds": 0.2},
        )
        for name, method in METHODS.items()
    ),
)

"""step: a whole zeroth-order step against as many forwards."""

from __future__ import annotations

from typing import Any

from orchestrator.bench.row import Part, Row, ours

PROBES, RATE = 4, 1e-3
BARS = {512: 1.2, 64: 1.6}
# Hidden width of 64 - h - h - h - 10: 99,845, 999,674, 10,000,897 and 100,004,422 parameters.
WIDTHS = {"1e5": 205, "1e6": 688, "1e7": 2217, "1e8": 7052}
GENERATIONS = {"1e5": 50, "1e6": 10, "1e7": 3, "1e8": 2}
METHODS: dict[str, dict[str, Any]] = {
    "spsa": {"name": "spsa", "probes": PROBES, "optimizer": "sgd", "rate": RATE},
    "rank-1": {"name": "low-rank-es", "probes": PROBES, "optimizer": "sgd", "rate": RATE},
}
REASONS = {
    "spsa": "directions with an entry for every parameter are made, added twice and made again, whatever the batch",
    "rank-1": "the update and its dispatch are longer than the forwards of so few samples",
}
SECONDS = 1.0
QUICK = {"generations": 2, "layers": [64, 205, 205, 205, 10], "seconds": 0.2}


def parts(size: str, batch: int, method: str) -> tuple[Part, ...]:
    """The step against the faster of two ways of making 2K forwards, then each way alone."""
    width = WIDTHS[size]
    layers = [64, width, width, width, 10]
    mine = ours(
        "es",
        dataset="digits",
        layers=layers,
        batch=batch,
        population=2 * PROBES,
        generations=GENERATIONS[size],
        loss=False,
        method=METHODS[method],
    )
    floor = ours("unperturbed", layers=layers, batch=batch, forwards=2 * PROBES, seconds=SECONDS)
    name = f"step/{size}-b{batch}-{method}"
    told: dict[str, Any] = {
        "unit": "steps/s",
        "ours": mine,
        "theirs": floor,
        "better": "lower",
        "how": "theirs/ours",
        "quick": QUICK if size == "1e5" and batch == 64 else None,
        "deadline_s": 600.0,
    }
    return (
        Part(name, peer="8 unperturbed forwards, the faster way", bar=BARS[batch], reason=REASONS[method], **told),
        Part(f"{name}-chain", peer="8 unperturbed forwards, one chain of products", their_key="chain", **told),
        Part(f"{name}-blocked", peer="8 unperturbed forwards, block by block", their_key="blocked", **told),
    )


ROW = Row(
    "step",
    "Time of a whole two-sided step (SPSA, rank-1 evolution strategy) with four probes, its gradient step included, in "
    "units of eight unperturbed forwards of the same batch; a network of four layers.",
    tuple(part for size in WIDTHS for batch in BARS for method in METHODS for part in parts(size, batch, method)),
)

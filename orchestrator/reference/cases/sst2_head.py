"""sst2-head: SPSA with one side, with two, and with probes weighted by their curvature, at equal passes.

Source: F. Chaubard (2026), 1.5-SPSA: fine-tuning of OPT-13B on SST-2 reaches 94.5 % with it. Published for a head
alone: nothing. Here a head 64-2 on fixed sentence embeddings (MiniLM, 384 numbers) is trained, and what is compared is
the order: weighted probes are not behind two sides, and two sides not behind one, within half a point.
Passes of a sample and step: 32 for each, so 31 probes of one side (and the loss in the middle), 16 of two, and 15 of
two that are weighted (and the loss in the middle).
Split: the 6,920 training and 1,821 test sentences of SST-2 in the split of Kim (2014). Seeds: 5.
"""

from __future__ import annotations

from typing import Any

from orchestrator.reference.case import Bar, Case, Part, Tree, digital
from orchestrator.reference.trial import accuracy, ahead


def tree(**method: Any) -> Tree:
    return {
        "data": {"name": "sst2"},
        "network": digital(64, 2),
        "method": {"scale": 0.01, "rate": 0.005, "schedule": "cosine", **method},
        "train": {"steps": 3000, "batch": 128, "chunk": 128, "rows": 32, "evaluate_every": 300},
    }


RUNS = {
    "weighted": tree(name="1.5-spsa", probes=15),
    "two-sided": tree(name="spsa", probes=16),
    "one-sided": tree(name="one-sided-spsa", probes=31),
}


def order(first: str, second: str) -> Part:
    given = RUNS[first], RUNS[second]
    return Part(f"sst2-head/{first}-over-{second}", "points", ahead, given, bar=Bar(0.0, 0.5))


CASE = Case(
    "sst2-head",
    "A head on fixed sentence embeddings, by three kinds of SPSA at equal passes.",
    "Chaubard 2026 (1.5-SPSA)",
    "6,920 training and 1,821 test sentences",
    (
        *(Part(f"sst2-head/{name}", "% correct", accuracy, (run,)) for name, run in RUNS.items()),
        order("weighted", "two-sided"),
        order("two-sided", "one-sided"),
    ),
    long=True,
)

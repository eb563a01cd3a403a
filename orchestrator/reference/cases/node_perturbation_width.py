"""node-perturbation-width: what node perturbation costs with growing width, beside SPSA at equal passes.

Source: the effective dimension of a reward. SPSA perturbs all parameters, node perturbation the outputs of all units,
and independently for each sample: passes to a loss should grow with the width w, not with the parameters. Two hidden
layers of w units have 64 w + w^2 + 10 w weights, which grow as w^1.7 from 64 to 1,024. No number is published for this.
Bar: the slope of log passes over log width is at most 1, within 0.3. Rates are those that variance allows: they fall
with the number of perturbed entries, 2 w units or all weights.
Split: the 3,823 training and 1,797 test digits, 500 of them for the loss. Seeds: 3. SPSA of such widths would take
hours to that loss, and is followed from 32 to 128.
"""

from __future__ import annotations

from typing import Any

from orchestrator.reference.case import Bar, Case, Part, Tree, digital
from orchestrator.reference.trial import Trial, ahead, passes_to

WIDTHS = (64, 128, 256, 512, 1024)
SEEDS = (0, 1, 2)
LOSS = 1.0  # nats; a network that knows nothing has 2.3
PASSES = 8  # a sample and step, for both methods
METHODS: dict[str, dict[str, Any]] = {
    "node-perturbation": {"probes": PASSES - 1, "sigma": 0.01},
    "spsa": {"probes": PASSES // 2, "scale": 0.01},
}
RATE = {"node-perturbation": 0.05, "spsa": 0.003}  # at width 64


def perturbed(name: str, w: int) -> int:
    """Entries that one reward must explain."""
    return 2 * w + 10 if name == "node-perturbation" else 64 * w + w * w + 10 * w + 2 * w + 10


def tree(name: str, w: int, steps: int, every: int) -> Tree:
    rate = RATE[name] * perturbed(name, WIDTHS[0]) / perturbed(name, w)
    return {
        "network": digital(w, w, 10),
        "method": {"name": name, "optimizer": "sgd", "rate": rate, **METHODS[name]},
        "train": {"steps": steps, "batch": 16, "chunk": 16, "evaluate_every": every, "evaluate_samples": 500},
    }


def slope(trial: Trial, *trees: Tree) -> float:
    """Of log passes to the loss over log width. Raises ValueError if some width does not come there."""
    import numpy as np

    widths = [t["network"][0]["size"] for t in trees]
    passes: list[float] = []
    for w, t in zip(widths, trees, strict=True):
        needed = passes_to(trial, t, LOSS)
        if needed is None:
            raise ValueError(f"width {w} does not come to a loss of {LOSS} in {t['train']['steps']:,} steps")
        passes.append(needed)
    return float(np.polyfit(np.log(widths), np.log(passes), 1)[0])


def growth(name: str, widths: tuple[int, ...], every: int, bar: Bar | None) -> Part:
    trees = tuple(tree(name, w, 20_000, every) for w in widths)
    return Part(f"node-perturbation-width/growth-{name}", "log passes / log width", slope, trees, SEEDS, bar=bar)


def at_equal_passes(w: int) -> Part:
    trees = tuple(tree(name, w, 300, 300) for name in METHODS)
    return Part(f"node-perturbation-width/{w}", "points above SPSA", ahead, trees, SEEDS)


CASE = Case(
    "node-perturbation-width",
    "Passes of node perturbation to a loss of 1 nat over the width, and its accuracy beside SPSA at equal passes.",
    "the effective dimension of a reward",
    "3,823 training and 1,797 test digits",
    (
        growth("node-perturbation", WIDTHS, 10, Bar(1.0, 0.3, "lower")),
        growth("spsa", (32, 64, 128), 50, None),
        *(at_equal_passes(w) for w in WIDTHS),
    ),
)

"""mnist-zeroth-order: black-box training on MNIST.

Source: A. Skalli et al., arXiv:2503.16943 (2025), with the curves in the repository of its authors. Published: the best
test accuracy is 97.96 % for PEPG, 95.58 % for finite differences of 100 directions, 91.58 % for SPSA, one run each.
Differences: the network of the source is convolutional with 11,274 parameters; here it is 784-32-10 with 25,450. As
there: batches of 100 images, a population of 200, one pair of losses a step for SPSA, Adam, the best accuracy of a
curve with a point each 100 steps, and as many epochs as the curves have: 40, 20 and 200.
Bars: the published numbers, within 1 point. Split: the 60,000 and 10,000 images of MNIST. Seeds: 2.
"""

from __future__ import annotations

from typing import Any

from orchestrator.reference.case import Bar, Case, Part, Tree, digital
from orchestrator.reference.trial import best

EPOCH = 600  # steps


def tree(epochs: int, **method: Any) -> Tree:
    return {
        "data": {"name": "mnist"},
        "network": digital(32, 10),
        "method": {"optimizer": "adam", "schedule": "cosine", **method},
        "train": {"steps": epochs * EPOCH, "batch": 100, "chunk": 100, "rows": 64, "evaluate_every": 100},
    }


RUNS = {  # published, run file
    "spsa": (91.58, tree(200, name="spsa", probes=1, scale=0.001, rate=0.002)),
    "pgpe": (97.96, tree(40, name="pgpe", probes=100, scale=0.1, rate=0.01)),
    "finite-differences": (95.58, tree(20, name="finite-differences", probes=100, rate=0.001)),
}
CASE = Case(
    "mnist-zeroth-order",
    "Black-box training of a digital network 784-32-10 on MNIST, best test accuracy along the curve.",
    "Skalli et al. 2025 (arXiv:2503.16943)",
    "60,000 training and 10,000 test images",
    tuple(
        Part(f"mnist-zeroth-order/{name}", "% correct", best, (run,), (0, 1), published, bar=Bar(published, 1.0))
        for name, (published, run) in RUNS.items()
    ),
    long=True,
)

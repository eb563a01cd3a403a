"""iris: black-box training of a network of 83 parameters, 4-10-3, on Iris.

Source: A. Skalli et al., arXiv:2503.16943 (2025), with the curves in the repository of its authors. Published: test
accuracy at the end 97.4 % for SPSA, CMA-ES and particle swarms, 94.7 % for PEPG, 92.1 % for finite differences of one
direction, each of one run on a random split. One row of the test part is 2.6 points, so the bar is the published number
less two rows, for the median of ten splits.
Split: three quarters for training; seed n takes the n-th seeded split, 38 rows for testing. Seeds: 10.
"""

from __future__ import annotations

from typing import Any

from orchestrator.reference.case import Bar, Case, Part, Tree, digital
from orchestrator.reference.trial import accuracy

TWO_ROWS = 100 * 2 / 38


def tree(steps: int, **method: Any) -> Tree:
    return {
        "data": {"name": "iris", "split": 0},
        "network": digital(10, 3),
        "method": method,
        "train": {"steps": steps, "batch": 112, "chunk": 112, "rows": 32},
    }


RUNS = {  # published, run file
    "spsa": (97.4, tree(1000, name="spsa", probes=8, scale=0.05, rate=0.02)),
    "pgpe": (94.7, tree(500, name="pgpe", probes=50, rate=0.02)),
    "cma": (97.4, tree(200, name="population", strategy="cma", population=50)),
    "pso": (97.4, tree(200, name="population", strategy="pso", population=100)),
    "finite-differences": (92.1, tree(1000, name="finite-differences", probes=1, sides="two", rate=0.02)),
}
CASE = Case(
    "iris",
    "Black-box training of a digital network 4-10-3 on Iris.",
    "Skalli et al. 2025 (arXiv:2503.16943)",
    "a seeded split for each seed, 38 of 150 rows for testing",
    tuple(
        Part(
            f"iris/{name}",
            "% correct",
            accuracy,
            (run,),
            tuple(range(10)),
            published,
            bar=Bar(published, TWO_ROWS),
            statistic="median",
        )  # fmt: skip
        for name, (published, run) in RUNS.items()
    ),
)

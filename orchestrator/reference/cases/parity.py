"""parity: XOR on a network 2-2-1 and parity of four bits on 4-4-1, by multiplexed gradient descent with four codes.

Source: A. N. McCaughan et al., APL Machine Learning 1:026118 (2023), and the code of its authors, which trains these
networks. Published: times to a solution, which are only recalled: none is compared.
Hidden units are sinusoids, as the response of an interferometer is. With tanh even the exact gradient stays in a local
minimum: of 100 first weights, with inputs of -1 and 1, Adam by all rows solved XOR from 41 to 44 and parity from 14 to
18, by its rate, in 6,000 steps (with the squared error, at best 98 % and 94 % of 50, in 10,000), so that the case would
measure luck with first weights and not the method.
Bar: solved, every row right at some time, by each of ten seeds; passes are those until then.
Split: none, all rows are trained on and tested. Seeds: 10, of the first weights and of the codes.
"""

from __future__ import annotations

from orchestrator.reference.case import Bar, Case, Part, Tree, digital
from orchestrator.reference.trial import solves

TASKS = {"xor": ("xor", 2, 4), "parity": ("parity-4", 4, 16)}  # data set, hidden units, rows
CODES = ("sequential", "random", "walsh", "sinusoid")


def tree(task: str, codes: str) -> Tree:
    data, hidden, rows = TASKS[task]
    return {
        "data": {"name": data},
        "network": digital(hidden, 1, decode="sin"),
        "method": {"name": "mgd", "code": codes, "optimizer": "adam", "scale": 0.05, "rate": 0.03},
        "train": {"steps": 20_000, "batch": rows, "chunk": rows, "evaluate_every": 50, "evaluate_chunk": rows},
    }


CASE = Case(
    "parity",
    "XOR (2-2-1) and parity of four bits (4-4-1) by multiplexed gradient descent.",
    "McCaughan et al. 2023",
    "all rows, trained on and tested",
    tuple(
        Part(f"parity/{task}-{codes}", "solved", solves, (tree(task, codes),), tuple(range(10)), bar=Bar(1.0))
        for task in TASKS
        for codes in CODES
    ),
)

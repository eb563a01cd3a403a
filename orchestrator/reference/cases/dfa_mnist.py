"""dfa-mnist: direct feedback alignment against backpropagation, on a network of one hidden layer.

Source: A. Nokland, NeurIPS 2016 (arXiv:1609.01596), and M. Nakajima et al., Nature Communications 13:7847 (2022) for
augmented DFA, which needs no derivative of the physics. Published: that both come close to backpropagation on MNIST; no
number for this network. Bars: DFA within 1 point of backpropagation, augmented DFA within 1.5.
Physics-aware training of digital stages is backpropagation: the chip is the twin.
Split: the 60,000 and 10,000 images of MNIST. Seeds: 3, of the first weights, the batches and the random feedback.
"""

from __future__ import annotations

from typing import Any

from orchestrator.reference.case import Bar, Case, Part, Tree, digital
from orchestrator.reference.trial import accuracy, ahead

EPOCHS = 3


def tree(**method: Any) -> Tree:
    return {
        "data": {"name": "mnist"},
        "network": digital(256, 10),
        "method": {"rate": 0.001, "optimizer": "adam", **method},
        "train": {"steps": 469 * EPOCHS, "batch": 128, "chunk": 128, "evaluate_every": 469},
    }


BACKPROP = tree(name="physics-aware")


def part(name: str, within: float) -> Part:
    given = (tree(name=name), BACKPROP)
    return Part(f"dfa-mnist/{name}", "points above backpropagation", ahead, given, (0, 1, 2), bar=Bar(0.0, within))


CASE = Case(
    "dfa-mnist",
    "Direct feedback alignment against backpropagation on MNIST, 784-256-10.",
    "Nokland 2016; Nakajima et al. 2022",
    "60,000 training and 10,000 test images",
    (
        Part("dfa-mnist/backpropagation", "% correct", accuracy, (BACKPROP,), (0, 1, 2)),
        part("dfa", 1.0),
        part("augmented-dfa", 1.5),
    ),
)

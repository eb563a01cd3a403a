"""dfa-mnist: direct feedback alignment against backpropagation, on a network of one hidden layer.

Source: A. Nokland, NeurIPS 2016 (arXiv:1609.01596), and M. Nakajima et al., Nature Communications 13:7847 (2022) for
augmented DFA, which needs no derivative of the physics. Published: that both come close to backpropagation on MNIST; no
number for this network. Bars: DFA within 1 point of backpropagation, augmented DFA within 1.5.
Physics-aware training of digital stages is backpropagation: the chip is the twin. Each method has the rate, of 0.004,
0.008 and 0.016, that is best on a validation part of the training images; after five epochs DFA is still behind.
Augmented DFA has tanh, whose slope the cosine resembles, and backpropagation in the same network beside it: with relu,
whose slope is a step, the cosine left it 4.7 points behind.
Split: the 60,000 and 10,000 images of MNIST. Seeds: 3, of the first weights, the batches and the random feedback.
"""

from __future__ import annotations

from orchestrator.reference.case import Bar, Case, Part, Tree, digital
from orchestrator.reference.trial import accuracy, ahead

SEEDS = (0, 1, 2)
EPOCH = 234  # steps


def tree(method: str, rate: float, decode: str = "relu") -> Tree:
    return {
        "data": {"name": "mnist"},
        "network": digital(256, 10, decode=decode),
        "method": {"name": method, "optimizer": "adam", "rate": rate, "schedule": "cosine"},
        "train": {"steps": 5 * EPOCH, "batch": 256, "chunk": 256, "evaluate_every": EPOCH},
    }


BACKPROP = {"relu": tree("physics-aware", 0.008), "tanh": tree("physics-aware", 0.016, "tanh")}


def part(method: str, rate: float, decode: str, within: float) -> Part:
    given = tree(method, rate, decode), BACKPROP[decode]
    return Part(f"dfa-mnist/{method}", "points above backpropagation", ahead, given, SEEDS, bar=Bar(0.0, within))


CASE = Case(
    "dfa-mnist",
    "Direct feedback alignment against backpropagation on MNIST, 784-256-10.",
    "Nokland 2016; Nakajima et al. 2022",
    "60,000 training and 10,000 test images",
    (
        Part("dfa-mnist/backpropagation", "% correct", accuracy, (BACKPROP["relu"],), SEEDS),
        part("dfa", 0.016, "relu", 1.0),
        part("augmented-dfa", 0.008, "tanh", 1.5),
    ),
)

"""forward-forward-mnist: the forward-forward algorithm on MNIST, three layers of 1,000 units.

Source: G. Hinton, arXiv:2212.13345 (2022); loeweX/Forward-Forward (MIT). Published: a test error of 1.36 % in the
paper, 1.47 % by its own code, 1.45 % by the repository, whose settings these are: batches of 100, 100 epochs, SGD with
rate 1e-3 and momentum 0.9.
Bar: 98.64 % correct, within 0.2 points. Split: the 60,000 and 10,000 images of MNIST. Seeds: 1.
"""

from __future__ import annotations

from orchestrator.reference.case import Bar, Case, Part, digital
from orchestrator.reference.trial import accuracy

EPOCHS = 100
TREE = {
    "data": {"name": "mnist"},
    "network": [{**stage, "encode": "rms", "decode": "relu"} for stage in digital(1000, 1000, 1000, 10)],
    "method": {"name": "forward-forward", "optimizer": "momentum", "rate": 0.001},
    "train": {"steps": 600 * EPOCHS, "batch": 100, "chunk": 100, "evaluate_every": 600},
}
CASE = Case(
    "forward-forward-mnist",
    "The forward-forward algorithm on MNIST, three layers of 1,000 units, 100 epochs.",
    "Hinton 2022 (arXiv:2212.13345); loeweX/Forward-Forward",
    "60,000 training and 10,000 test images",
    (Part("forward-forward-mnist", "% correct", accuracy, (TREE,), (0,), 98.64, bar=Bar(98.64, 0.2)),),
    long=True,
)

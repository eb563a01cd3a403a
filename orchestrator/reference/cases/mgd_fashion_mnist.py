"""mgd-fashion-mnist: multiplexed gradient descent on Fashion-MNIST.

Source: A. N. McCaughan et al., APL Machine Learning 1:026118 (2023), and the code of its authors: 14,378 parameters,
batches of 1,000, one random code a step, an update each step, cross-entropy. Published: an accuracy that is in the
paper only and was not looked up, so none is given here, and the case is only reported.
Differences: the network of the source is convolutional; here it is 784-18-10 with 14,320 parameters.
Split: the 60,000 and 10,000 images of Fashion-MNIST. Seeds: 3.
"""

from __future__ import annotations

from orchestrator.reference.case import Case, Part, digital
from orchestrator.reference.trial import best

TREE = {
    "data": {"name": "fashion-mnist"},
    "network": digital(18, 10),
    "method": {"name": "mgd", "code": "random", "optimizer": "adam", "rate": 0.001},
    "train": {"steps": 50_000, "batch": 1000, "chunk": 1000, "evaluate_every": 500},
}
CASE = Case(
    "mgd-fashion-mnist",
    "Multiplexed gradient descent on Fashion-MNIST, 784-18-10, best test accuracy along the curve.",
    "McCaughan et al. 2023",
    "60,000 training and 10,000 test images",
    (Part("mgd-fashion-mnist", "% correct", best, (TREE,), (0, 1, 2)),),
    long=True,
)

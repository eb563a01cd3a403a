"""Self-contrastive forward-forward: a stage tells samples from mixtures of two of them, without any label.

    L_l = [log(1 + exp(theta - g+)) + log(1 + exp(g- - theta))] / 2,      g = sum_j h_j^2

g+: goodness for a sample; g-: for the mean of this sample and another one of the batch; theta = width (times
`threshold`). Stages learn features; nothing is predicted. The last stage of a network, or more, is a group of its own
with a method that has labels; predictions are then those of that method. A mixture is shorter than a sample, so take
the length out of what each stage sees, the first included: `encode = "rms"`, or "peak" where inputs have a range.
Effective dimension per reward: none, as in forward-forward.

Source: X. Chen, D. Liu, J. Laydevant, J. Grollier, "Self-Contrastive Forward-Forward algorithm", Nature Communications
16:5978 (2025). Difference: the source sets two samples side by side before two equal halves of the weights, which is
the weights times their sum, and a sample beside itself for g+; here the mean takes the place of the sum, so that both
kinds stay in the range of the inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from algorithms.contracts import AS_IS, MIXED, Facts, Passes
from algorithms.methods.forward_forward import Contrast


@dataclass(frozen=True)
class SelfContrastive(Contrast):
    """threshold: theta over the width."""

    answers = False
    facts = Facts(
        "none: a loss of its own",
        "for its own loss",
        "where what tells samples from mixtures does not tell classes apart; the last stage, which needs labels",
    )

    def passes(self, size: int = 1) -> Passes:
        return Passes((0, 0), (0.0, 0.0), (AS_IS, MIXED))

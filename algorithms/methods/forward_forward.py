"""Forward-forward: each stage makes its activity large for right labels and small for wrong ones; no error travels.

    L_l = [log(1 + exp(theta - g+)) + log(1 + exp(g- - theta))] / 2 + p mean_j (m_j - mean m)^2,      g = sum_j h_j^2

g+ and g-: the goodness of the stage's output with the right and with a wrong label laid over the input; theta = width
(times `threshold`), so that a typical output is 1; m_j: mean of output j over the samples with right labels. The last
term, peer normalisation, keeps outputs from falling silent. A class is predicted by laying every label in turn (C
passes) and taking the largest sum of goodness over all stages but the first, to which the label is plain.

Only the direction of an output may tell a stage what the one below thought of it, so its length is taken out between
stages: `encode = "rms"` in the run file, of every stage, or "peak" where inputs have a range. Effective dimension per
reward: none, the loss is differentiated; that it need not agree with the loss of the network is its error.

Sources: G. Hinton, "The forward-forward algorithm", arXiv:2212.13345 (2022); loss, theta, p and scores as in
loeweX/Forward-Forward (MIT). Differences: m is that of the samples at hand, not a running mean; the gradient of a ReLU
is its own; labels are laid beside the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from algorithms.contracts import RIGHT, WRONG, Algorithm, Array, Facts, Passes, Trace, Tree, View, all_rows


def goodness(h: Array) -> Array:
    """Sum of squares over the outputs of a stage, [...] for h [..., n_out]."""
    return jnp.sum(h**2, axis=-1)


@dataclass(frozen=True)
class Contrast(Algorithm):
    """Base of methods with two rows, the first of which shall have goodness above theta = threshold * width."""

    route = "local"
    signal = "none"
    evidence = "gradients"
    spread = "data"

    threshold: Annotated[float, Gt(0)] = 1.0

    def needs(self, physical: bool) -> frozenset[str]:
        return frozenset({"twin"}) if physical else frozenset()

    def loss(self, h: Array) -> Array:
        """Of outputs [2, batch, n_out], summed over the batch."""
        theta, (high, low) = self.threshold * h.shape[-1], goodness(h)
        return jnp.sum(jax.nn.softplus(theta - high) + jax.nn.softplus(low - theta)) / 2

    def learn(self, view: View, trace: Trace, signal: Array | None) -> tuple[Tree, Array | None]:
        gradient, _ = all_rows(view.vjp, trace.x, trace.v, jax.grad(self.loss)(trace.h))
        return jax.tree.map(lambda g: g.sum(0), gradient), None


@dataclass(frozen=True)
class ForwardForward(Contrast):
    """threshold: theta over the width. peer: p. first: whether the first stage has a say in predictions, too."""

    facts = Facts(
        "none: a loss of its own",
        "for its own loss",
        "where telling labels apart in a stage does not serve the stages above; C passes to predict",
    )

    peer: Annotated[float, Ge(0)] = 0.03
    first: bool = False

    def passes(self, size: int = 1) -> Passes:
        return Passes((0, 0), (0.0, 0.0), (RIGHT, WRONG))

    def loss(self, h: Array) -> Array:
        m = jnp.mean(h[0], axis=0)
        return super().loss(h) + h.shape[1] * self.peer * jnp.var(m)

    def predict(self, n_classes: int) -> Passes:
        return Passes((0,) * n_classes, (0.0,) * n_classes, tuple(range(n_classes)))

    def score(self, view: View, trace: Trace) -> Array | None:
        says = self.first or view.stage > 0 or view.stages == 1
        return goodness(trace.h) * says

"""Local errors: each stage learns to be read by a fixed random classifier of its own; no error travels.

    L_l = -log softmax(h_l R_l)[y],      R_l normal with variance 1 / width, [width, classes]

Entries of +-1 would often give two classes equal columns in a narrow stage, which could never tell them apart. The last
stage is read as it is: there R_l is the identity and L_l the loss of the network. A class is predicted by the sum of
h_l R_l over the stages, or by the last stage alone. One pass; a stage learns as soon as it has measured. Effective
dimension per reward: none, the loss is differentiated; lower stages learn what a linear readout can use, not what the
stages above could.

Source: H. Mostafa, V. Ramesh, G. Cauwenberghs, "Deep supervised learning using local errors", Frontiers in Neuroscience
12:608 (2018), fixed random auxiliary classifiers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from algorithms.contracts import Algorithm, Array, Facts, Trace, Tree, View, all_rows


@dataclass(frozen=True)
class LocalReadout(Algorithm):
    """votes: who predicts, "all" stages or the "last"."""

    route = "local"
    signal = "none"
    evidence = "gradients"
    spread = "data"
    facts = Facts(
        "none: a loss of its own",
        "for its own loss; in the last stage, that of the network",
        "where the stages above could use what a linear readout cannot",
    )

    votes: Literal["all", "last"] = "all"

    def needs(self, physical: bool) -> frozenset[str]:
        return frozenset({"twin"}) if physical else frozenset()

    def learn(self, view: View, trace: Trace, signal: Array | None) -> tuple[Tree, Array | None]:
        R, right = readout(view, trace.h.shape[-1]), jax.nn.one_hot(trace.y, view.n_classes)

        def loss(h: Array) -> Array:
            return -jnp.sum(jax.nn.log_softmax(h @ R) * right)

        gradient, _ = all_rows(view.vjp, trace.x, trace.v, jax.grad(loss)(trace.h))
        return jax.tree.map(lambda g: g.sum(0), gradient), None

    def score(self, view: View, trace: Trace) -> Array | None:
        if self.votes == "last":
            return None  # the readout of the network is that of its last stage
        return (trace.h[0] @ readout(view, trace.h.shape[-1])).T


def readout(view: View, width: int) -> Array:
    """R_l, [width, classes]."""
    if view.stage == view.stages - 1:
        return jnp.eye(view.n_classes)[-width:]  # a single output is the log-odds of the second of two classes
    return jax.random.normal(jax.random.fold_in(view.key, view.stage), (width, view.n_classes)) / jnp.sqrt(width)

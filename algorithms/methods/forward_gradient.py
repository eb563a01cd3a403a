"""Forward gradient: node perturbation with the derivative of the loss along a jitter instead of a difference of losses.

    delta_h = 1/K sum_k  (dL/dh . xi_k)  xi_k,        xi_k = +-1 in every output of every stage
    grad_l  = (df_m/dtheta (x_l, theta_l))^T delta_h                      at the measured x_l and v_l

The derivative is carried forward: xi_k joins what moves already at each stage, and the stage's twin and its decoding,
linearised at what was measured, say how the outputs move. Nothing is stored and nothing goes back but one number a
sample and jitter. E[delta_h] = dL/dh exactly where the twins are exact; there is no step size, and a noise of the loss
has no part in it. One pass of the devices; K of the twins, in tangents.

Effective dimension per reward: D, the number of outputs that are jittered together, for every sample by itself: the
squared error of delta_h is (D - 1) / K of |dL/dh|^2.

Sources: A. G. Baydin, B. A. Pearlmutter, D. Syme, F. Wood, P. Torr, "Gradients without backpropagation",
arXiv:2202.08587 (2022); activities in place of weights: M. Ren, S. Kornblith, R. Liao, G. Hinton, ICLR 2023. Difference
to both: entries are +-1 instead of normal, which has the smaller variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
from annotated_types import Ge, Le

from algorithms.contracts import AS_IS, Algorithm, Array, Facts, Key, Passes, Trace, Tree, View
from algorithms.directions import signs


@dataclass(frozen=True)
class ForwardGradient(Algorithm):
    """probes: K, tangents that are carried at once."""

    route = "broadcast"
    signal = "losses"
    evidence = "gradients"
    spread = "data"
    facts = Facts(
        "the outputs that are jittered together, sample by sample",
        "its mean, where the twin is",
        "wide networks; where the twin is wrong, the more the deeper the network",
    )

    probes: Annotated[int, Ge(1), Le(4096)] = 8

    def needs(self, physical: bool) -> frozenset[str]:
        return frozenset({"twin"})

    def passes(self, size: int = 1) -> Passes:
        K = self.probes
        rows = tuple(range(1 + K)), (0.0, *(1.0,) * K), (AS_IS,) * (1 + K)
        return Passes(*rows, perturbs="activity", tangents=True)

    def jitter(self, key: Key, shape: tuple[int, ...]) -> Array:
        return signs(key, shape)

    def learn(self, view: View, trace: Trace, signal: Array | None) -> tuple[Tree, Array | None]:
        slope, xi = jnp.asarray(signal)[1:], jnp.asarray(trace.jitter)[1:]
        delta_h = jnp.mean(slope[..., None] * xi, axis=0)
        gradient, _ = view.vjp(trace.x[0], trace.v[0], delta_h)
        return gradient, None

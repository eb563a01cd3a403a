"""Node perturbation: the outputs of all stages are jittered together, and the loss of each sample says what that did.

    delta_h = 1/K sum_k  [L(h + sigma xi_k) - L(h)] / sigma  xi_k,        xi_k = +-1 in every entry
    grad_l  = (df_m/dtheta (x_l, theta_l))^T delta_h                      at the x_l and v_l of the unperturbed row

Two-sided: [L(h + sigma xi_k) - L(h - sigma xi_k)] / (2 sigma) instead. E[delta_h] = dL/dh + O(sigma^2) either way, for
xi is symmetric. No parameter is perturbed, so nothing is written; what a stage does with delta_h is its own affair: the
way from its parameters to its outputs is its twin's, or exact where it is digital. Passes: 1 + K, two-sided 1 + 2 K.
Jittered outputs must be legal inputs of the stage above: `encode = "clip"` or "peak" there, if its inputs have a range.

Effective dimension per reward: D, the number of outputs that are jittered together, for every sample by itself: the
squared error of delta_h is (D - 1) / K of |dL/dh|^2, and a batch of B samples averages it like B K probes. Noise of one
loss, s, adds 2 D s^2 / (sigma^2 K), two-sided a quarter of that.

Sources: B. Widrow, M. A. Lehr, Proc. IEEE 78:1415 (1990), Madaline Rule III; J. Werfel, X. Xie, H. S. Seung, "Learning
curves for stochastic gradient descent in linear feedforward networks", Neural Computation 17:2699 (2005). Difference:
they perturb what goes into the activation, here what comes out of a stage is perturbed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
from annotated_types import Ge, Gt, Le

from algorithms.contracts import AS_IS, Algorithm, Array, Facts, Key, Passes, Trace, Tree, View
from algorithms.directions import signs


@dataclass(frozen=True)
class NodePerturbation(Algorithm):
    """probes: K. sigma: in units of what a stage decodes. two_sided: each probe with both signs."""

    route = "broadcast"
    signal = "losses"
    evidence = "gradients"
    spread = "data"
    facts = Facts(
        "the outputs that are jittered together, sample by sample",
        "its mean, but for O(sigma^2)",
        "wide networks; noise of the loss, as 1/sigma^2; a wrong local twin",
    )

    probes: Annotated[int, Ge(1), Le(4096)] = 8
    sigma: Annotated[float, Gt(0)] = 0.1
    two_sided: bool = False

    def needs(self, physical: bool) -> frozenset[str]:
        return frozenset({"twin"}) if physical else frozenset()

    def passes(self, size: int = 1) -> Passes:
        K, sides = self.probes, (self.sigma, -self.sigma) if self.two_sided else (self.sigma,)
        probe = (0, *(k for k in range(1, K + 1) for _ in sides))
        return Passes(probe, (0.0, *sides * K), (AS_IS,) * len(probe), perturbs="activity")

    def jitter(self, key: Key, shape: tuple[int, ...]) -> Array:
        return signs(key, shape)

    def learn(self, view: View, trace: Trace, signal: Array | None) -> tuple[Tree, Array | None]:
        L, sigma = jnp.asarray(signal), self.sigma
        xi = jnp.asarray(trace.jitter) / sigma
        if self.two_sided:
            slope, xi = (L[1::2] - L[2::2]) / (2 * sigma), xi[1::2]
        else:
            slope, xi = (L[1:] - L[0]) / sigma, xi[1:]
        delta_h = jnp.mean(slope[..., None] * xi, axis=0)
        gradient, _ = view.vjp(trace.x[0], trace.v[0], delta_h)
        return gradient, None

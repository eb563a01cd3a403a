"""One-sided SPSA: one loss a probe, against that of the unperturbed parameters, which all of them share.

    g = 1/K sum_k  [L(theta + c d_k) - L(theta)] / c  d_k,        d_k = +-1 in every entry

K + 1 passes where two sides take 2 K. E[g] = grad L + O(c^2); with unit |grad L|, a loss of second order with the
Hessian H and loss noise sigma the squared error is [(d - 1) + 2 d sigma^2 / c^2 + d c^2/4 E(d_k.H.d_k)^2] / K for d
parameters: noise weighs four times as much as in `spsa`, and the curvature, which two sides cancel, stays as variance.
The effective dimension per reward is d.

L(theta) is measured on the chip of the first probe: among tied chips that differ, so do both sides of a difference.

Source: the forward difference of J. C. Spall, IEEE Trans. Automatic Control 37:332 (1992), with one L(theta) for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le

from algorithms.contracts import AS_IS, Algorithm, Array, Facts, Key, Passes, Tree, Update, shares
from algorithms.directions import lazy_signs, mixture


@dataclass(frozen=True)
class OneSidedSPSA(Algorithm):
    """probes: K. scale: c, in units of the parameters."""

    route = "broadcast"
    signal = "losses"
    evidence = "losses"
    spread = "probes"
    facts = Facts("all parameters", "in the mean, to second order of the scale", "noise, curvature, unequal tied chips")

    probes: Annotated[int, Ge(1), Le(65536)] = 32
    scale: Annotated[float, Gt(0)] = 0.05

    def passes(self, size: int = 1) -> Passes:
        K, c = self.probes, self.scale
        return Passes((0, *range(K)), (0.0, *[c] * K), (AS_IS,) * (K + 1), perturbs="params")

    def perturb(self, context: Tree, probe: Array) -> Tree:
        key, _, params = context
        return lazy_signs(jax.random.fold_in(key, probe), params)

    def update(self, key: Key, step: Array, state: Tree, params: Tree, evidence: Array) -> Update:
        slope = (evidence[1:] - evidence[0]) / self.scale
        g = mixture(lambda probe: self.perturb((key, state, params), probe), shares(slope))
        return Update(g, state, True, {"slope_rms": jnp.sqrt(jnp.nanmean(slope**2))})

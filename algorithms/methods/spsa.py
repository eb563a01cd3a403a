"""SPSA, simultaneous perturbation: all parameters at once, two losses a probe.

    g = 1/K sum_k  [L(theta + c d_k) - L(theta - c d_k)] / (2 c)  d_k,        d_k = +-1 in every entry

E[g] = grad L + O(c^2); with unit |grad L| the squared error is [(d - 1) + d sigma^2 / (2 c^2)] / K for d parameters and
loss noise sigma, so the effective dimension per reward is d. Needs nothing of a stage but its loss.

Source: J. C. Spall, IEEE Trans. Automatic Control 37:332 (1992); averaging over K probes, ibid. section IV.
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
class SPSA(Algorithm):
    """probes: K. scale: c, in units of the parameters."""

    route = "broadcast"
    signal = "losses"
    evidence = "losses"
    spread = "probes"
    facts = Facts(
        "the parameters",
        "its mean, but for O(c^2)",
        "many parameters; noise of the loss, as 1/c^2; drift between the two sides",
    )

    probes: Annotated[int, Ge(1), Le(65536)] = 32
    scale: Annotated[float, Gt(0)] = 0.05

    def passes(self, size: int = 1) -> Passes:
        K, c = self.probes, self.scale
        probe = tuple(k for k in range(K) for _ in range(2))
        return Passes(probe, (c, -c) * K, (AS_IS,) * (2 * K), perturbs="params")

    def perturb(self, context: Tree, probe: Array) -> Tree:
        key, _, params = context
        return lazy_signs(jax.random.fold_in(key, probe), params)

    def update(self, key: Key, step: Array, state: Tree, params: Tree, evidence: Array) -> Update:
        slope = (evidence[0::2] - evidence[1::2]) / (2 * self.scale)
        g = mixture(lambda probe: self.perturb((key, state, params), probe), shares(slope))
        return Update(g, state, True, {"slope_rms": jnp.sqrt(jnp.nanmean(slope**2))})

"""OpenAI-ES, evolution strategy of a normal distribution around the parameters, by antithetic pairs.

    g = 1/(2 K sigma) sum_k  [u_{k+} - u_{k-}] e_k,    L_{k+-} = L(theta +- sigma e_k),    e_k near to normal

u are the losses themselves, or (`shaping = "ranks"`) their centred ranks among all 2 K, from -1/2 (least) to 1/2: then
only the order of the losses counts, and the length of g says nothing of the slope. Without shaping E[g] is the gradient
of the loss smoothed by the distribution. Effective dimension per reward: the number of parameters.

Differences to the source: entries are binomial with 32 throws, clipped at 3.5, instead of normal (same mean and
variance, kurtosis 2.93), so that a journal replays to the same bits on any processor and a write has a bound.

Source: T. Salimans et al., "Evolution strategies as a scalable alternative to reinforcement learning",
arXiv:1703.03864 (2017); ranks: D. Wierstra et al., JMLR 15:949 (2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le

from algorithms.contracts import AS_IS, Algorithm, Array, Facts, Key, Passes, Tree, Update, shares
from algorithms.directions import CLIP, lazy_normal, mixture


@dataclass(frozen=True)
class ES(Algorithm):
    """probes: K, pairs. scale: sigma, in units of the parameters. shaping: "ranks" or "none"."""

    route = "broadcast"
    signal = "losses"
    evidence = "losses"
    spread = "probes"
    facts = Facts(
        "the parameters",
        "its mean, of the loss smoothed by the distribution",
        "many parameters; with ranks the length of the gradient is lost",
    )

    probes: Annotated[int, Ge(1), Le(65536)] = 32
    scale: Annotated[float, Gt(0)] = 0.05
    shaping: Literal["ranks", "none"] = "ranks"

    def passes(self, size: int = 1) -> Passes:
        K, sigma = self.probes, self.scale
        probe = tuple(k for k in range(K) for _ in range(2))
        return Passes(probe, (sigma, -sigma) * K, (AS_IS,) * (2 * K), perturbs="params")

    def reach(self) -> float:
        return CLIP / math.sqrt(8)

    def perturb(self, context: Tree, probe: Array) -> Tree:
        key, _, params = context
        return lazy_normal(jax.random.fold_in(key, probe), params)

    def update(self, key: Key, step: Array, state: Tree, params: Tree, evidence: Array) -> Update:
        u = centred_ranks(evidence) if self.shaping == "ranks" else evidence
        weight = (u[0::2] - u[1::2]) / (2 * self.scale)
        g = mixture(lambda probe: self.perturb((key, state, params), probe), shares(weight))
        return Update(g, state, True, {"loss_spread": jnp.nanstd(evidence)})


def centred_ranks(losses: Array) -> Array:
    """Rank of each finite loss among them, from -1/2 (least) to 1/2; equal ones in their order; NaN for the others.

    A whole number times a share, rounded once: rank / last - 1/2 would have other bits where a compiler fuses it.
    """
    n, finite = losses.shape[0], jnp.isfinite(losses)
    order, last = jnp.argsort(jnp.where(finite, losses, jnp.inf)), jnp.sum(finite) - 1
    ranks = jnp.zeros(n).at[order].set(jnp.arange(n, dtype=losses.dtype))
    return jnp.where(finite, (2 * ranks - last) * (0.5 / jnp.maximum(last, 1)), jnp.nan)

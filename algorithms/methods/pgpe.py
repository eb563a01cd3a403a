"""PGPE, parameter-exploring policy gradients: an evolution strategy that learns how far to look, for each parameter.

    theta_{k+-} = theta +- sigma z_k,        sigma_i of each parameter, z_k near to normal, 2 K losses
    g_i     = 1/K sum_k  [u_{k+} - u_{k-}] / 2  z_ki / sigma_i
    sigma_i <- sigma_i (1 - a s_i),        s_i = 1/K sum_k  ([u_{k+} + u_{k-}] / 2 - b) (z_ki^2 - 1)

u are the losses, or (`shaping = "ranks"`) their centred ranks, as in `es`; b is their mean. a s_i is clipped at 0.2 and
sigma_i at `least` and `most`, which bounds a write. Without shaping E[g] is the gradient of the loss smoothed by the
distribution; sigma falls along directions of which the loss bends up, grows along others. Effective dimension per
reward: the number of parameters, for g as for sigma.

Differences to the source: g is the gradient, for the optimiser to make a step of, where the source steps by sigma_i^2
times it; z is binomial with 32 throws, clipped at 3.5, so that a journal replays to the same bits on any processor.

Source: F. Sehnke et al., Neural Networks 23:551 (2010), symmetric sampling; clip of the change: N. E. Toklu et al.,
arXiv:2008.02387 (2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le

from algorithms.contracts import AS_IS, Algorithm, Array, Facts, Key, Passes, Place, Tree, Update, shares
from algorithms.directions import CLIP, Normal, dense, is_lazy, lazy_normal, mixture, short
from algorithms.methods.es import centred_ranks

FASTEST = 0.2  # relative change of a sigma in one step


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Squares(Normal):
    """z^2 - 1 of the entries z of a `Normal`."""

    def add(self, total: Array, c: Array, raw: Array) -> Array:
        for k in range(c.shape[0]):
            n = raw[k].astype(jnp.float32)  # z in steps of 1 / sqrt(8)
            total = total + short(c[k] / 8, precision=17) * (n * n - 8)
        return total


@dataclass(frozen=True)
class PGPE(Algorithm):
    """probes: K, pairs. scale: the first sigma; least, most: its bounds, in units of the parameters.

    sigma_rate: a. shaping: "ranks" or "none"; without ranks a is in units of 1 / loss. Raises ValueError if `scale` is
    out of bounds.
    """

    route = "broadcast"
    signal = "losses"
    evidence = "losses"
    spread = "probes"
    facts = Facts("all parameters", "in the mean, of the smoothed loss, without ranks", "noise; sigma with few probes")

    probes: Annotated[int, Ge(1), Le(65536)] = 32
    scale: Annotated[float, Gt(0)] = 0.05
    sigma_rate: Annotated[float, Ge(0)] = 0.3
    least: Annotated[float, Gt(0)] = 0.005
    most: Annotated[float, Gt(0)] = 0.1
    shaping: Literal["ranks", "none"] = "ranks"

    def __post_init__(self) -> None:
        if not self.least <= self.scale <= self.most:
            raise ValueError(f"scale is {self.scale}, which is not from least ({self.least}) to most ({self.most})")

    def passes(self, size: int = 1) -> Passes:
        K = self.probes
        probe = tuple(k for k in range(K) for _ in range(2))
        return Passes(probe, (1.0, -1.0) * K, (AS_IS,) * (2 * K), perturbs="params")

    def reach(self) -> float:
        return self.most * CLIP / math.sqrt(8)

    def init(self, key: Key, params: Tree, place: Place) -> Tree:
        return jax.tree.map(lambda p: jnp.full(p.shape, self.scale, jnp.float32), params)

    def perturb(self, context: Tree, probe: Array) -> Tree:
        key, sigma, params = context
        z = lazy_normal(jax.random.fold_in(key, probe), params)
        return jax.tree.map(lambda sigma, z: sigma * z.dense(), sigma, z)

    def update(self, key: Key, step: Array, state: Tree, params: Tree, evidence: Array) -> Update:
        u = centred_ranks(evidence) if self.shaping == "ranks" else evidence
        half, mean = (u[0::2] - u[1::2]) / 2, (u[0::2] + u[1::2]) / 2
        b = _sum(shares(mean))

        def z(probe: Array) -> Tree:
            return lazy_normal(jax.random.fold_in(key, probe), params)

        def squares(probe: Array) -> Tree:
            return jax.tree.map(lambda d: Squares(d.key, d.shape), z(probe), is_leaf=is_lazy)

        def adapted(sigma: Array, change: Array) -> Array:
            slower = 1 - jnp.clip(change, -FASTEST, FASTEST)
            return jnp.clip(sigma * slower, np.float32(self.least), np.float32(self.most))

        g = jax.tree.map(lambda z, sigma: z / sigma, dense(mixture(z, shares(half))), state)
        a_s = dense(mixture(squares, self.sigma_rate * shares(mean - b)))
        return Update(g, jax.tree.map(adapted, state, a_s), True, {"loss_spread": jnp.nanstd(evidence)})


def _sum(values: Array) -> Array:
    """In order, so that the bits are the same on any processor."""
    return jax.lax.scan(lambda total, v: (total + v, None), jnp.float32(0), values)[0]

"""Finite differences: one parameter at a time.

    g_i = [L(theta + c e_i) - L(theta)] / c                      sides = "one": K + 1 passes for K parameters
    g_i = [L(theta + c e_i) - L(theta - c e_i)] / (2 c)          sides = "two": 2 K

which = "all": every parameter of the group, d of them, in each step. E[g] = grad L + O(c), or O(c^2) with two sides;
the squared error is 2 d sigma^2 / c^2 with loss noise sigma, or d sigma^2 / (2 c^2). There is no other: the effective
dimension per reward is 1, and there must be d rewards.
which = "sparse": K = `probes` of them, one at random of each of K equal parts of the group; g_i = 0 for the others, so
E[g] is K/d of the gradient. which = "block": K that follow each other, and the next K in the next step; the last block
of a round may be short.

All tiles of a group count through the same parameters, and have no random key in common: which ones are sparse is a
function of the step alone, the same in every run. A parameter whose loss was not measured gets g_i = 0. With one side
L(theta) is measured on the chip of the first probe: among tied chips that differ, so do both sides of a difference.

Source: J. Kiefer, J. Wolfowitz, Ann. Math. Statist. 23:462 (1952). "sparse" with two sides is the finite difference of
A. Skalli et al., arXiv:2503.16943 (FD-100: 100 probes), who take a random subset; the parts are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le

from algorithms.contracts import AS_IS, Algorithm, Array, Facts, Key, Passes, Place, Tree, Update
from algorithms.directions import numbers, threefry

MOST = 65536  # parameters of which all may be measured in a step
SALT = np.uint32(0x46444946)  # second word of the key of a step, the same for all


@dataclass(frozen=True)
class FiniteDifferences(Algorithm):
    """which: "all", "sparse" or "block". probes: K, unless all. scale: c, in units of the parameters."""

    route = "broadcast"
    signal = "losses"
    evidence = "losses"
    spread = "probes"
    facts = Facts("1", "to the order of the scale, with which = all", "loss noise, many parameters")

    which: Literal["all", "sparse", "block"] = "sparse"
    probes: Annotated[int, Ge(1), Le(MOST)] = 32
    scale: Annotated[float, Gt(0)] = 0.05
    sides: Literal["one", "two"] = "one"

    def passes(self, size: int = 1) -> Passes:
        """Raises ValueError if all of more than 65,536 parameters are to be measured."""
        if self.which == "all" and size > MOST:
            raise ValueError(
                f"finite differences of all parameters take one pass each: at most {MOST:,}, but there are {size:,}; "
                'which = "sparse" or "block" measures some of them in each step'
            )
        K, c = size if self.which == "all" else min(self.probes, size), self.scale
        if self.sides == "one":
            return Passes((0, *range(K)), (0.0, *[c] * K), (AS_IS,) * (K + 1), perturbs="params")
        probe = tuple(k for k in range(K) for _ in range(2))
        return Passes(probe, (c, -c) * K, (AS_IS,) * (2 * K), perturbs="params")

    def init(self, key: Key, params: Tree, place: Place) -> Tree:
        return {"t": jnp.uint32(0), "place": Place(jnp.uint32(place.first), jnp.uint32(place.size))}

    def perturb(self, context: Tree, probe: Array) -> Tree:
        _, state, params = context
        i = self._parameter(state, jnp.uint32(probe))
        return jax.tree.map(lambda n: (n == i).astype(jnp.float32), numbers(params, state["place"].first))

    def update(self, key: Key, step: Array, state: Tree, params: Tree, evidence: Array) -> Update:
        if self.sides == "one":
            slope = (evidence[1:] - evidence[0]) / self.scale
        else:
            slope = (evidence[0::2] - evidence[1::2]) / (2 * self.scale)
        zero = jnp.where(jnp.any(jnp.isfinite(slope)), 0.0, jnp.nan)
        slope, found = jnp.where(jnp.isfinite(slope), slope, zero), len(slope)
        moved = jax.vmap(lambda k: self._parameter(state, k))(jnp.arange(found, dtype=jnp.uint32))

        def entries(n: Array) -> Array:
            k = jnp.minimum(self._probe(state, n), found - 1)
            return jnp.where(moved[k] == n, slope[k], zero)

        g = jax.tree.map(entries, numbers(params, state["place"].first))
        return Update(g, {**state, "t": state["t"] + 1}, True, {"slope_rms": jnp.sqrt(jnp.mean(slope**2))})

    def _parameter(self, state: Tree, k: Array) -> Array:
        """The number of the parameter that probe k moves; the group may have fewer."""
        if self.which == "all":
            return k
        size = state["place"].size
        K = jnp.minimum(jnp.uint32(self.probes), size)
        if self.which == "block":
            return self._block(state, K) + k
        q, r = size // K, size % K  # r parts of q + 1 parameters, then K - r of q
        inside = threefry(_key(state), k, 1)[0] % (q + jnp.uint32(k < r))
        return (k * q + jnp.minimum(k, r) + inside + self._turn(state)) % size

    def _probe(self, state: Tree, i: Array) -> Array:
        """The number of the probe that moves parameter i, if any does."""
        if self.which == "all":
            return i
        size = state["place"].size
        K = jnp.minimum(jnp.uint32(self.probes), size)
        if self.which == "block":
            return i - self._block(state, K)
        q, r = size // K, size % K
        j = (i + size - self._turn(state)) % size
        return jnp.where(j < r * (q + 1), j // (q + 1), r + (j - r * (q + 1)) // q)

    def _block(self, state: Tree, K: Array) -> Array:
        """The first parameter of the block."""
        size = state["place"].size
        return state["t"] % ((size + K - 1) // K) * K

    def _turn(self, state: Tree) -> Array:
        """By how much the parts are shifted, so that each parameter is as likely as any other."""
        return threefry(_key(state), MOST, 1)[0] % state["place"].size


def _key(state: Tree) -> Array:
    return jnp.stack([state["t"], SALT])

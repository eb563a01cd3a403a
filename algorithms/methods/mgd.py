"""Multiplexed gradient descent (MGD): one perturbation at a time, whose echo in the loss is collected over many steps.

    G += C~(t) theta~(t) / |theta~|^2         C~ = L(theta + theta~) - L(theta), or half the difference of two sides
    theta <- theta - eta G,  G = 0            every tau_theta steps

theta~_i = c s_i(t), and a code s tells the parameters apart, as it does the channels of a radio, t = steps // tau_p:

- "sequential": s_i = 1 where i = t mod d, else 0 (time division; forward differences);
- "random": +1 or -1 (code division; SPSA);
- "walsh": (-1)^popcount((i + 1) & t), orthogonal over a period of P steps, P the next power of two above d; every
  second period has the opposite sign, so that what is even in theta~ cancels over two;
- "sinusoid": sqrt(2) sin(2 pi (i + 1) t / P + phi_i), P the next power of two above 2 d (frequency division), from a
  table of 4,096 values in steps of 1/64.

|theta~|^2 is c^2 times 1 (sequential) or d, the number of parameters. So G comes to the gradient after d steps (of
tau_p = 1) at one theta with every code, to the first order of c: exactly for "sequential", in the mean for "random"; in
P steps to P/d times the gradient, exactly for "walsh" and nearly for "sinusoid". Effective dimension per reward: d, or
1 where the codes are orthogonal and theta waits for a period.

tau_p: steps that a perturbation stays. tau_theta: steps between two moves. tau_x: steps that a batch stays. L(theta) is
measured in every step, as it drifts and is noisy; the source measures it when theta or the batch changes. A step of
which a loss is missing is left out, and its perturbation is taken by the next one. The momentum of the authors' later
work is the optimiser "momentum".

Source: A. N. McCaughan et al., "Multiplexed gradient descent", APL Machine Learning 1:026118 (2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le

from algorithms.contracts import AS_IS, Algorithm, Array, Facts, Key, Passes, Place, Tree, Update
from algorithms.directions import dense, lazy_signs, numbers, short, words

SINES = np.round(64 * np.sqrt(2) * np.sin(2 * np.pi * (np.arange(4096) + 0.5) / 4096)).astype(np.int8)
LOUDEST = 91  # of the sines, and so the longest entry of any code, in steps of 1/64: 7 bits


@dataclass(frozen=True)
class MGD(Algorithm):
    """code, tau_p, tau_theta, tau_x: as above. scale: c, in units of the parameters. sides: "one" or "two", of C~."""

    route = "broadcast"
    signal = "losses"
    evidence = "losses"
    spread = "probes"
    facts = Facts("all parameters; 1 with orthogonal codes", "over a period at one theta", "noise, theta that hurries")

    code: Literal["sequential", "random", "walsh", "sinusoid"] = "random"
    scale: Annotated[float, Gt(0)] = 0.05
    sides: Literal["one", "two"] = "one"
    tau_p: Annotated[int, Ge(1), Le(1 << 20)] = 1
    tau_theta: Annotated[int, Ge(1), Le(1 << 20)] = 1
    tau_x: Annotated[int, Ge(1), Le(1 << 20)] = 1

    def passes(self, size: int = 1) -> Passes:
        c = self.scale
        return Passes((0, 0), (0.0, c) if self.sides == "one" else (c, -c), (AS_IS, AS_IS), perturbs="params")

    def hold(self) -> int:
        return self.tau_x

    def reach(self) -> float:
        return LOUDEST / 64 if self.code == "sinusoid" else 1.0

    def init(self, key: Key, params: Tree, place: Place) -> Tree:
        """key: of random codes and of phases; t: steps; G, like the parameters."""
        return {
            "key": jax.random.key_data(key),
            "t": jnp.uint32(0),
            "G": jax.tree.map(jnp.zeros_like, params),
            "place": Place(jnp.uint32(place.first), jnp.uint32(place.size)),
        }

    def perturb(self, context: Tree, probe: Array) -> Tree:
        _, state, params = context
        key, t, (first, size) = jax.random.wrap_key_data(state["key"]), state["t"] // self.tau_p, state["place"]
        if self.code == "random":
            return lazy_signs(jax.random.fold_in(key, t), params)
        i = numbers(params, first)
        if self.code == "sequential":
            return jax.tree.map(lambda i: (i == t % size).astype(jnp.float32), i)
        if self.code == "walsh":
            return jax.tree.map(lambda i: _parity((i + 1 | _above(size)) & t), i)
        return jax.tree.map(lambda i, phase: _sine(i, t, size, phase), i, words(key, params))

    def update(self, key: Key, step: Array, state: Tree, params: Tree, evidence: Array) -> Update:
        C = evidence[1] - evidence[0] if self.sides == "one" else (evidence[0] - evidence[1]) / 2
        C = jnp.where(jnp.isfinite(C), C, jnp.nan)
        square = 1.0 if self.code == "sequential" else state["place"].size.astype(jnp.float32)
        echo = short(C / (self.scale * square), precision=17)
        s = dense(self.perturb((key, state, params), 0))
        G = jax.tree.map(lambda G, s: G + echo * s, state["G"], s)
        t = state["t"] + 1
        move = t % self.tau_theta == 0
        kept = jax.tree.map(lambda G: jnp.where(move, 0.0, G), G)
        return Update(G, {**state, "t": t, "G": kept}, move, {"C": C})


def _above(n: Array) -> Array:
    """The next power of two above n, uint32."""
    for shift in (1, 2, 4, 8, 16):
        n = n | n >> np.uint32(shift)
    return n + 1


def _parity(bits: Array) -> Array:
    """+1 for an even number of bits set, else -1."""
    return 1.0 - 2.0 * (jax.lax.population_count(bits) & 1).astype(jnp.float32)


def _sine(i: Array, t: Array, size: Array, phase: Array) -> Array:
    """sqrt(2) sin(2 pi (i + 1) t / P + phi), in steps of 1/64; angles in units of 2 pi / 2^32 wrap by themselves."""
    turn = np.uint32(0xFFFFFFFF) // _above(2 * size) + 1  # 2^32 / P
    angle = (i + 1) * t * turn + phase
    return jnp.asarray(SINES)[angle >> np.uint32(20)].astype(jnp.float32) / 64

"""Coupled nonlinear oscillators (pendula): the input is where they start, the output is where they are at t_end.

    q_i'' = -sin q_i + sum_j J_ij (sin q_j - sin q_i) + e_i,        q(0) = (x, 0 ... 0),  q'(0) = 0

J is symmetric. Integrated by RK4 with 5 steps to t = 0.5, in the dimensionless time of the equation (so no seconds and
no joules are claimed). A chip hides an offset of every coupling and a stretch of the restoring force, sin((1 + s) q).

Source: L. G. Wright et al., Nature 601:549 (2022), first example of the authors' repository (equation, step, noise .02
on q(0), mismatch J + N(0, .2), stretch .1; initial J and e uniform in +-1/sqrt(n)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le

from physics.contracts import MEASURE, TWIN, Array, At, Costs, Key, Port, Ports, Tree
from physics.decoding import ACTIVATIONS, Decode
from physics.noise import normal
from physics.sines import sin


class Chip(NamedTuple):
    """Hidden offset of each coupling [n (n - 1) / 2], and stretch of each restoring force [n]."""

    J: Array
    stretch: Array


@dataclass(frozen=True)
class Oscillators:
    """n_in oscillators start at the input, the last n_out are read; `nodes` of them in all (default: as few as go).

    mismatch: standard deviation of the hidden offset of each J_ij. stretch: of each 1 + s. noise: standard deviation
    of q(0). trained_gain: one digital factor on the outputs is trained too, as in the source.
    """

    n_in: int
    n_out: int
    nodes: Annotated[int, Gt(0)] | None = None
    t_end: Annotated[float, Gt(0)] = 0.5
    rk4_steps: Annotated[int, Gt(0), Le(1000)] = 5
    decode_as: Decode = "none"
    trained_gain: bool = False
    mismatch: Annotated[float, Ge(0), Le(10)] = 0.0
    stretch: Annotated[float, Ge(0), Le(1)] = 0.0
    noise: Annotated[float, Ge(0), Le(1)] = 0.02

    def __post_init__(self) -> None:
        if self.n < max(self.n_in, self.n_out):
            raise ValueError(f"nodes = {self.n}: at least {max(self.n_in, self.n_out)} are needed")

    @property
    def n(self) -> int:
        return self.nodes or max(self.n_in, self.n_out)

    @property
    def ports(self) -> Ports:
        couplings = Port("1", -10.0, 10.0)
        return Ports({"J": couplings, "e": couplings}, Port("rad", -np.inf, np.inf), Port("rad", -np.inf, np.inf))

    @property
    def costs(self) -> Costs:
        return Costs()

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({MEASURE, TWIN})

    def init(self, key: Key) -> dict[str, Tree]:
        k_J, k_e = jax.random.split(key)
        bound = 1.0 / np.sqrt(self.n)
        pairs = (self.n * (self.n - 1) // 2,)
        # the source symmetrises a uniform matrix: each J_ij is the mean of two draws
        J = jnp.mean(jax.random.uniform(k_J, (2, *pairs), minval=-bound, maxval=bound), axis=0)
        device = {"J": J, "e": jax.random.uniform(k_e, (self.n,), minval=-bound, maxval=bound)}
        return {"device": device, "digital": {"gain": jnp.float32(1.0)} if self.trained_gain else {}}

    def fabricate(self, key: Key) -> Chip:
        k_J, k_s = jax.random.split(key)
        nominal = self.nominal()
        return Chip(
            self.mismatch * jax.random.normal(k_J, nominal.J.shape),
            self.stretch * jax.random.normal(k_s, nominal.stretch.shape),
        )

    def nominal(self) -> Chip:
        return Chip(jnp.zeros(self.n * (self.n - 1) // 2), jnp.zeros(self.n))

    def program(self, chip: Chip, device: Tree, key: Key | None) -> Tree:
        rows, columns = np.triu_indices(self.n, 1)
        J = jnp.zeros((self.n, self.n)).at[rows, columns].set(device["J"] + chip.J)
        return {"J": J + J.T, "e": device["e"]}

    def respond(self, chip: Chip, cells: Tree, x: Array, key: Key | None, at: At) -> Array:
        q = jnp.zeros(self.n).at[: self.n_in].set(x)
        if key is not None:
            q = q + self.noise * normal(key, q.shape)
        q, _ = self.evolve(chip, cells, q, jnp.zeros(self.n))
        return q[-self.n_out :]

    def evolve(self, chip: Chip, cells: Tree, q: Array, p: Array) -> tuple[Array, Array]:
        """(q, q') [n] at t_end by RK4. The forces are one product: -s + s J - (sum_j J_ij) s = s A."""
        J, e, dt = cells["J"], cells["e"], self.t_end / self.rk4_steps
        A = J - jnp.diag(1.0 + jnp.sum(J, axis=0))

        def rate(q: Array, p: Array) -> tuple[Array, Array]:
            return p, sin((1.0 + chip.stretch) * q) @ A + e

        def step(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            q, p = state
            q1, p1 = rate(q, p)
            q2, p2 = rate(q + dt / 2 * q1, p + dt / 2 * p1)
            q3, p3 = rate(q + dt / 2 * q2, p + dt / 2 * p2)
            q4, p4 = rate(q + dt * q3, p + dt * p3)
            return (q + dt / 6 * (q1 + 2 * q2 + 2 * q3 + q4), p + dt / 6 * (p1 + 2 * p2 + 2 * p3 + p4)), None

        return jax.lax.scan(step, (q, p), None, length=self.rk4_steps)[0]

    def decode(self, digital: Tree, v: Array) -> Array:
        return ACTIVATIONS[self.decode_as](digital.get("gain", 1.0) * v)

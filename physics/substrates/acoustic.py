"""Nonlinear acoustic cavity: a fixed transform of 20 amplitudes to 20 measured ones; nothing in it is trained.

    v_j = r(z^T Q_j z) + noise,     z = (1, x),     r(q) = sqrt((q + sqrt(q^2 + e_j^2)) / 2)

Waves add up, so an intensity is a quadratic form of what drives them, and what is measured is its root; r is smooth
where the form is not positive. Q is fitted to 9,000 measured pairs: it explains 98.87 % of their variance, 98.68 % of
that of the 300 pairs by which e was chosen, and 98.91 % of that of 700 pairs held back (RMSE 0.0180 of 0 to 1.93).

The noise is Gaussian, with the covariance of what the fit leaves: error of the model and of the measurement together,
for no input was measured twice. In truth much of it is slow: what is left of pairs 100 apart is still correlated by up
to 0.36, so the apparatus drifted. Times and energies have no source.

Source: the pairs of A. Momeni, B. Rahmani, M. Mallejac, P. del Hougne, R. Fleury, Science 382:1297 (2023), from the
authors' repository (MIT, see LICENSE-acoustic.md). Fitted by tools/fit_acoustic.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le

from physics.contracts import MEASURE, TWIN, Array, At, Costs, Key, Port, Ports, Tree
from physics.decoding import ACTIVATIONS, Decode
from physics.noise import normal

N = 20  # sources of the cavity, and readings of its response


class Chip(NamedTuple):
    """Gains of a chip: of each source that is driven [n_in], of each reading [20]."""

    source: Array
    reading: Array


class Surrogate(NamedTuple):
    """Q [21, 21, 20], e [20], and L [20, 20] with the covariance L L^T of the noise; numpy, float32."""

    Q: np.ndarray
    e: np.ndarray
    L: np.ndarray


@cache
def surrogate() -> Surrogate:
    """The fit that ships."""
    with np.load(Path(__file__).with_name("acoustic.npz"), allow_pickle=False) as file:
        return Surrogate(file["Q"], file["e"], file["L"])


@dataclass(frozen=True)
class Acoustic:
    """Up to 20 sources are driven, the others rest at 0; all 20 readings are taken. There are no parameters.

    mismatch: standard deviation of the gain of each source and of each reading, from chip to chip. Assumed: one cavity
    was measured. noise: 1 for that of the source, 0 off.
    """

    n_in: int
    n_out: int
    decode_as: Decode = "none"
    mismatch: Annotated[float, Ge(0), Le(1)] = 0.0
    noise: Annotated[float, Ge(0), Le(10)] = 1.0

    sizes: ClassVar[tuple[int, int]] = (N, N)

    def __post_init__(self) -> None:
        if self.n_in > N or self.n_out != N:
            raise ValueError(
                f"the cavity takes 1 to {N} inputs and gives {N} outputs, not {self.n_in} and {self.n_out}"
            )

    @property
    def ports(self) -> Ports:
        return Ports({}, Port("1", 0.0, 1.0), Port("1", -np.inf, np.inf))

    @property
    def costs(self) -> Costs:
        return Costs()

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({MEASURE, TWIN})

    def init(self, key: Key) -> dict[str, Tree]:
        return {"device": {}, "digital": {}}

    def fabricate(self, key: Key) -> Chip:
        k_source, k_reading = jax.random.split(key)
        nominal = self.nominal()
        return Chip(
            nominal.source + self.mismatch * jax.random.normal(k_source, (self.n_in,)),
            nominal.reading + self.mismatch * jax.random.normal(k_reading, (N,)),
        )

    def nominal(self) -> Chip:
        return Chip(jnp.ones(self.n_in), jnp.ones(N))

    def program(self, chip: Chip, device: Tree, key: Key | None) -> Tree:
        return ()

    def respond(self, chip: Chip, cells: Tree, x: Array, key: Key | None, at: At) -> Array:
        v = chip.reading * f(jnp.zeros(N).at[: self.n_in].set(chip.source * x))
        return v if key is None else v + self.noise * (surrogate().L @ normal(key, (N,)))

    def decode(self, digital: Tree, v: Array) -> Array:
        return ACTIVATIONS[self.decode_as](v)


def f(x: Array) -> Array:
    """Amplitudes [20] that answer amplitudes [20]."""
    Q, e, _ = surrogate()
    z = jnp.concatenate([jnp.ones(1), x])
    q = z @ (z @ Q)
    return jnp.sqrt((q + jnp.sqrt(q**2 + e**2)) / 2)

"""Crossbar of phase-change memristors (PCM): a matrix product by Ohm's and Kirchhoff's laws.

    v_j = sum_i x_i (g+_ij - g-_ij) + noise,      g in units of g_max = 25 uS, x in units of the read voltage

A signed weight w in [-1, 1] is a differential pair, g+ = max(w, 0) and g- = max(-w, 0). Each CONDUCTANCE of a pair has
its own programming noise (drawn anew at every write), mismatch, drift exponent and chance to be stuck; read noise is
independent from cell to cell, so it is drawn once for each column, with the summed variance. An extra row, driven at 1,
is the bias: it is as physical as the rest.

Sources: PCM statistics from one million devices, S. R. Nandakumar et al. (2019), as in the PCM noise model of IBM's
aihwkit; converters and output noise from the I/O defaults of aihwkit; energy from HERMES, 64 cores, 9.76 TOPS/W.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le

from physics.contracts import MEASURE, TILE, TWIN, Array, At, Costs, Key, Port, Ports, Tree
from physics.decoding import ACTIVATIONS, Decode
from physics.noise import normal

G_MAX_US = 25.0  # uS
PROGRAM_US = (0.26348, 1.9650, -1.1731)  # sigma_prog = a + b r + c r^2 in uS, r = g / g_max
T0_S = 20.0  # s, when the programmed conductance is defined; drift counts from here
T_READ_S = 250e-9  # s, duration of one read
DAC_BITS, ADC_BITS = 7, 9  # resolutions 1/(2^7 - 2) and 1/(2^9 - 2) of the full range
ADC_RANGE = 12.0  # in units of g_max times the read voltage
OUT_NOISE = 0.06  # of the periphery, same unit
TINY, ROUND = 1e-30, np.float32(1.5 * 2**23)
JOULES_PER_MAC = 2.0 / 9.76e12  # 9.76e12 operations a joule, two operations a multiply-accumulate


class Chip(NamedTuple):
    """Frozen properties of each conductance, arrays [2, rows, columns]: (g+, g-)."""

    gain: Array  # 1 + mismatch * N(0, 1)
    nu: Array  # N(0, 1): where in its distribution the drift exponent of the cell lies
    stuck: Array  # NaN: works; 0: stuck off; 1: stuck at full range
    dies: Array  # s on the device's clock, when the cell fails open


class Cells(NamedTuple):
    """What a write left in the cells, [2, rows, columns]: at T0_S the conductance, and two properties of each cell."""

    g: Array
    nu: Array  # drift exponent
    q: Array  # read noise: its standard deviation is g q sqrt(log_time)


class Still(NamedTuple):
    """The cells at one moment, as a reading needs them; without the bias row, which adds the same to every sample."""

    digits: Array  # int8 [rows, 2 columns]: g+ - g- in units of `unit`, as whole numbers of two digits
    unit: Array
    bias: Array  # [columns]
    s2: Array  # bfloat16 [rows, columns]: variance of g+ - g- from read to read
    bias_s2: Array  # [columns]


@dataclass(frozen=True)
class Crossbar:
    """A crossbar of (n_in + 1) x n_out differential pairs.

    mismatch: relative standard deviation of each conductance. noise, drift: 1 for the constants of the source, 0 off.
    stuck_off, stuck_full: share of conductances. failures_per_s: rate at which a working cell fails open.
    decode: digital activation of `gain * v`. write_s: seconds a write takes to settle (no source: None leaves it out).
    """

    n_in: int
    n_out: int
    decode_as: Decode = "none"
    gain: Annotated[float, Gt(0)] = 1.0
    mismatch: Annotated[float, Ge(0), Le(1)] = 0.0
    stuck_off: Annotated[float, Ge(0), Le(0.5)] = 0.0
    stuck_full: Annotated[float, Ge(0), Le(0.5)] = 0.0
    noise: Annotated[float, Ge(0), Le(10)] = 1.0
    drift: Annotated[float, Ge(0), Le(10)] = 1.0
    failures_per_s: Annotated[float, Ge(0)] = 0.0
    write_s: Annotated[float, Ge(0)] | None = None

    @property
    def ports(self) -> Ports:
        weight = Port("1", -1.0, 1.0)
        drive = Port("1", -1.0, 1.0, bits=DAC_BITS)
        return Ports({"w": weight}, drive, Port("1", -ADC_RANGE, ADC_RANGE, bits=ADC_BITS))

    @property
    def costs(self) -> Costs:
        macs = (self.n_in + 1) * self.n_out
        return Costs(write_s=self.write_s, pass_s=T_READ_S, pass_J=macs * JOULES_PER_MAC)

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({MEASURE, TWIN, TILE})

    def init(self, key: Key) -> dict[str, Tree]:
        w = jax.random.normal(key, (self.n_in + 1, self.n_out)) / jnp.sqrt(self.n_in + 1.0)
        return {"device": {"w": jnp.clip(w, -0.9, 0.9)}, "digital": {}}

    def fabricate(self, key: Key) -> Chip:
        shape = (2, self.n_in + 1, self.n_out)
        k_gain, k_nu, k_stuck, k_dies = jax.random.split(key, 4)
        u = jax.random.uniform(k_stuck, shape)
        full = u > 1.0 - self.stuck_full
        stuck = jnp.where(u < self.stuck_off, 0.0, jnp.where(full, 1.0, jnp.nan))
        life = jax.random.exponential(k_dies, shape)
        return Chip(
            gain=1.0 + self.mismatch * jax.random.normal(k_gain, shape),
            nu=jax.random.normal(k_nu, shape),
            stuck=stuck,
            dies=life / self.failures_per_s if self.failures_per_s else jnp.full(shape, jnp.inf),
        )

    def nominal(self) -> Chip:
        shape = (2, self.n_in + 1, self.n_out)
        return Chip(jnp.ones(shape), jnp.zeros(shape), jnp.full(shape, jnp.nan), jnp.full(shape, jnp.inf))

    def program(self, chip: Chip, device: Tree, key: Key | None) -> Cells:
        w = device["w"]
        r = jnp.stack([jnp.maximum(w, 0.0), jnp.maximum(-w, 0.0)])
        g = r
        if key is not None:
            g = r + self.noise * sigma_program(r) * normal(key, r.shape)
        g = jnp.maximum(g * chip.gain, 0.0) if key is not None else g * chip.gain
        nu = self.drift * drift_exponent(jax.lax.stop_gradient(r), chip.nu)
        if self.stuck_off or self.stuck_full:
            broken = ~jnp.isnan(chip.stuck)
            g, nu = jnp.where(broken, chip.stuck, g), jnp.where(broken, 0.0, nu)
        return Cells(g, nu, read_noise(jax.lax.stop_gradient(g)))

    def respond(self, chip: Chip, cells: Cells, x: Array, key: Key | None, at: At) -> Array:
        if key is not None:
            return self.read(self.still(chip, cells, at), x, key)
        g = self.drifted(chip, cells, at)
        G = g[0] - g[1]
        return x @ G[:-1] + G[-1]

    def drifted(self, chip: Chip, cells: Cells, at: At) -> Array:
        """Conductances at a time."""
        g = cells.g
        if isinstance(at.since, jax.Array) or np.any(at.since):  # if it is known to be 0, nothing has drifted
            g = g * jnp.exp(-cells.nu * jnp.log((at.since + T0_S) / T0_S))
        return jnp.where(at.now >= chip.dies, 0.0, g) if self.failures_per_s else g

    def still(self, chip: Chip, cells: Cells, at: At) -> Still:
        """What is the same for all readings at one moment."""
        g = self.drifted(chip, cells, at)
        G = g[0] - g[1]
        s2 = ((g[0] * cells.q[0]) ** 2 + (g[1] * cells.q[1]) ** 2) * log_time(at.since)
        return Still(*whole(G[:-1]), G[-1], s2[:-1].astype(jnp.bfloat16), s2[-1])

    def read(self, still: Still, x: Array, key: Key) -> Array:
        """One reading. With codes k: v = sum_i k_i G_ij / top, its variance sum_i k_i^2 s2_ij / top^2; top = 63."""
        k, top = codes(x, 1.0, DAC_BITS), 2 ** (DAC_BITS - 1) - 1
        v = product(k, still.digits, still.unit) / top + still.bias
        variance = squares(k, still.s2) / top**2 + still.bias_s2 + OUT_NOISE**2
        v = v + self.noise * jnp.sqrt(variance) * normal(key, (self.n_out,))
        return quantise(v, ADC_RANGE, ADC_BITS)

    def decode(self, digital: Tree, v: Array) -> Array:
        return ACTIVATIONS[self.decode_as](self.gain * v)


def sigma_program(r: Array) -> Array:
    """Standard deviation of a programmed conductance, in units of g_max, at r = g / g_max."""
    a, b, c = PROGRAM_US
    return (a + b * r + c * r**2) / G_MAX_US


def drift_exponent(r: Array, z: Array) -> Array:
    """nu = |mean(r) + std(r) z|, both clipped as in the source; g(t) = g ((t + t0) / t0)^-nu."""
    ln = jnp.log(jnp.maximum(r, 1e-6))
    return jnp.abs(jnp.clip(-0.0155 * ln + 0.0244, 0.049, 0.1) + jnp.clip(-0.0125 * ln - 0.0059, 0.008, 0.045) * z)


def read_noise(g: Array) -> Array:
    """q of a conductance g at T0_S."""
    return jnp.minimum(0.0088 * jnp.exp(-0.65 * jnp.log(jnp.maximum(g, 1e-6))), 0.2)


def log_time(since: Array) -> Array:
    """How the variance of read noise grows with time: 1/f noise accumulated since the write."""
    return jnp.log((since + T0_S + T_READ_S) / (2 * T_READ_S))


def codes(v: Array, bound: float, bits: int) -> Array:
    """Codes, int32, of a converter over -bound..bound with 2^bits - 2 steps; beyond its range it saturates."""
    top = 2 ** (bits - 1) - 1
    # 1.5 * 2^23 is so large that the sum is rounded to whole numbers, the lowest bits of the float
    bits_of = jax.lax.bitcast_convert_type(jnp.clip(v * (top / bound), -top, top) + ROUND, jnp.int32)
    return bits_of - ROUND.view(np.int32)


def quantise(v: Array, bound: float, bits: int) -> Array:
    """What the code of v stands for."""
    return codes(v, bound, bits).astype(jnp.float32) * (bound / (2 ** (bits - 1) - 1))


def whole(G: Array) -> tuple[Array, Array]:
    """(digits, unit): G as whole numbers of 16 bits, in two digits of -128..127, side by side, the lower first."""
    unit = jnp.maximum(jnp.max(jnp.abs(G)), TINY) / (127 * 0x101)
    number = jnp.round(G * (1.0 / unit)).astype(jnp.int32)
    low = number.astype(jnp.int8)
    return jnp.concatenate([low, ((number - low) >> 8).astype(jnp.int8)], axis=1), unit


def product(k: Array, digits: Array, unit: Array) -> Array:
    """sum_i k_i G_ij: a sum of whole numbers is exact, and so the same in any order and for any batch."""
    y = jax.lax.dot(k.astype(jnp.int8), digits, preferred_element_type=jnp.int32).astype(jnp.float32)
    low, high = jnp.split(y, 2)
    return unit * (low + 256.0 * high)


def squares(k: Array, s2: Array) -> Array:
    """sum_i k_i^2 s2_ij, each factor to 8 bits: a variance to about a thousandth."""
    k2 = jax.lax.bitcast_convert_type((k * k).astype(jnp.float32), jnp.uint32)
    short = ((k2 + np.uint32(1 << 15)) >> np.uint32(16)).astype(jnp.uint16)  # rounded as astype does, but faster
    return jax.lax.dot(jax.lax.bitcast_convert_type(short, jnp.bfloat16), s2, preferred_element_type=jnp.float32)

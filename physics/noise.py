"""Random numbers of models, fast: those of `jax.random`, bit for bit, from the same keys.

JAX's own are compiled with a loop over the rounds of Threefry on CPUs, which writes every round to memory: a reading
would spend most of its time there. A model may use either. (`algorithms/directions.py` has the same rounds for its
directions: physics and algorithms know nothing of each other.)

Source: J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Threefry-2x32, 20 rounds).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from physics.contracts import Array, Key

LONG = 32  # numbers of one key for which a loop of their own is worth its start
LOWEST = np.nextafter(np.float32(-1.0), np.float32(0.0))


def fold_in(key: Key, word: Array | int) -> Key:
    """`key` with a word folded in."""
    data = jax.random.key_data(key)
    return jax.random.wrap_key_data(jnp.stack(_threefry(data[0], data[1], jnp.uint32(0), jnp.asarray(word, "uint32"))))


def normal(key: Key, shape: tuple[int, ...]) -> Array:
    """Numbers of mean 0 and variance 1, float32 of `shape`."""
    return _normals(math.prod(shape))(jax.random.key_data(key)[None]).reshape(shape)


@lru_cache(maxsize=1024)
def _normals(n: int) -> Any:
    """n numbers for each key: uint32 [keys, 2] -> [keys, n]. The keys of a batch, however deep, are taken as one list.

    Words and numbers are made in two loops of two parts, for the sake of the loops: they make them arrays in memory, in
    one pass each. The compiler, which heeds no barrier on CPUs, would make every word anew for each of its uses, and
    loop over the shape of whoever uses it.
    """

    @jax.custom_batching.custom_vmap
    def normals(keys: Array) -> Array:
        k = len(keys)
        count = jnp.arange(n + (k * n) % 2, dtype="uint32")
        if k % 2 == 0 and n >= LONG:
            bits = jax.lax.map(lambda half: _words(half[:, :1], half[:, 1:], count), keys.reshape(2, -1, 2))
        elif k == 1:
            bits = jax.lax.map(lambda half: _words(keys[0, 0], keys[0, 1], half), count.reshape(2, -1))
        else:
            each = [*(jnp.repeat(word, len(count)) for word in keys.T), jnp.tile(count, k)]
            bits = jax.lax.map(lambda half: _words(*half), [a.reshape(2, -1) for a in each])
        return jax.lax.map(_from_bits, bits).reshape(k, -1)[:, :n]

    @normals.def_vmap
    def many(size: int, batched: list[bool], keys: Array) -> tuple[Array, bool]:
        return normals(keys.reshape(-1, 2)).reshape(size, -1, n), True

    return normals


def _from_bits(bits: Array) -> Array:
    """Normal numbers from words, by the inverse of their distribution."""
    # 23 bits as a number in [1, 2), then in (-1, 1)
    u = jax.lax.bitcast_convert_type((bits >> np.uint32(9)) | np.uint32(0x3F800000), jnp.float32) - 1.0
    u = jnp.maximum(LOWEST, u * (np.float32(1.0) - LOWEST) + LOWEST)
    return np.float32(math.sqrt(2.0)) * jax.lax.erf_inv(u)


def _words(k0: Array, k1: Array, count: Array) -> Array:
    x0, x1 = _threefry(k0, k1, jnp.zeros_like(count), count)
    return x0 ^ x1


@jax.jit  # not for its sake, but so that JAX traces its hundred operations once for each shape
def _threefry(k0: Array, k1: Array, x0: Array, x1: Array) -> tuple[Array, Array]:
    ks = k0, k1, k0 ^ k1 ^ np.uint32(0x1BD11BDA)
    x0, x1 = x0 + ks[0], x1 + ks[1]
    for i in range(5):
        for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
            x0 = x0 + x1
            x1 = ((x1 << np.uint32(turn)) | (x1 >> np.uint32(32 - turn))) ^ x0
        x0, x1 = x0 + ks[(i + 1) % 3], x1 + ks[(i + 2) % 3] + np.uint32(i + 1)
    return x0, x1

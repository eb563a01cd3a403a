"""Random directions with entries +1 or -1, from integer bits: no rounding, and 32 signs for one word.

The layout is frozen: entry i of a leaf is bit i % 32 of word i // 32, leaves keyed by their order in the tree. Changing
it would change what every journal replays to.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from algorithms.contracts import Array, Key, Tree


def signs(key: Key, shape: tuple[int, ...]) -> Array:
    """float32 +-1 of `shape`."""
    n = math.prod(shape)
    words = jax.random.bits(key, ((n + 31) // 32,), "uint32")
    bits = (words[:, None] >> jnp.arange(32, dtype="uint32")) & 1
    return (1.0 - 2.0 * bits.reshape(-1)[:n].astype("float32")).reshape(shape)


def rademacher(key: Key, like: Tree) -> Tree:
    """A tree of +-1 with the shapes of `like`."""
    leaves, tree = jax.tree.flatten(like)
    return jax.tree.unflatten(tree, [signs(jax.random.fold_in(key, i), p.shape) for i, p in enumerate(leaves)])

"""Random directions with entries from integer bits, as leaves that make themselves, or some of their rows, when needed.

- `Signs`: +1 or -1 in every entry, 32 of them from one word. Entry i of a leaf is bit i % 32 of word i // 32.
- `Outer`: a matrix of rank r, A B^T / sqrt(r), with +1 or -1 in A [n, r] and B [m, r].
- `Normal`: (bits set in a word - 16) / sqrt(8), one word an entry, clipped at 3.5: mean 0, variance 1, kurtosis 2.93.
- `Mixture`: sum_k c_k d_k of any of these, added in the order of k: a gradient estimate.

A stage of 10^9 parameters never holds a direction: whoever needs one asks for some rows, or uses the factors. c_k d_k
is exact in every entry, so that a compiler that fuses it with the sum changes no bit. Leaves are keyed by their order
in the tree, words by Threefry at (key, index). All of it is frozen: changing it would change what every journal replays
to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from algorithms.contracts import Array, Key, Tree

TOGETHER = 16  # directions of a mixture that are added in one pass over memory
SIGN = np.uint32(1 << 31)
SHORT = np.uint32(0xFFFFFFC0)  # keeps 18 bits of precision
CLIP = 10  # of `Normal`, in steps of 1 / sqrt(8)
STATIC = {"static": True}


class Lazy:
    """A leaf in place of an array of `shape`. Rows are along the first axis; a scalar is one row.

    A leaf adds itself, times a number, to a TOTAL that is shaped as its raw material lies in memory, because loops over
    any other shape are several times slower.
    """

    shape: tuple[int, ...]

    def raw(self, lo: Array | int, n: int) -> Tree:
        """What rows lo..lo+n are made of, small where possible. `lo` may be traced; it is a multiple of `align`."""
        raise NotImplementedError

    def total(self, n: int) -> Array:
        """Zeros to add n rows to."""
        raise NotImplementedError

    def add(self, total: Array, c: Array, raw: Tree) -> Array:
        """total + sum_k c[k] * (rows k), each product exact, in the order of k; `raw` stacked along k."""
        raise NotImplementedError

    def finish(self, total: Array, n: int) -> Array:
        """A total as n rows, [n, ...]."""
        width = _width(self.shape)
        return total.reshape(-1)[: n * width].reshape(n, *self.shape[1:])

    def moved(self, w: Array, c: Array | float, lo: Array | int) -> Array:
        """w + c * rows, for w [n, ...] that lies at row `lo`."""
        n = w.shape[0]
        raw = jax.tree.map(lambda leaf: leaf[None], self.raw(lo, n))
        total = jax.eval_shape(lambda: self.total(n))
        if total.size == w.size:
            return self.add(w.reshape(total.shape), jnp.float32(c)[None], raw).reshape(w.shape)
        return w + self.finish(self.add(self.total(n), jnp.float32(c)[None], raw), n)

    def rows(self, lo: Array | int, n: int) -> Array:
        """Rows lo..lo+n, [n, ...]."""
        return self.moved(jnp.zeros((n, *self.shape[1:]), jnp.float32), 1.0, lo)

    def dense(self) -> Array:
        """The whole array."""
        return self.rows(0, _rows(self.shape)).reshape(self.shape)

    def finite(self) -> Array:
        """Whether every entry is a number."""
        return jnp.bool_(True)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Signs(Lazy):
    """+1 or -1 in every entry."""

    key: Array  # uint32 [2]
    shape: tuple[int, ...] = field(metadata=STATIC)

    def raw(self, lo: Array | int, n: int) -> Array:
        step = align(self.shape)
        first = jnp.uint32(lo) // np.uint32(step) * np.uint32(step * _width(self.shape) // 32)
        return threefry(self.key, first, self.total(n).shape[0])

    def total(self, n: int) -> Array:
        words = -(-n * _width(self.shape) // 32)
        return jnp.zeros((words + words % 2, 32), jnp.float32)

    def add(self, total: Array, c: Array, raw: Array) -> Array:
        def half(total: Array, words: Array) -> Array:
            for k in range(c.shape[0]):
                minus = (words[:, k, None] << (31 - np.arange(32, dtype=np.uint32))) & SIGN
                total = total + jax.lax.bitcast_convert_type(
                    jax.lax.bitcast_convert_type(c[k], jnp.uint32) ^ minus, c.dtype
                )
            return total

        return in_halves(half, total, raw.T)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Outer(Lazy):
    """A B^T / sqrt(r): entries have mean 0 and variance 1, and are uncorrelated."""

    a: Array  # [n, r]
    b: Array  # [m, r]

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.a.shape[-2], self.b.shape[-2]

    @property
    def rank_scale(self) -> float:
        """What A B^T is multiplied by: 1 / sqrt(r), as short as in `add`."""
        r = np.float32(1.0 / math.sqrt(self.b.shape[-1]))
        return float((r.view(np.uint32) & SHORT).view(np.float32))

    def raw(self, lo: Array | int, n: int) -> Tree:
        return jax.lax.dynamic_slice_in_dim(self.a, lo, n), self.b

    def total(self, n: int) -> Array:
        return jnp.zeros((n, self.shape[1]), jnp.float32)

    def add(self, total: Array, c: Array, raw: Tree) -> Array:
        rank = self.a.shape[-1]
        for k, (a, b) in enumerate(zip(*raw, strict=True)):
            if rank == 1:
                total = total + (c[k] * a) * b[:, 0]
                continue
            whole = sum(a[:, j, None] * b[:, j] for j in range(rank))
            total = total + short(c[k] / np.float32(math.sqrt(rank))) * whole
        return total


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Normal(Lazy):
    """Nearly normal entries, of a binomial distribution with 32 throws; clipped, for a write must have a bound."""

    key: Array  # uint32 [2]
    shape: tuple[int, ...] = field(metadata=STATIC)

    def raw(self, lo: Array | int, n: int) -> Array:
        width = _width(self.shape)
        words = threefry(self.key, jnp.uint32(lo) * np.uint32(width), n * width)
        return jnp.clip(jax.lax.population_count(words).astype(jnp.int8) - jnp.int8(16), -CLIP, CLIP)

    def total(self, n: int) -> Array:
        return jnp.zeros(n * _width(self.shape), jnp.float32)

    def add(self, total: Array, c: Array, raw: Array) -> Array:
        for k in range(c.shape[0]):
            total = total + short(c[k] / np.float32(math.sqrt(8.0))) * raw[k].astype(jnp.float32)
        return total


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Mixture:
    """sum_k coefficients[k] * directions[k], with the leaves of `directions` stacked along k: lazy, too."""

    coefficients: Array  # float32 [K]
    directions: Lazy

    def rows(self, lo: Array | int, n: int) -> Array:
        """Rows lo..lo+n, [n, ...]."""
        many = self.directions
        total = many.total(n)
        whole, left = divmod(self.coefficients.shape[0], TOGETHER)

        def add(total: Array, some: Mixture) -> tuple[Array, None]:
            return many.add(total, some.coefficients, jax.vmap(lambda d: d.raw(lo, n))(some.directions)), None

        if whole:
            chunks = jax.tree.map(lambda v: v[: whole * TOGETHER].reshape(whole, TOGETHER, *v.shape[1:]), self)
            total, _ = jax.lax.scan(add, total, chunks)
        if left:
            total, _ = add(total, jax.tree.map(lambda v: v[whole * TOGETHER :], self))
        return many.finish(total, n)

    def dense(self) -> Array:
        """The whole array."""
        shape = self.directions.shape
        return self.rows(0, _rows(shape)).reshape(shape)

    def finite(self) -> Array:
        """Whether every entry is a number."""
        return jnp.all(jnp.isfinite(self.coefficients))


def is_lazy(leaf: Any) -> bool:
    """Whether a leaf stands for an array that it makes."""
    return isinstance(leaf, Lazy | Mixture)


# --- trees of leaves --------------------------------------------------------------------------------------------------


def rademacher(key: Key, like: Tree) -> Tree:
    """Arrays of +-1 with the shapes of `like`."""
    return dense(lazy_signs(key, like))


def lazy_signs(key: Key, like: Tree) -> Tree:
    """`Signs` with the shapes of `like`."""
    return _each(Signs, key, like)


def lazy_normal(key: Key, like: Tree) -> Tree:
    """`Normal` with the shapes of `like`."""
    return _each(Normal, key, like)


def lazy_low_rank(key: Key, like: Tree, rank: int) -> Tree:
    """`Outer` of this rank for every matrix of `like`, `Signs` for everything else."""

    def leaf(key: Array, shape: tuple[int, ...]) -> Lazy:
        if len(shape) != 2:
            return Signs(key, shape)
        words = threefry(key, 0, 4)  # the keys of its two factors
        a, b = (Signs(words[2 * i : 2 * i + 2], (shape[i], rank)).dense() for i in range(2))
        return Outer(a, b)

    return _each(leaf, key, like)


def mixture(direction: Callable[[Array], Tree], coefficients: Array) -> Tree:
    """sum_k coefficients[k] * direction(k), as a tree of leaves. The leaves of a direction must be lazy."""
    many = jax.vmap(direction)(jnp.arange(coefficients.shape[0]))
    return jax.tree.map(lambda d: Mixture(coefficients, d), many, is_leaf=is_lazy)


def dense(tree: Tree) -> Tree:
    """The tree with arrays for leaves."""
    return jax.tree.map(lambda d: d.dense() if is_lazy(d) else d, tree, is_leaf=is_lazy)


def numbers(like: Tree, first: Array | int) -> Tree:
    """The number of every entry among the parameters of its group, uint32; `first`: that of the first one here."""
    leaves, tree = jax.tree.flatten(like)
    starts = np.cumsum([0, *(p.size for p in leaves)])
    found = [jax.lax.iota(jnp.uint32, p.size).reshape(p.shape) for p in leaves]
    return jax.tree.unflatten(tree, [jnp.uint32(first) + np.uint32(n) + i for n, i in zip(starts, found, strict=False)])


def words(key: Key, like: Tree) -> Tree:
    """Random words, uint32, with the shapes of `like`."""
    return _each(lambda key, shape: threefry(key, 0, math.prod(shape)).reshape(shape), key, like)


def signs(key: Key, shape: tuple[int, ...]) -> Array:
    """float32 +-1 of `shape`."""
    return Signs(jax.random.key_data(key), shape).dense()


# --- bits -------------------------------------------------------------------------------------------------------------


def threefry(key: Array, first: Array | int, n: int) -> Array:
    """Words first..first+n of Threefry-2x32, 20 rounds, uint32 [n]; those of `jax.random.bits`; key: uint32 [2].

    JAX's own is compiled with a loop over the rounds on CPUs, which writes every round to memory: 25 times slower.
    Source: J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    count = jnp.uint32(first) + jnp.arange(n + n % 2, dtype="uint32")
    return in_halves(lambda count: _rounds(key, count), count)[:n]


@jax.jit  # not for its sake, but so that JAX traces its hundred operations once for each shape
def _rounds(key: Array, count: Array) -> Array:
    ks = key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA)
    x1 = count
    x0, x1 = jnp.zeros_like(x1) + ks[0], x1 + ks[1]
    for i in range(5):
        for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
            x0 = x0 + x1
            x1 = ((x1 << np.uint32(turn)) | (x1 >> np.uint32(32 - turn))) ^ x0
        x0, x1 = x0 + ks[(i + 1) % 3], x1 + ks[(i + 2) % 3] + np.uint32(i + 1)
    return x0 ^ x1


def in_halves(function: Callable[..., Array], *arrays: Array) -> Array:
    """`function` of the first half of the arrays (along their first axis, of even length), then of the second.

    A loop for its own sake: it makes the result an array in memory, in this shape. The compiler, which heeds no barrier
    on CPUs, would otherwise make every word anew for each of its 32 entries, and loop over the shape of the consumer.
    """
    halves = [a.reshape(2, a.shape[0] // 2, *a.shape[1:]) for a in arrays]
    done = jax.lax.map(lambda parts: function(*parts), halves)
    return done.reshape(-1, *done.shape[2:])


def align(shape: tuple[int, ...]) -> int:
    """Rows of any leaf of this shape begin at a multiple of it, so that a block begins with a whole word."""
    return 32 // math.gcd(_width(shape), 32)


def short(c: Array | float, precision: int = 18) -> Array:
    """c with so many bits of precision: its product with a whole number of 24 - `precision` bits is exact."""
    mask = np.uint32(0xFFFFFFFF << (24 - precision) & 0xFFFFFFFF)
    bits = jax.lax.bitcast_convert_type(jnp.float32(c), jnp.uint32) & mask
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _each(leaf: Callable[[Array, tuple[int, ...]], Any], key: Key, like: Tree) -> Tree:
    leaves, tree = jax.tree.flatten(like)
    keys = [jax.random.key_data(jax.random.fold_in(key, i)) for i in range(len(leaves))]
    return jax.tree.unflatten(tree, [leaf(k, p.shape) for k, p in zip(keys, leaves, strict=True)])


def _rows(shape: tuple[int, ...]) -> int:
    return shape[0] if shape else 1


def _width(shape: tuple[int, ...]) -> int:
    """Entries of one row."""
    return math.prod(shape[1:])

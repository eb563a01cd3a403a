"""What a stage does with the directions along which its parameters are perturbed.

A leaf of a direction is an array, or LAZY: an object with `dense()`, the whole array, `rows(lo, n)`, some of its rows,
and `moved(w, c, lo)`, w + c times the rows from `lo` on. One of low rank has its factors `a` [n, r] and `b` [m, r], and
`rank_scale`, for a b^T * rank_scale.
A model that has a use for them may define, beside `decode`,

    decode_rows(digital, direction, scale, v, known=None) -> h          for all rows of a request at once
    share(digital, direction, v) -> known          what all rows have in common of inputs that they share, and of each
                                                   probe what its rows have: (tree, tree stacked over the probes)

with `direction` stacked over the probes; rows next to each other share a probe. Other models are given arrays. Both
ways agree but for rounding, which is tested for every substrate.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from physics.contracts import Array, Tree

BLOCK = 1 << 20  # entries of a matrix that are perturbed at once, about, so that they stay in a cache
SMALL = 1 << 16  # entries of a matrix of which each row may have its own
ALIGN = 64  # rows of a block are a multiple of it: lazy leaves need 32, and are faster with 64


def dense(leaf: Any) -> Array:
    """The array that a leaf stands for."""
    return leaf.dense() if hasattr(leaf, "dense") else leaf


def along(params: Tree, scale: Array, direction: Tree) -> Tree:
    """params + scale * direction, out of place."""
    return jax.tree.map(lambda p, d: p + scale * dense(d), params, direction)


def shared(v: Array, W: Array, D: Any) -> tuple[Array, Array | None]:
    """(v W [batch, m], v a of each probe [probes, batch, r] if D has factors) for v [1, batch, n]."""
    return v[0] @ W, jnp.einsum("bn,pnr->pbr", v[0], D.a) if hasattr(D, "rank_scale") else None


def products(v: Array, W: Array, D: Any, scale: Array, known: tuple[Array, Array | None] | None = None) -> Array:
    """v_r (W + scale_r D_r) for each row r, [rows, batch, m].

    v: [1 or rows, batch, n]; W: [n, m]; D: leaf stacked over the probes, [probes, ...]; scale: [rows]. known: `shared`
    of these, if v is [1, ...].
    """
    n, m = W.shape
    rows, batch, probes = scale.shape[0], v.shape[1], jax.tree.leaves(D)[0].shape[0]
    scales = scale.reshape(probes, -1, 1, 1)
    if v.shape[0] == 1:
        base, small = known or shared(v, W, D)
        if small is not None:
            moved = _outer(small[:, None], D)[:, 0]
        else:
            moved = jax.lax.map(lambda d: _blocks(n, m, lambda lo, k: _cut(v[0], lo, k) @ _rows(d, lo, k)), D)
        return (base + scales * moved[:, None]).reshape(rows, batch, m)
    v = v.reshape(probes, -1, batch, n)
    if isinstance(D, jax.Array) and n * m <= SMALL:
        return jnp.einsum("psbn,psnm->psbm", v, W + scales * D[:, None]).reshape(rows, batch, m)
    if hasattr(D, "rank_scale"):
        base = (v.reshape(-1, n) @ W).reshape(probes, -1, batch, m)
        return (base + scales * _outer(jnp.einsum("psbn,pnr->psbr", v, D.a), D)).reshape(rows, batch, m)

    def probe(one: tuple[Array, Any, Array]) -> Array:
        v, d, scales = one

        def block(lo: Any, k: int) -> Array:
            w = jax.lax.dynamic_slice_in_dim(W, lo, k)
            return jnp.stack([_cut(v[s], lo, k) @ _moved(w, d, scales[s, 0, 0], lo) for s in range(v.shape[0])])

        return _blocks(n, m, block)

    return jax.lax.map(probe, (v, D, scales)).reshape(rows, batch, m)


def _outer(small: Array, D: Any) -> Array:
    """v_r D_r, [probes, sides or 1, batch, m], from v a [probes, sides or 1, batch, r]."""
    small = small * D.rank_scale
    # written out, so that it is added to the base product in one pass over memory
    return sum(small[..., j, None] * D.b[:, None, None, :, j] for j in range(D.b.shape[-1]))


def _blocks(n: int, m: int, block: Any) -> Array:
    """Sum over blocks of rows, in order; block(lo, k) is the part of rows lo..lo+k."""
    k = max(BLOCK // m // ALIGN, 1) * ALIGN
    if k >= n:
        return block(0, n)
    whole = n // k
    total = jax.lax.fori_loop(1, whole, lambda i, total: total + block(i * k, k), block(0, k))
    return total + block(whole * k, n - whole * k) if n > whole * k else total


def _cut(v: Array, lo: Any, k: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(v, lo, k, axis=-1)


def _moved(w: Array, leaf: Any, c: Array, lo: Any) -> Array:
    return leaf.moved(w, c, lo) if hasattr(leaf, "moved") else w + c * _rows(leaf, lo, w.shape[0])


def _rows(leaf: Any, lo: Any, k: int) -> Array:
    return leaf.rows(lo, k) if hasattr(leaf, "rows") else jax.lax.dynamic_slice_in_dim(leaf, lo, k)

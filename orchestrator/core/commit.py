"""From evidence to parameters: the gradient of a method, the change of the optimiser, what is legal for the device.

Live training and replay both end here, and must give the same bits for ever, on any processor. Whether x * y + z is
rounded once or twice depends on what the compiler fuses, so on its version and flags. Gradients are fused, for their
products are exact (`algorithms/directions.py`); everything after them is compiled unfused.

Parameters above `WHOLE` entries are changed in blocks of rows, in place: neither a gradient nor a second copy of them
is ever whole in memory. An optimiser works entry by entry, so the sums and products are the same; but the compiler may
write a / b / c as a / (b c) where it changes parameters at once, as Adam shows in a last bit.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from algorithms.contracts import Algorithm, Place, Update
from algorithms.directions import dense, is_lazy
from orchestrator.core.optimiser import Optimiser
from physics.contracts import Model

Tree = Any

WHOLE = 1 << 18  # entries of a tile that is changed at once. Frozen: with Adam, blocks may differ in a last bit
BLOCK = 1 << 18  # entries of a block, about
TOGETHER = 8  # tiles that are changed by one call, at most
ALIGN = 32  # lazy leaves are asked for rows from a multiple of it

_unfused = partial(jax.jit, compiler_options={"xla_disable_hlo_passes": "fusion"})
_literal = partial(jax.jit, compiler_options={"xla_disable_hlo_passes": "fusion,algsimp"})


class Maker(NamedTuple):
    """What turns a gradient into parameters; all of it is static. stacked: several copies, along a leading axis.

    model: whose limits they keep; None: that of another, to which these are added.
    """

    algorithm: Algorithm
    optimiser: Optimiser
    model: Model | None
    margin: float
    stacked: bool = False


@partial(_unfused, static_argnums=(0, 1))
def first(model: Model, margin: float, key: Any) -> Tree:
    """The parameters before the first commit."""
    params = model.init(key)
    return {**params, "device": _within(model, margin, params["device"])}


@partial(_unfused, static_argnums=0)
def start(maker: Maker, key: Any, params: Tree, place: Place) -> Tree:
    """(state of the method, state of the optimiser)"""
    return maker.algorithm.init(key, params, place), maker.optimiser.build().init(params)


@partial(_unfused, static_argnums=(0, 1))
def trimmed(model: Model, margin: float, base: Tree, trim: Tree) -> Tree:
    """Legal parameters: a base that several chips share, and what is added to it on one of them."""
    params = jax.tree.map(jnp.add, base, trim)
    return {**params, "device": _within(model, margin, params["device"])}


class Due(NamedTuple):
    """What is to be committed to a tile. carry: (state of the method, state of the optimiser); key: of directions."""

    maker: Maker
    key: Any
    carry: Tree
    params: Tree
    evidence: Tree


class Done(NamedTuple):
    """What came of it: whether the parameters moved, what to log, the key of the directions of the next step."""

    params: Tree
    carry: Tree
    moved: Any
    info: dict
    next_key: Any


def commit(step: int, due: list[Due]) -> list[Done]:
    """The evidence of a step, committed to tiles, small ones together. `params` and `carry` of large ones are used up.

    Together or alone, each has the same bits: what is fused is exact, and the rest is not fused.
    """
    found: dict[int, Done] = {}
    small = [i for i, one in enumerate(due) if one.maker.stacked or _size(one.params) <= WHOLE]
    for lo in range(0, len(small), TOGETHER):
        some = small[lo : lo + TOGETHER]
        makers, rest = tuple(due[i].maker for i in some), [due[i][1:] for i in some]
        updates, next_keys = _updates(makers, np.int32(step), rest)
        changed = _apply(makers, [(carry, params) for _, carry, params, _ in rest], [u[:3] for u in updates])
        for i, made, update, key in zip(some, changed, updates, next_keys, strict=True):
            params, carry, moved = made
            found[i] = Done(params, carry, moved, update.info, key)
    for i in range(len(due)):
        if i not in found:
            found[i] = _commit_in_blocks(step, due[i])
    return [found[i] for i in range(len(due))]


@partial(jax.jit, static_argnums=0)
def _updates(makers: tuple[Maker, ...], step: Any, due: list[tuple]) -> tuple[list[Update], list[Any]]:
    """Evidence -> gradient, as arrays; and the keys of the next step."""
    found = []
    for maker, (key, (state, _), params, evidence) in zip(makers, due, strict=True):

        def update(state: Tree, params: Tree, evidence: Tree, maker: Maker = maker, key: Any = key) -> Update:
            made = maker.algorithm.update(jax.random.fold_in(key, step), step, state, params, evidence)
            return made._replace(gradient=dense(made.gradient), move=jnp.asarray(made.move))

        found.append((jax.vmap(update) if maker.stacked else update)(state, params, evidence))
    return found, [jax.random.fold_in(key, step + 1) for key, *_ in due]


@partial(_unfused, static_argnums=0)
def _apply(makers: tuple[Maker, ...], tiles: list[tuple], updates: list[tuple]) -> list[tuple]:
    """Gradient -> change -> legal parameters: (parameters, carry, whether they moved) of each."""
    found = []
    for maker, tile, update in zip(makers, tiles, updates, strict=True):
        change = partial(_applied, maker)
        found.append((jax.vmap(change) if maker.stacked else change)(*tile, *update))
    return found


def _applied(maker: Maker, carry: Tree, params: Tree, gradient: Tree, new_state: Tree, wanted: Any) -> tuple:
    """`_apply` of one. A step without one finite loss moves nothing."""
    state, opt_state = carry
    finite = jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient)])
    whole = jnp.all(finite)
    move = jnp.logical_and(wanted, whole)
    changes, moved_opt = maker.optimiser.build().update(gradient, opt_state, params)
    moved = jax.tree.map(lambda p, c: (p + c).astype(p.dtype), params, changes)
    moved = {"device": _within(maker.model, maker.margin, moved["device"]), "digital": moved["digital"]}

    def keep(yes: Any, new: Tree, old: Tree) -> Tree:
        return jax.tree.map(lambda n, o: jnp.where(yes, n.astype(o.dtype), o), new, old)

    # the state of the method advances even when the parameters wait (a method may collect over several steps)
    carried = keep(whole, new_state, state), keep(move, moved_opt, opt_state)
    return keep(move, moved, params), carried, move


def _within(model: Model | None, margin: float, device: Tree) -> Tree:
    """As close as legal, and far enough from the limits that a perturbed write is legal too."""
    if model is None:
        return device
    ports = model.ports.params
    return {name: jnp.clip(p, ports[name].low + margin, ports[name].high - margin) for name, p in device.items()}


# --- in blocks --------------------------------------------------------------------------------------------------------


def _commit_in_blocks(step: int, due: Due) -> Done:
    maker, key, (state, opt_state), params, evidence = due
    update, finite, next_key = _lazy_update(maker.algorithm, key, np.int32(step), state, params, evidence)
    state = update.state if bool(finite) else state
    if not (bool(finite) and bool(update.move)):
        return Done(params, (state, opt_state), False, update.info, next_key)
    paths, shape = jax.tree.flatten_with_path(params)
    tree: Any = shape  # its type lacks `flatten_up_to`
    leaves = [leaf for _, leaf in paths]
    gradients = tree.flatten_up_to(update.gradient)
    work = [(j, lo, n) for j, leaf in enumerate(leaves) for lo, n in _blocks(leaf.shape)]
    for j, lo, n in work:
        g = _rows(gradients[j], np.int32(lo), n)
        where = Where(tree, j, _port(paths[j][0]), n, last=(j, lo, n) == work[-1])
        leaves[j], opt_state = _apply_rows(maker, where, leaves[j], opt_state, g, np.int32(lo))
    return Done(jax.tree.unflatten(tree, leaves), (state, opt_state), True, update.info, next_key)


class Where(NamedTuple):
    """n rows of leaf `leaf` of `tree`; the device port that bounds it, or None; whether it is the last block."""

    tree: Any
    leaf: int
    port: str | None
    n: int
    last: bool


@partial(jax.jit, static_argnums=0)
def _lazy_update(
    algorithm: Algorithm, key: Any, step: Any, state: Tree, params: Tree, evidence: Tree
) -> tuple[Update, Any, Any]:
    """Evidence -> gradient, as it comes; whether all of it is finite; the key of the next step."""
    update = algorithm.update(jax.random.fold_in(key, step), step, state, params, evidence)
    leaves = jax.tree.leaves(update.gradient, is_leaf=is_lazy)
    finite = [g.finite() if is_lazy(g) else jnp.all(jnp.isfinite(g)) for g in leaves]
    return update, jnp.all(jnp.array(finite)), jax.random.fold_in(key, step + 1)


@partial(jax.jit, static_argnums=2)
def _rows(gradient: Any, lo: Any, n: int) -> Any:
    return gradient.rows(lo, n) if is_lazy(gradient) else jax.lax.dynamic_slice_in_dim(gradient, lo, n)


@partial(_literal, static_argnums=(0, 1), donate_argnums=(2, 3))
def _apply_rows(maker: Maker, where: Where, leaf: Any, opt_state: Tree, g: Any, lo: Any) -> tuple[Any, Tree]:
    """`_applied` to some rows of one leaf, in place."""
    opt, (tree, j, port, n, last) = maker.optimiser.build(), where

    def cut(array: Any) -> Any:
        return jax.lax.dynamic_slice_in_dim(array, lo, n) if array.ndim else array

    def paste(array: Any, rows: Any) -> Any:
        return jax.lax.dynamic_update_slice_in_dim(array, rows, lo, 0) if array.ndim else rows

    def alone(array: Any) -> Tree:
        return tree.unflatten([array if i == j else jnp.zeros(0) for i in range(tree.num_leaves)])

    # which leaf of the parameters a leaf of the optimiser's state belongs to; -1: to none, like a counter
    numbers = tree.unflatten(range(tree.num_leaves))
    owner = optax.tree_utils.tree_map_params(opt, lambda _, i: i, opt_state, numbers, transform_non_params=lambda _: -1)
    mine = jax.tree.map(lambda i, s: s if i < 0 else cut(s) if i == j else jnp.zeros(0), owner, opt_state)
    changes, moved = opt.update(alone(g.reshape(cut(leaf).shape)), mine, alone(cut(leaf)))
    rows = (cut(leaf) + jax.tree.leaves(changes)[j]).astype(leaf.dtype)
    if port is not None:
        rows = _within(maker.model, maker.margin, {port: rows})[port]

    def keep(i: int, old: Any, new: Any) -> Any:
        if i < 0:
            return new if last else old  # counters count commits, not blocks
        return paste(old, new.astype(old.dtype)) if i == j else old

    return paste(leaf, rows), jax.tree.map(keep, owner, opt_state, moved)


def _size(tree: Tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _port(path: Any) -> str | None:
    """The name of the device parameter at a path of the parameters."""
    return path[1].key if path[0].key == "device" else None


def _blocks(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """(first row, number of rows) of the blocks of a leaf."""
    rows, width = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
    n = max(BLOCK // max(width, 1) // ALIGN, 1) * ALIGN
    return [(lo, min(n, rows - lo)) for lo in range(0, rows, n)]

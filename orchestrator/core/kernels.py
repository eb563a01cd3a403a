"""The compiled pieces of a step: what happens to one item in one stage. Their shapes are fixed by the run file.

Stages are compiled one by one, never fused with a neighbour, so that a worker boundary changes no bit;
but see `chain`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from algorithms.contracts import Algorithm, Bare, Trace, View
from algorithms.directions import is_lazy
from orchestrator.core.plan import StagePlan
from physics import twin
from physics.contracts import Delta, Model
from physics.directions import along, dense

Array = Any
Tree = Any


def encoded(how: str, h: Array) -> Array:
    """`encode`, for what is being compiled."""
    if how == "clip":
        return jnp.clip(h, -1.0, 1.0)
    if how == "peak":
        return h / jnp.maximum(jnp.max(jnp.abs(h), axis=-1, keepdims=True), 1.0)
    if how == "rms":
        return h / jnp.sqrt(jnp.mean(h**2, axis=-1, keepdims=True) + 1e-6)  # what is all zero stays so
    return h


def encode(how: str, h: Array) -> Array:
    """h as the stage's inputs take it."""
    return h if how == "none" else _compiled_encode(how, h)


_compiled_encode = partial(jax.jit, static_argnums=0)(encoded)


def split(delta: Delta | None) -> tuple[Any, tuple | None]:
    """(what is static for the compiler, what is not) of a perturbation."""
    return (None, None) if delta is None else (delta.direction, (delta.context, delta.probe, delta.scale))


def rows(x: Array, v: Array) -> Array:
    """x [1 or rows, batch, n] with as many rows as v."""
    return x if x.shape[0] == v.shape[0] else _repeat(x, v.shape[0])


@partial(jax.jit, static_argnums=1)
def _repeat(x: Array, n: int) -> Array:
    return jnp.broadcast_to(x, (n, *x.shape[1:]))


@partial(jax.jit, static_argnums=(0, 1))
def hand_down(stage: StagePlan, tile: int, h: Array, cot_x: Array) -> Array:
    """Cotangent of what came into the STAGE, from that of one tile's input: its slice put in place, then encode."""
    if stage.tile_by == "inputs" and len(stage.tiles) > 1:
        lo, hi = stage.slices[tile]
        cot_x = jnp.zeros((*cot_x.shape[:-1], stage.n_in), cot_x.dtype).at[..., lo:hi].set(cot_x)
    if stage.encode == "none":
        return cot_x
    return jax.vjp(partial(encoded, stage.encode), jnp.broadcast_to(h, cot_x.shape))[1](cot_x)[0]


def decode(model: Model, delta: Delta | None, digital: Tree, v: Array) -> Array:
    """v [1 or rows, batch, n_out] -> h; each row with its own perturbed digital parameters if there is a delta."""
    if delta is None:
        return _decode(model, digital, v)
    if not hasattr(model, "decode_rows"):
        return _decode_one_by_one(model, delta.direction, digital, delta.context, delta.probe, delta.scale, v)
    # made by a call of their own, for the compiler would work out each entry again wherever it is used
    found = directions(delta.direction, delta.context, delta.probe[:: delta.sides])
    return _decode_rows(model, digital, found, delta.scale, v)


@partial(jax.jit, static_argnums=0)
def _decode(model: Model, digital: Tree, v: Array) -> Array:
    return jax.vmap(jax.vmap(lambda v: model.decode(digital, v)))(v)


@partial(jax.jit, static_argnums=0)
def directions(direction: Any, context: Tree, probes: Array) -> Tree:
    """Directions of the digital parameters, stacked; only matrices may stay lazy."""

    def small(leaf: Any) -> Any:
        return dense(leaf) if len(leaf.shape) < 2 else leaf

    return jax.vmap(lambda p: jax.tree.map(small, direction(context, p)["digital"], is_leaf=is_lazy))(probes)


@partial(jax.jit, static_argnums=0)
def _decode_rows(model: Any, digital: Tree, found: Tree, scale: Array, v: Array) -> Array:
    return model.decode_rows(digital, found, scale, v)


@partial(jax.jit, static_argnums=(0, 1))
def _decode_one_by_one(
    model: Model, direction: Any, digital: Tree, context: Tree, probe: Array, scale: Array, v: Array
) -> Array:
    def row(probe: Array, scale: Array, v: Array) -> Array:
        params = along(digital, scale, direction(context, probe)["digital"])
        return jax.vmap(lambda v: model.decode(params, v))(v)

    return jax.vmap(row)(probe, scale, jnp.broadcast_to(v, (scale.shape[0], *v.shape[1:])))


@partial(jax.jit, static_argnums=(0, 1))
def jitter(algorithm: Algorithm, shape: tuple[int, ...], key: Any, words: Array, probe: Array, scale: Array) -> Array:
    """What is added to the outputs of a stage, [rows, batch, n_out]; shape: of one row. Rows of a probe share it."""
    for word in words:
        key = jax.random.fold_in(key, word)

    def row(probe: Array, scale: Array) -> Array:
        return scale * algorithm.jitter(jax.random.fold_in(key, probe), shape)

    return jax.vmap(row)(probe, scale)


@partial(jax.jit, static_argnums=0)
def tangents(stage: StagePlan, params: Tree, h_in: Array, x: Array, v: Array) -> Array:
    """How the outputs of a stage move, [rows - 1, batch, n_out], if what comes in moves by rows 1.. of `h_in`.

    x, v: what it was given and what was measured, [1, batch, ...]; the twin is linearised there, the decoding at v.
    """

    def row(moves: Array) -> Array:
        _, moves = jax.jvp(partial(encoded, stage.encode), (h_in[0],), (moves,))
        _, moves = jax.jvp(partial(twin.respond, stage.whole, params["device"]), (x[0],), (moves,))
        decode = jax.vmap(partial(stage.whole.decode, params["digital"]))
        return jax.jvp(decode, (v[0],), (moves,))[1]

    return jax.vmap(row)(h_in[1:])


@jax.jit
def measured(h: Array) -> Array:
    """Row 0, the only one that is measured where the others are tangents."""
    return h[:1]


@jax.jit
def stacked(parts: list[Array]) -> Array:
    """Rows one after the other."""
    return jnp.concatenate(parts)


@partial(jax.jit, static_argnums=(0, 1, 3))
def respond_twin(
    model: Model, direction: Any, delta: tuple | None, noisy: bool, device: Tree, x: Array, row_keys: Array
) -> Array:
    """The twin's outputs [rows, batch, n_out] for x [1 or rows, batch, n_in]."""

    def row(x: Array, key: Any, probe: Array, scale: Array) -> Array:
        params = device
        if delta is not None:
            params = along(device, scale, direction(delta[0], probe)["device"])
        return twin.respond(model, params, x, key if noisy else None)

    x = jnp.broadcast_to(x, (row_keys.shape[0], *x.shape[1:]))
    if delta is None:
        return jax.vmap(lambda x, k: row(x, k, None, None))(x, row_keys)
    return jax.vmap(row)(x, row_keys, delta[1], delta[2])


def join(parts: list[Array], by: str) -> Array:
    """Outputs of the tiles of a stage, in order: side by side, or summed."""
    if len(parts) == 1:
        return parts[0]
    return _beside(parts) if by == "outputs" else add(parts)


@jax.jit
def _beside(parts: list[Array]) -> Array:
    return jnp.concatenate(parts, axis=-1)


@jax.jit
def add(parts: list[Array]) -> Array:
    """The sum, in order."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def tile_input(stage: StagePlan, tile: int, x: Array) -> Array:
    """The part of the stage's input that a tile sees."""
    lo, hi = stage.slices[tile]
    return _cut(x, lo, hi) if stage.tile_by == "inputs" and len(stage.tiles) > 1 else x


@partial(jax.jit, static_argnums=(1, 2))
def _cut(x: Array, lo: int, hi: int) -> Array:
    return x[..., lo:hi]


def view(stage: StagePlan, tile: int, stages: int, n_classes: int, params: Tree, key: Any) -> View:
    """What a method may know of one tile, for one row: v and cot_h are of the joined stage, x of the tile."""

    def mine(digital: Tree, cot_v: Array) -> tuple[Tree, Array]:
        if stage.tile_by == "outputs" and len(stage.tiles) > 1:
            lo, hi = stage.slices[tile]
            cot_v = cot_v[..., lo:hi]
        return digital, cot_v

    def decode_vjp(v: Array, cot_h: Array) -> tuple[Tree, Array]:
        return mine(*twin.decode_vjp(stage.whole, params, v, cot_h))

    def bare(v: Array) -> Bare:
        a, slope, pull = twin.bare(stage.whole, params, v)
        return Bare(a, slope, lambda cot_a: mine(*pull(cot_a)))

    device_vjp = partial(twin.device_vjp, stage.tiles[tile], params)
    return View(params, key, stage.index, stages, decode_vjp, device_vjp, bare, n_classes)


@partial(jax.jit, static_argnums=(0, 1))
def pull(stage: StagePlan, tile: int, params: Tree, x: Array, v: Array, cot_h: Array) -> Array:
    """cot_x of one tile, [rows, batch, n_in], without learning."""
    seen = view(stage, tile, 0, 0, params, None)
    return jax.vmap(lambda x, v, c: seen.vjp(x, v, c)[1])(x, v, cot_h)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def learn(
    algorithm: Algorithm,
    stage: StagePlan,
    tile: int,
    stages: int,
    n_classes: int,
    params: Tree,
    key: Any,
    trace: Trace,
    signal: Any,
) -> tuple[Tree, Array | None]:
    """(gradient of a tile summed over the item, cot_x or None)."""
    return algorithm.learn(view(stage, tile, stages, n_classes, params, key), trace, signal)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def score(
    algorithm: Algorithm, stage: StagePlan, tile: int, stages: int, n_classes: int, params: Tree, key: Any, trace: Trace
) -> Array | None:
    """Class scores of one stage, [classes, batch]."""
    return algorithm.score(view(stage, tile, stages, n_classes, params, key), trace)


@jax.jit
def twin_keys(key: Any, words: Array, rows: Array) -> Any:
    """One key for each row of the twin's noise."""
    for word in words:
        key = jax.random.fold_in(key, word)
    return jax.vmap(lambda r: jax.random.fold_in(key, r))(rows)

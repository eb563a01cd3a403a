"""A simulated chip as a device: one fused call for all rows of a request.

Its clock, its noise and its account are functions of what was asked (version, request, sample), never of who asks:
any worker that fabricates the chip from the same key has the same chip. Time is counted, not slept, unless `real_time`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from physics.contracts import Array, At, Costs, Key, Model, Noise, Port, Reading, Refused, Request, Tree, Version
from physics.directions import along

LARGE = 1 << 14  # parameters of a device above which rows are measured one after the other, to stay in a cache


class Written(NamedTuple):
    """What a write left in the cells, and what made it."""

    version: Version
    params: Tree
    cells: Tree


class Seen(NamedTuple):
    """The cells as they are in the rows of a request (`model.still`), and when that is."""

    cells: Tree
    when: tuple[bytes, bytes]
    stills: Tree


class SimulatedDevice:
    """One chip of `model`, fabricated from `chip_key`; noise keys are derived from `noise_key` by `noise`.

    It keeps the cells of the last write that all rows of a request measured. They are a function of the chip, the
    version and the parameters, so whether they were kept or are worked out again makes no difference but time.
    """

    def __init__(self, model: Model, chip_key: Key, noise_key: Key, noise: Noise, real_time: bool = False) -> None:
        self._model = model
        self._chip = fabricate(model, chip_key)
        self._key = noise_key
        self._noise = noise
        self._real_time = real_time
        self._written: Written | None = None
        self._seen: Seen | None = None

    def execute(self, request: Request) -> Reading:
        """Raises `Refused` if a parameter or an input is outside its port."""
        if request.delta is None and len(set(request.versions)) == 1:
            v, legal = self._read_one_write(request)
        else:
            v, legal = self._measure(request)
        if not np.all(np.asarray(legal)):
            raise Refused(explain(self._model, request))
        writes = sum(v != h for v, h in zip(request.versions, request.held, strict=True)) if request.params else 0
        calls = len(request.versions)
        passes = calls * request.samples
        seconds, joules = account(self._model.costs, writes, passes)
        if self._real_time and seconds:
            time.sleep(seconds)
        return Reading(
            v, request.versions, request.requests, writes, passes, calls, seconds, joules, "modelled", frozenset()
        )

    def _measure(self, request: Request) -> tuple[Array, Array]:
        """Outputs and whether all is legal; every row is written."""
        delta = request.delta
        return _measure(
            self._model,
            self._noise,
            delta and delta.direction,
            self._chip,
            self._key,
            request.params,
            delta and (delta.context, delta.probe, delta.scale),
            request.x,
            (
                np.asarray(request.versions, np.int32),
                np.asarray(request.requests, np.int32),
                request.now,
                request.since,
            ),
            np.int32(request.first_sample),
        )

    def _read_one_write(self, request: Request) -> tuple[Array, Array]:
        """Outputs and whether all is legal, where all rows measure what one write left."""
        model = self._model
        written = self._written
        if written is None or written.version != request.versions[0] or not same(written.params, request.params):
            version = np.asarray(request.versions[0], np.int32)
            cells, legal = _program(model, self._noise, self._chip, self._key, request.params, version)
            if not legal:
                raise Refused(explain(model, request))
            written = Written(request.versions[0], request.params, cells)
            self._written = written
        cells, when = written.cells, At(request.now, request.since)
        if hasattr(model, "still"):
            name, seen = (request.now.tobytes(), request.since.tobytes()), self._seen
            if seen is None or seen.cells is not cells or seen.when != name:
                seen = Seen(cells, name, _still(model, self._chip, cells, when))
                self._seen = seen
            cells = seen.stills
        requests, first = np.asarray(request.requests, np.int32), np.int32(request.first_sample)
        return _read(model, self._noise, self._chip, self._key, cells, request.x, requests, when, first)

    def rest(self) -> None:
        """Nothing can break, and the clock counts work alone: the cells stay as they are."""

    def close(self) -> None:
        """Nothing to release."""


@partial(jax.jit, static_argnums=0)
def fabricate(model: Model, key: Key) -> Tree:
    """The chip of a key: whoever makes it, it is the same one."""
    return model.fabricate(key)


@partial(jax.jit, static_argnums=0)
def fabricate_all(model: Model, keys: Key) -> Tree:
    """The chips of several keys, stacked."""
    return jax.vmap(model.fabricate)(keys)


def account(costs: Costs, writes: int, passes: int) -> tuple[float | None, float | None]:
    """(seconds, joules) of one reading; None where there is no source."""
    seconds = None
    if costs.pass_s is not None and (costs.write_s is not None or writes == 0):
        seconds = writes * (costs.write_s or 0.0) + passes * costs.pass_s
    return seconds, None if costs.pass_J is None else passes * costs.pass_J


def same(a: Tree, b: Tree) -> bool:
    """Whether two trees hold the same arrays, which cannot have changed."""
    leaves, others = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(leaves) == len(others) and all(
        p is q and isinstance(p, jax.Array) for p, q in zip(leaves, others, strict=True)
    )


@partial(jax.jit, static_argnums=(0, 1))
def _program(model: Model, noise: Noise, chip: Tree, key: Key, device: Tree, version: Array) -> tuple[Tree, Array]:
    """What a write leaves, and whether the parameters are legal."""
    return model.program(chip, device, noise.program(key, version)), legal(model.ports.params, device)


@partial(jax.jit, static_argnums=0)
def _still(model: Any, chip: Tree, cells: Tree, when: At) -> Tree:
    """The cells at the time of each row."""
    return jax.vmap(lambda at: model.still(chip, cells, at))(when)


@partial(jax.jit, static_argnums=(0, 1))
def _read(
    model: Any, noise: Noise, chip: Tree, key: Key, cells: Tree, x: Array, requests: Array, when: At, first: Array
) -> tuple[Array, Array]:
    """Outputs [rows, batch, n_out], and whether the inputs of each row are legal; cells: stills of each row, or one."""
    index = first + jnp.arange(x.shape[1])
    stills = hasattr(model, "still")

    def row(x: Array, cells: Tree, request: Array, at: At) -> tuple[Array, Array]:
        def one(x: Array, i: Array) -> Array:
            k = noise.read(key, request, i)
            return model.read(cells, x, k) if stills else model.respond(chip, cells, x, k, at)

        return jax.vmap(one)(x, index), legal({"input": model.ports.inputs}, {"input": x})

    shared = x.shape[0] == 1
    in_axes = (None if shared else 0, 0 if stills else None, 0, 0)
    return jax.vmap(row, in_axes)(x[0] if shared else x, cells, requests, when)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _measure(
    model: Model,
    noise: Noise,
    direction: Callable | None,
    chip: Tree,
    key: Key,
    device: Tree,
    delta: tuple | None,
    x: Array,
    rows: tuple,
    first_sample: Array,
) -> tuple[Array, Array]:
    """Outputs [rows, batch, n_out], and for each row whether all it was given is legal; each row is a write."""
    context, probe, scale = delta if delta else (None, None, None)
    index = first_sample + jnp.arange(x.shape[1])

    def row(x: Array, probe: Array, scale: Array, row: tuple) -> tuple[Array, Array]:
        version, request, now, since = row
        written = perturbed(device, direction, context, probe, scale)
        cells = model.program(chip, written, noise.program(key, version))
        at = At(now, since)
        v = jax.vmap(lambda x, i: model.respond(chip, cells, x, noise.read(key, request, i), at))(x, index)
        ports = model.ports
        return v, legal({**ports.params, "input": ports.inputs}, {**written, "input": x})

    shared = x.shape[0] == 1
    if sum(leaf.size for leaf in jax.tree.leaves(device)) > LARGE:
        each = (None if shared else x, probe, scale, rows)
        return jax.lax.map(lambda one: row(x[0] if shared else one[0], *one[1:]), each)
    in_axes = (None if shared else 0, None if delta is None else 0, None if delta is None else 0, 0)
    return jax.vmap(row, in_axes)(x[0] if shared else x, probe, scale, rows)


def perturbed(device: Tree, direction: Callable | None, context: Tree, probe: Array, scale: Array) -> Tree:
    """`device + scale * direction`, out of place; `device` itself where there is no direction."""
    if direction is None:
        return device
    return along(device, scale, direction(context, probe)["device"])


@partial(jax.jit, static_argnums=0)
def perturb(direction: Callable, device: Tree, context: Tree, probe: Array, scale: Array) -> Tree:
    """`perturbed` of one row, compiled."""
    return perturbed(device, direction, context, probe, scale)


def legal(ports: dict[str, Port], values: Tree) -> Array:
    """Whether every value lies within its port (NaN does not)."""
    bad = [jnp.any(~((v >= ports[k].low) & (v <= ports[k].high))) for k, v in values.items()]
    return ~jnp.any(jnp.array(bad, bool))


def explain(model: Model, request: Request) -> str:
    """One sentence for a refused request: which port, what was asked, what is allowed."""
    ports = model.ports
    worst: list[str] = []
    for r in range(len(request.versions)):
        device, delta = request.params, request.delta
        if delta is not None:
            device = perturbed(device, delta.direction, delta.context, delta.probe[r], delta.scale[r])
        values = {**{k: (ports.params[k], v) for k, v in device.items()}, "input": (ports.inputs, request.x)}
        worst += filter(None, (forbidden(name, port, value) for name, (port, value) in values.items()))
        if worst:
            break
    return f"{type(model).__name__}: " + "; ".join(worst) + ". Nothing was written."


def forbidden(name: str, port: Port, values: Array) -> str | None:
    """What a port does not allow of these values, with the one that is furthest out."""
    out = port.outside(values)
    unit = "" if port.unit == "1" else f" {port.unit}"
    return None if out is None else f"{name} = {out:.6g} is outside {port.low:g} to {port.high:g}{unit}"

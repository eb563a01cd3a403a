"""A simulated chip as a device: one fused call for all rows of a request.

Its clock, its noise and its account are functions of what was asked (version, request, sample), never of who asks:
any worker that fabricates the chip from the same key has the same chip. Time is counted, not slept, unless `real_time`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from physics.contracts import Array, At, Key, Model, Noise, Port, Reading, Refused, Request, Tree
from physics.directions import along


class SimulatedDevice:
    """One chip of `model`, fabricated from `chip_key`; noise keys are derived from `noise_key` by `noise`."""

    def __init__(self, model: Model, chip_key: Key, noise_key: Key, noise: Noise, real_time: bool = False) -> None:
        self._model = model
        self._chip = fabricate(model, chip_key)
        self._key = noise_key
        self._noise = noise
        self._real_time = real_time

    def execute(self, request: Request) -> Reading:
        """Raises `Refused` if a parameter or an input is outside its port."""
        versions = np.asarray(request.versions, np.int32)
        requests = np.asarray(request.requests, np.int32)
        delta = request.delta
        v, legal = _measure(
            self._model,
            self._noise,
            delta and delta.direction,
            self._chip,
            self._key,
            request.params,
            delta and (delta.context, delta.probe, delta.scale),
            delta is None and len(set(request.versions)) == 1,
            request.x,
            (versions, requests, request.now, request.since),
            np.int32(request.first_sample),
        )
        if not np.all(np.asarray(legal)):
            raise Refused(explain(self._model, request))
        writes = sum(v != h for v, h in zip(request.versions, request.held, strict=True)) if request.params else 0
        calls = len(request.versions)
        passes = calls * request.samples
        costs = self._model.costs
        seconds = None
        if costs.pass_s is not None and (costs.write_s is not None or writes == 0):
            seconds = writes * (costs.write_s or 0.0) + passes * costs.pass_s
        if self._real_time and seconds:
            time.sleep(seconds)
        joules = None if costs.pass_J is None else passes * costs.pass_J
        return Reading(
            v, request.versions, request.requests, writes, passes, calls, seconds, joules, "modelled", frozenset()
        )

    def rest(self) -> None:
        """Nothing can break, and the clock counts work alone: the cells stay as they are."""

    def close(self) -> None:
        """Nothing to release."""


@partial(jax.jit, static_argnums=0)
def fabricate(model: Model, key: Key) -> Tree:
    """The chip of a key: whoever makes it, it is the same one."""
    return model.fabricate(key)


@partial(jax.jit, static_argnums=(0, 1, 2, 7))
def _measure(
    model: Model,
    noise: Noise,
    direction: Callable | None,
    chip: Tree,
    key: Key,
    device: Tree,
    delta: tuple | None,
    one_write: bool,
    x: Array,
    rows: tuple,
    first_sample: Array,
) -> tuple[Array, Array]:
    """Outputs [rows, batch, n_out], and for each row whether all it was given is legal.

    one_write: all rows measure what one write left in the cells, so it is worked out once.
    """
    shared_cells = model.program(chip, device, noise.program(key, rows[0][0])) if one_write else None
    context, probe, scale = delta if delta else (None, None, None)
    index = first_sample + jnp.arange(x.shape[1])

    def row(x: Array, probe: Array, scale: Array, row: tuple) -> tuple[Array, Array]:
        version, request, now, since = row
        written = perturbed(device, direction, context, probe, scale)
        cells = shared_cells if one_write else model.program(chip, written, noise.program(key, version))
        at = At(now, since)
        v = jax.vmap(lambda x, i: model.respond(chip, cells, x, noise.read(key, request, i), at))(x, index)
        return v, legal(model, written, x)

    shared = x.shape[0] == 1
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


def legal(model: Model, device: Tree, x: Array) -> Array:
    """Whether every parameter and every input lies within its port (NaN does not)."""

    def within(port: Port, values: Array) -> Array:
        return jnp.all((values >= port.low) & (values <= port.high))

    ports = model.ports
    return jnp.all(jnp.array([within(ports.inputs, x), *(within(ports.params[k], device[k]) for k in device)]))


def explain(model: Model, request: Request) -> str:
    """One sentence for a refused request: which port, what was asked, what is allowed."""
    ports, worst = model.ports, []
    for r in range(len(request.versions)):
        device, delta = request.params, request.delta
        if delta is not None:
            device = perturbed(device, delta.direction, delta.context, delta.probe[r], delta.scale[r])
        values = {**{k: (ports.params[k], v) for k, v in device.items()}, "input": (ports.inputs, request.x)}
        for name, (port, value) in values.items():
            out = port.outside(value)
            if out is not None:
                unit = "" if port.unit == "1" else f" {port.unit}"
                worst.append(f"{name} = {out:.6g} is outside {port.low:g} to {port.high:g}{unit}")
        if worst:
            break
    return f"{type(model).__name__}: " + "; ".join(worst) + ". Nothing was written."

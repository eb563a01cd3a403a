"""Batches a second of one physical layer: measured and decoded ("forward"), or pulled back through its twin ("vjp").

Forward is what a worker does for one row: `SimulatedDevice.execute`, then the decoding, each compiled. A matrix product
of XLA keeps one thread busy (decision 0011), so there are as many processes as cores, as a run has workers; each
measures batches of its own, and their rates are added.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from orchestrator.bench.serve import Round
from orchestrator.core import kernels, keys
from physics import registry, twin
from physics.contracts import EXACT, Array, Model, Request, Tree
from physics.simulated import SimulatedDevice


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: substrate, n_in, n_out, batch, what ("forward": each batch after a write of its own; "measure": all of
    one write, without decoding; "vjp": the gradient of the parameters), model (further fields of it), seconds of a
    round, workers (as many as cores).
    """
    workers = options.get("workers", len(os.sched_getaffinity(0)))
    others = [started(options | {"seed": seed}) for seed in range(1, workers)]
    call, seconds = made(options), options.get("seconds", 1.0)
    rate(call, seconds / 4)
    for other in others:
        other.recv()  # it is warm

    def measure() -> dict[str, float]:
        for other in others:
            other.send(seconds)
        return {"value": rate(call, seconds) + sum(other.recv() for other in others)}

    about = {
        "model": repr(model_of(options)),
        "batch": options["batch"],
        "platform": jax.default_backend(),
        "workers": workers,
    }
    return about, measure


def model_of(options: dict[str, Any]) -> Model:
    """The layer that is measured."""
    return registry.load(options["substrate"])(n_in=options["n_in"], n_out=options["n_out"], **options.get("model", {}))


def started(options: dict[str, Any]) -> Connection:
    """Another process that measures as this one does, whenever it is sent for how long."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    spawn.Process(target=work, args=(there, options), daemon=True).start()
    return here


def work(connection: Connection, options: dict[str, Any]) -> None:
    """What that process does until this one ends."""
    call = made(options)
    rate(call, options.get("seconds", 1.0) / 4)
    connection.send(None)
    with suppress(EOFError):
        while True:
            connection.send(rate(call, connection.recv()))


def rate(call: Callable[[], object], seconds: float) -> float:
    """Calls a second."""
    call()  # compiles
    began = time.perf_counter()
    calls, took = 0, 0.0
    while took < seconds:
        call()
        calls += 1
        took = time.perf_counter() - began
    return calls / took


def made(options: dict[str, Any]) -> Callable[[], object]:
    """One call: a whole batch, ended when it returns."""
    model = model_of(options)
    key = jax.random.key(options.get("seed", 0))
    params = model.init(key)
    x = jax.random.uniform(key, (options["batch"], options["n_in"]))
    device = SimulatedDevice(model, key, key, keys.NOISE_KEYS)
    measure: Callable[[], Array] = Measure(device, params, x, writes=options["what"] == "forward")
    if EXACT in model.capabilities:  # nothing is measured: a worker takes the input as it is
        measure = partial(_itself, x[None])
    if options["what"] == "measure":
        return measure
    if options["what"] == "forward":
        return lambda: jax.block_until_ready(kernels.decode(model, None, params["digital"], measure()))
    v = measure()[0]
    h = kernels.decode(model, None, params["digital"], v[None])[0]
    pull = jax.jit(lambda params, x, v, cot_h: twin.vjp(model, params, x, v, cot_h)[0])
    cot_h = jnp.ones_like(h)
    return lambda: jax.block_until_ready(pull(params, x, v, cot_h))


def _itself(x: Array) -> Array:
    return x


class Measure:
    """Measures one batch [batch, n_in] again and again: readings of one write, or each after a write of its own."""

    def __init__(self, device: SimulatedDevice, params: Tree, x: Array, writes: bool) -> None:
        self._device, self._params, self._x, self._writes = device, params["device"], x[None], writes
        self._zero = np.zeros(1, np.float32)
        self._steps = count(1)

    def __call__(self) -> Array:
        """Outputs [1, batch, n_out]."""
        step = next(self._steps)
        version = (step if self._writes else 0, 0, 0)
        request = Request(
            params=self._params,
            x=self._x,
            versions=(version,),
            held=(version,),
            requests=((keys.TRAIN, step, 0, 0),),
            now=self._zero,
            since=self._zero,
            first_sample=0,
            samples=self._x.shape[1],
        )
        return jax.block_until_ready(self._device.execute(request).v)

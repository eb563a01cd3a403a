"""A simulated chip behind a `Driver`: the same mathematics as `SimulatedDevice`, one write or one sample at a time.

The pattern for a lab driver: nothing is actuated in `open` or `check`; `write` is absolute; every reply names what it
answers. The chip stays inside; `Held` tells converter codes only.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from physics.contracts import (
    Array,
    At,
    Held,
    Identity,
    Key,
    Model,
    Noise,
    RequestId,
    Sample,
    Stale,
    Tree,
    Version,
    Violation,
)
from physics.simulated import fabricate


class SimulatorDriver:
    """One chip of `model`, fabricated from `chip_key`."""

    def __init__(self, model: Model, chip_key: Key, noise_key: Key, noise: Noise, serial: str = "simulated") -> None:
        self._model, self._key, self._noise, self._serial = model, noise_key, noise, serial
        self._chip = fabricate(model, chip_key)
        self._now = 0.0
        self._written_at = 0.0
        self._version: Version | None = None
        self._cells: Tree = self._program(self._rest(), (0, 0, 0))

    def open(self) -> Identity:
        return Identity(f"simulated {type(self._model).__name__.lower()}", self._serial)

    def check(self, device: Tree, x: Array) -> list[Violation]:
        ports = self._model.ports
        named = [(name, ports.params[name], value) for name, value in device.items()]
        found = []
        for name, port, value in [*named, ("input", ports.inputs, x)]:
            out = port.outside(value)
            if out is not None:
                found.append(Violation(name, out, port.low, port.high, port.unit))
        return found

    def write(self, device: Tree, version: Version) -> tuple[Held, float | None]:
        took = self._model.costs.write_s
        self._now += took or 0.0
        self._written_at = self._now
        self._cells = self._program(device, version)
        self._version = version
        return Held(version, {k: self._codes(k, v) for k, v in device.items()}), took

    def measure(
        self, x: Array, *, version: Version, request: tuple[RequestId, int], deadline_s: float | None = None
    ) -> Sample:
        if self._version is None and not self._model.ports.params:
            self._version = version  # nothing to write: any version is the one it holds
        if self._model.ports.params and version != self._version:
            raise Stale(f"{self._serial}: asked to measure {version}, holds {self._version}")
        name, i = request
        at = At(np.float32(self._now), np.float32(self._now - self._written_at))
        ids = np.asarray(name, np.int32), np.int32(i)
        v = _respond(self._model, self._noise, self._chip, self._key, self._cells, x, *ids, at)
        costs = self._model.costs
        self._now += costs.pass_s or 0.0
        return Sample(np.asarray(v), version, request, costs.pass_s, costs.pass_J)

    def safe(self) -> None:
        self._cells = self._program(self._rest(), (0, 0, 0))
        self._version = None

    def close(self) -> None:
        """Nothing to release."""

    def _program(self, device: Tree, version: Version) -> Tree:
        words = np.asarray(version, np.int32)
        return _program(self._model, self._noise, self._chip, self._key, device, words)

    def _rest(self) -> Tree:
        params = jax.eval_shape(self._model.init, self._key)["device"]
        return {k: jnp.full(p.shape, self._model.ports.params[k].rest) for k, p in params.items()}

    def _codes(self, name: str, value: Array) -> np.ndarray:
        """Converter codes; a continuous port (no `bits`) holds the value that it was given."""
        port = self._model.ports.params[name]
        if port.bits is None:
            return np.asarray(value)
        return np.round((np.asarray(value) - port.low) / (port.high - port.low) * (2**port.bits - 1)).astype(np.int32)


@partial(jax.jit, static_argnums=(0, 1))
def _program(model: Model, noise: Noise, chip: Tree, key: Key, device: Tree, version: Array) -> Tree:
    return model.program(chip, device, noise.program(key, version))


@partial(jax.jit, static_argnums=(0, 1))
def _respond(
    model: Model, noise: Noise, chip: Tree, key: Key, cells: Tree, x: Array, request: Array, i: Array, at: At
) -> Array:
    return model.respond(chip, cells, x, noise.read(key, request, i), at)

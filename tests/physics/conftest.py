import orchestrator  # isort: skip  # noqa: F401  first of all: it gives XLA its threads, as in every run

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestrator.core.clock import Clock
from orchestrator.core.keys import CHIP, NOISE, NOISE_KEYS, derive
from physics.contracts import MEASURE, Costs, Delta, Port, Ports, Request
from physics.driven import DrivenDevice
from physics.drivers.simulator import SimulatorDriver
from physics.simulated import SimulatedDevice


def tilt(context, probe):
    """A direction with unlike entries, so that nothing cancels by symmetry."""
    return jax.tree.map(lambda p: jnp.cos((probe + 1.0) * (1.0 + jnp.arange(p.size))).reshape(p.shape), context)


@dataclass(frozen=True)
class Stopwatch:
    """The smallest model, quick to compile: v = (w x, time on the clock, time since the write); no noise."""

    write_s: float | None = None
    pass_s: float = 0.5
    bits: int | None = None
    n_in: int = 4
    n_out: int = 3
    capabilities = frozenset({MEASURE})

    @property
    def ports(self):
        return Ports({"w": Port("V", -1.0, 1.0, bits=self.bits)}, Port("V", -1.0, 1.0), Port("V", -np.inf, np.inf))

    @property
    def costs(self):
        return Costs(write_s=self.write_s, pass_s=self.pass_s)

    def init(self, key):
        return {"device": {"w": jnp.linspace(-0.9, 0.9, self.n_in)}, "digital": {}}

    def fabricate(self, key):
        return ()

    def program(self, chip, device, key):
        return device["w"]

    def respond(self, chip, cells, x, key, at):
        return jnp.stack([cells @ x, jnp.float32(at.now), jnp.float32(at.since)])


class SpyDriver(SimulatorDriver):
    """Remembers the versions that it was made to write."""

    def __init__(self, *arguments):
        self.written = []
        super().__init__(*arguments)

    def write(self, device, version):
        self.written.append(version)
        return super().write(device, version)


class Bench:
    """One chip twice, fused (`simulated`) and behind a driver (`driven`), and the clock that its worker would keep."""

    def __init__(self, model, chip=1, noise=NOISE_KEYS):
        self.model, self.noise = model, noise
        self.keys = derive(chip, CHIP, 0, 0, 0), derive(chip, NOISE, 0, 0, 0)
        self.clock = Clock(model.costs, bool(model.ports.params))

    @cached_property
    def simulated(self):
        return SimulatedDevice(self.model, *self.keys, self.noise)

    @cached_property
    def driver(self):
        return SpyDriver(self.model, *self.keys, self.noise)

    @cached_property
    def driven(self):
        return DrivenDevice(self.driver)

    def request(self, params, x, versions, requests=None, samples=None, scale=None, first_sample=0):
        """One row for each version; `scale`: of each row, along `tilt` (0 if not given). The clock runs on."""
        rows = len(versions)
        samples = x.shape[1] if samples is None else samples
        moments = [self.clock.row(v, samples) for v in versions]
        scale = np.zeros(rows, np.float32) if scale is None else np.array(scale, np.float32)
        return Request(
            params=params["device"],
            x=x,
            versions=tuple(versions),
            held=tuple(m.held for m in moments),
            requests=tuple(requests or [(0, 0, 0, r) for r in range(rows)]),
            now=np.array([m.now for m in moments], np.float32),
            since=np.array([m.since for m in moments], np.float32),
            first_sample=first_sample,
            samples=samples,
            delta=Delta(tilt, params, np.arange(rows, dtype=np.int32), scale),
        )


@pytest.fixture
def bench():
    return Bench


@pytest.fixture(scope="session")
def inputs():
    """inputs(rows, batch, n): the same values in -1..1 each time."""
    return lambda *shape: np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


@pytest.fixture
def stopwatch():
    return Stopwatch

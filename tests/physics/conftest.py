import orchestrator  # isort: skip  # noqa: F401  first of all: it gives XLA one thread, as in every run

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestrator.core.clock import Clock
from orchestrator.core.keys import CHIP, NOISE, NOISE_KEYS, derive
from physics.contracts import Delta, Request
from physics.driven import DrivenDevice
from physics.drivers.simulator import SimulatorDriver
from physics.simulated import SimulatedDevice


def tilt(context, probe):
    """A direction with unlike entries, so that nothing cancels by symmetry."""
    return jax.tree.map(lambda p: jnp.cos((probe + 1.0) * (1.0 + jnp.arange(p.size))).reshape(p.shape), context)


class SpyDriver(SimulatorDriver):
    """Remembers the versions that it was made to write."""

    def __init__(self, *arguments):
        self.written = []
        super().__init__(*arguments)

    def write(self, device, version):
        self.written.append(version)
        return super().write(device, version)


class Bench:
    """One chip twice, fused (`simulated`) and behind a driver (`driven`), with the history that its worker would keep."""

    def __init__(self, model, chip=1, noise=NOISE_KEYS):
        self.model = model
        self.keys = derive(chip, CHIP, 0, 0, 0), derive(chip, NOISE, 0, 0, 0)
        self.simulated = SimulatedDevice(model, *self.keys, noise)
        self.driver = SpyDriver(model, *self.keys, noise, f"chip {chip}")
        self.driven = DrivenDevice(self.driver)
        self.clock = Clock(model.costs, bool(model.ports.params))

    def request(self, params, x, versions, requests=None, samples=None, scale=None, first_sample=0):
        """One row for each version; `scale`: of each row, along `tilt`. The clock runs on."""
        rows = len(versions)
        samples = x.shape[1] if samples is None else samples
        moments = [self.clock.row(v, samples) for v in versions]
        delta = None
        if scale is not None:
            delta = Delta(tilt, params, np.arange(rows, dtype=np.int32), np.array(scale, np.float32))
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
            delta=delta,
        )


@pytest.fixture
def bench():
    return Bench


@pytest.fixture(scope="session")
def inputs():
    """inputs(rows, batch, n): the same values in -1..1 each time."""
    return lambda *shape: np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)

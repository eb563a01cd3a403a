"""A driver as a device: writes only when the version changed, measures one sample at a time, checks before it acts."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from physics.contracts import Driver, Reading, Refused, Request, Stale, Tree, Version
from physics.simulated import perturbed


class DrivenDevice:
    """Any `Driver` behind the batch interface of a worker; its account is what the driver really did."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._held: Version | None = None
        self.identity = driver.open()

    def execute(self, request: Request) -> Reading:
        """Raises `Refused` before the first write if any row is out of range, `Stale` on a reply to something else."""
        x = np.asarray(request.x)
        rows = [self._written(request, r) for r in range(len(request.versions))]
        for r, written in enumerate(rows):
            problems = self._driver.check(written, x[min(r, len(x) - 1), : request.samples])
            if problems:
                told = "; ".join(f"{p.port} = {p.value:.6g} is outside {p.low:g} to {p.high:g}" for p in problems)
                raise Refused(f"{self.identity.kind} {self.identity.serial}: {told}. Nothing was written.")
        seconds: list[float | None] = []
        joules: list[float | None] = []
        v: list[list[np.ndarray]] = []
        writes = 0
        for r, written in enumerate(rows):
            version = request.versions[r]
            if written and version != self._held:
                self._held = None  # unknown until the driver has confirmed
                held, took = self._driver.write(written, version)
                if held.version != version:
                    raise Stale(f"{self.identity.serial}: asked to hold {version}, answers {held.version}")
                self._held, writes = version, writes + 1
                seconds.append(took)
            outputs = []
            for i in range(request.samples):
                name = (request.requests[r], request.first_sample + i)
                sample = self._driver.measure(
                    x[min(r, len(x) - 1), i], version=version, request=name, deadline_s=request.deadline_s
                )
                if sample.request != name or sample.version != version:
                    raise Stale(f"{self.identity.serial}: asked {name} at {version}, got {sample.request}")
                outputs.append(np.asarray(sample.v))
                seconds.append(sample.seconds)
                joules.append(sample.joules)
            outputs += [np.zeros_like(outputs[0])] * (x.shape[1] - request.samples)
            v.append(outputs)
        return Reading(
            np.asarray(v),
            request.versions,
            request.requests,
            writes,
            len(rows) * request.samples,
            len(rows),
            None if None in seconds else sum(s or 0.0 for s in seconds),
            None if None in joules else sum(j or 0.0 for j in joules),
            "modelled",
        )

    def rest(self) -> None:
        self._held = None
        self._driver.safe()

    def close(self) -> None:
        self.rest()
        self._driver.close()

    @staticmethod
    def _written(request: Request, r: int) -> Tree:
        delta = request.delta
        if delta is None:
            return request.params
        return _perturb(delta.direction, request.params, delta.context, delta.probe[r], delta.scale[r])


_perturb = partial(jax.jit, static_argnums=0)(
    lambda direction, device, context, probe, scale: perturbed(device, direction, context, jnp.asarray(probe), scale)
)

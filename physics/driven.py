"""A driver as a device: writes only when the version changed, measures one sample at a time, checks before it acts.

No JAX is imported here: the process that talks to an instrument has none. Whoever has it says what the rows write
(`Request.written`); a request with directions alone, as in a process that simulates its chips, makes them on the spot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from physics.contracts import DeviceError, Driver, Reading, Refused, Request, Stale, Tree, Version, Violation


class Plain(NamedTuple):
    """A request as plain values, for a process without JAX.

    written: a list of settings, or arrays [1 or rows, ...] by port; x: [1 or rows, batch, n_in], of which the first
    `samples` count; versions, requests: of each row; first: the number of the first sample.
    """

    written: Tree | list[Tree]
    x: np.ndarray
    versions: tuple[Version, ...]
    requests: tuple
    first: int
    samples: int
    deadline_s: float | None


class DrivenDevice:
    """Any `Driver` behind the batch interface of a worker; its account is what the driver really did.

    `halted` is asked before every sample; when it says so, nothing more is measured.
    """

    def __init__(self, driver: Driver, halted: Callable[[], bool] = lambda: False) -> None:
        self._driver = driver
        self._halted = halted
        self._held: Version | None = None
        self._check_rows = getattr(driver, "check_rows", None)
        self.identity = driver.open()

    def execute(self, request: Request) -> Reading:
        """Raises `Refused` before the first write if any row is out of range, `Stale` on a reply to something else."""
        rows = range(len(request.versions))
        written = [_row(request, r) for r in rows] if request.written is None else request.written
        return self.measure(plain(request, written))

    def measure(self, asked: Plain) -> Reading:
        """`execute` of plain values; v [rows, batch, n_out]. Raises `Refused`, `Stale`, what the driver raises."""
        written, x, versions, requests, first, samples, deadline_s = asked
        problems = self._problems(written, x[:, :samples], len(versions))
        if problems:
            told = "; ".join(f"{p.port} = {p.value:.6g} is outside {p.low:g} to {p.high:g}" for p in problems)
            raise Refused(f"{self.identity.kind} {self.identity.serial}: {told}. Nothing was written.")
        driver, v = self._driver, []
        seconds: list[float | None] = []
        joules: list[float | None] = []
        writes = 0
        for r, version in enumerate(versions):
            if version != self._held and (row := _at(written, r)):
                self._held = None  # unknown until the driver has confirmed
                held, took = driver.write(row, version)
                if held.version != version:
                    raise Stale(f"{self.identity.serial}: asked to hold {version}, answers {held.version}")
                self._held, writes = version, writes + 1
                seconds.append(took)
            inputs, request = x[min(r, len(x) - 1)], requests[r]
            for i in range(samples):
                if self._halted():
                    raise DeviceError(f"{self.identity.serial}: halted before {(request, first + i)}")
                name = (request, first + i)
                sample = driver.measure(inputs[i], version=version, request=name, deadline_s=deadline_s)
                if sample.request != name or sample.version != version:
                    raise Stale(f"{self.identity.serial}: asked {name} at {version}, got {sample.request}")
                v.append(sample.v)
                seconds.append(sample.seconds)
                joules.append(sample.joules)
        outputs = np.asarray(v)
        outputs = outputs.reshape(len(versions), samples, *outputs.shape[1:])
        if x.shape[1] > samples:  # the batch is padded to its size
            outputs = np.pad(outputs, [(0, 0), (0, x.shape[1] - samples), *[(0, 0)] * (outputs.ndim - 2)])
        return Reading(
            outputs,
            versions,
            requests,
            writes,
            len(versions) * samples,
            len(versions),
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

    def _problems(self, written: Tree | list[Tree], x: np.ndarray, rows: int) -> list[Violation]:
        if self._check_rows and not isinstance(written, list):
            return self._check_rows(written, x)
        for r in range(rows):
            if problems := self._driver.check(_at(written, r), x[min(r, len(x) - 1)]):
                return problems
        return []


def plain(request: Request, written: Any) -> Plain:
    """A request with what its rows write."""
    names = request.versions, request.requests, request.first_sample, request.samples
    return Plain(written, np.asarray(request.x), *names, request.deadline_s)


def told(error: Exception) -> str:
    """What is said of an error of a driver."""
    return str(error) if isinstance(error, DeviceError) else f"the driver failed with {error!r}."


def _at(written: Tree | list[Tree], r: int) -> Tree:
    """Row r."""
    if isinstance(written, list):
        return written[r]
    return {name: value[min(r, len(value) - 1)].copy() for name, value in written.items()}  # for a driver to keep


def _row(request: Request, r: int) -> Tree:
    """What row r writes, from its direction."""
    delta = request.delta
    if delta is None:
        return request.params
    from physics import simulated  # JAX: only in processes that have it

    perturb: Any = simulated.perturb
    return perturb(delta.direction, request.params, delta.context, delta.probe[r], delta.scale[r])

"""A simulated instrument that takes its time: each write settles and each reading lasts as long as it is told to.

    v = x W,  or  (x, 1) W  if the parameter has a row more than there are inputs

It sleeps in the thread that drives it, as a driver does that waits for a socket. A thread wakes up some 0.1 ms late;
what it overslept is taken off the next wait, so that n readings last n times as long as one, and no longer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from physics.contracts import Fitting, Held, Identity, Port, Refused, RequestId, Sample, Stale, Tree, Version, Violation


@dataclass
class Timed:
    """settle_s, measure_s: seconds of a write and of a reading."""

    fitting: Fitting
    settle_s: Annotated[float, Ge(0), Le(60)] = 0.0
    measure_s: Annotated[float, Ge(0), Le(60)] = 0.001
    _version: Version | None = field(default=None, init=False)
    _w: np.ndarray | None = field(default=None, init=False)
    _owed: float = field(default=0.0, init=False)

    def open(self) -> Identity:
        if len(self.fitting.ports.params) != 1:
            names = ", ".join(self.fitting.ports.params) or "none"
            raise Refused(f"{self.fitting.serial}: a timed instrument has one block of parameters, not {names}.")
        return Identity("timed instrument", self.fitting.serial)

    def check(self, device: Tree, x: np.ndarray) -> list[Violation]:
        ports = self.fitting.ports
        found = [_violation(name, ports.params[name], value) for name, value in device.items()]
        return [v for v in (*found, _violation("input", ports.inputs, x)) if v]

    check_rows = check  # every value by itself

    def write(self, device: Tree, version: Version) -> tuple[Held, float | None]:
        self._wait(self.settle_s)
        (self._w,) = device.values()
        self._version = version
        return Held(version, device), self.settle_s

    def measure(
        self, x: np.ndarray, *, version: Version, request: tuple[RequestId, int], deadline_s: float | None = None
    ) -> Sample:
        if version != self._version or self._w is None:
            raise Stale(f"{self.fitting.serial}: asked to measure {version}, holds {self._version}")
        self._wait(self.measure_s)
        w, n = self._w, len(x)
        v = x @ w if len(w) == n else x @ w[:n] + w[n]
        return Sample(v, version, request, self.measure_s, None)

    def safe(self) -> None:
        self._version = self._w = None

    def close(self) -> None:
        """Nothing to release."""

    def _wait(self, seconds: float) -> None:
        if seconds <= self._owed:
            self._owed -= seconds
            return
        until = time.perf_counter() + seconds - self._owed
        time.sleep(seconds - self._owed)
        self._owed = max(time.perf_counter() - until, 0.0)


def _violation(name: str, port: Port, values: np.ndarray) -> Violation | None:
    v = np.asarray(values)
    if v.size and port.low <= v.min() and v.max() <= port.high:  # NaN compares false
        return None
    out = port.outside(v)
    return None if out is None else Violation(name, out, port.low, port.high, port.unit)

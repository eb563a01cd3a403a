"""Devices in a process of their own, which imports no JAX: a worker's side of `physics.drivers.host`.

A request is handed over by `submit` and answered by `collect`; between the two the worker does other things, and other
devices measure. One process has all devices of a worker, a thread and a socket for each.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from physics import contracts
from physics.contracts import DeviceError, Disconnected, Fitting, Identity, Reading, Request
from physics.driven import Plain, plain
from physics.drivers.host import GO, HALT
from physics.drivers.queue import Answer
from physics.drivers.shared import Memory

HOME = Path(__file__).resolve().parents[1]
BUFFER = 1 << 20  # bytes that a socket may hold, as far as the system allows
CLOSE_S = 10.0  # for devices to come to rest; a host that is still there then is left to itself, not killed


class Instrument(NamedTuple):
    """A driver by name, its options, and what its stage is."""

    driver: str
    options: Mapping[str, Any]
    fitting: Fitting


class Host:
    """The process; `devices` in the order of the instruments. Raises a `DeviceError` if one cannot be opened.

    pulls: there is a `queue` as well, a device for which whichever of them is idle measures.
    """

    def __init__(self, instruments: list[Instrument], pulls: bool = False) -> None:
        pairs = [socket.socketpair() for _ in range(len(instruments) + 1 + pulls)]
        for pair in pairs:
            for end in pair:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self.memory = Memory()
        numbers = [theirs.fileno() for _, theirs in pairs]
        words = [self.memory.number, *numbers[: 1 + pulls], *([] if pulls else [-1]), *numbers[1 + pulls :]]
        path = os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "physics.drivers.host", *map(str, words)],
            pass_fds=[*numbers, *([self.memory.number] if self.memory.number >= 0 else [])],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        for _, theirs in pairs:
            theirs.close()
        self._control, *connections = (Connection(ours.detach()) for ours, _ in pairs)
        self.queue = PullingDevices(connections.pop(0), self.memory) if pulls else None
        made = zip(connections, instruments, strict=True)
        self.devices = [HostedDevice(connection, instrument, self.memory) for connection, instrument in made]
        try:
            for device in self.devices:
                device.opened()
        except BaseException:
            self.close()
            raise

    @property
    def channels(self) -> list[HostedDevice]:
        """All that answers requests."""
        return [*self.devices, *([self.queue] if self.queue else [])]

    def halt(self) -> None:
        """Nothing more is measured: what was submitted is refused, and devices that are halted come to rest."""
        self._tell(HALT)

    def go(self) -> None:
        """Measure again."""
        self._tell(GO)

    def close(self) -> None:
        """Every device to rest; the process ends."""
        for connection in (self._control, *(channel.connection for channel in self.channels)):
            connection.close()
        self.memory.close()
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            pass

    def _tell(self, word: bytes) -> None:
        try:
            self._control.send_bytes(word)
            self._control.recv_bytes()
        except (EOFError, OSError):  # it is gone, which its devices will tell
            pass


class HostedDevice:
    """A driver in the process of a host. What it is asked is answered in order."""

    def __init__(self, connection: Connection, instrument: Instrument, memory: Memory) -> None:
        self._connect(connection, memory, instrument.fitting.serial)
        self._send(("open", instrument.driver, dict(instrument.options), instrument.fitting))

    def _connect(self, connection: Connection, memory: Memory, serial: str) -> None:
        self.connection = connection
        self._memory = memory
        self._serial = serial
        self._asked: deque[Request] = deque()

    @property
    def asked(self) -> int:
        """Requests that are not answered yet."""
        return len(self._asked)

    def opened(self) -> None:
        """Wait until it is."""
        self.identity = self._receive()

    def submit(self, request: Request) -> None:
        """Hand a request over; it must say what is written. Waits only if the device has more to read than fits."""
        self._send(("measure", self._plain(request)))
        self._asked.append(request)

    def _plain(self, request: Request) -> Plain:
        """As plain values, arrays in the memory by their place."""
        written = request.written if request.written is not None else _alike(request.params)
        return plain(request, {name: self._memory.find(value) or value for name, value in written.items()})

    def collect(self) -> Reading:
        """The answer to the first request that has none. Raises its `DeviceError`."""
        request = self._asked.popleft()
        v, writes, seconds, joules, source = self._receive()
        rows = len(request.versions)
        counted = writes, rows * request.samples, rows
        return Reading(v, request.versions, request.requests, *counted, seconds, joules, source)

    def execute(self, request: Request) -> Reading:
        self.submit(request)
        return self.collect()

    def rest(self) -> None:
        self._send(("rest",))
        self._receive()

    def close(self) -> None:
        """To rest; the host lets it go when it ends."""
        try:
            self.rest()
        except Disconnected:  # a host that is gone has no devices
            pass

    def _send(self, message: tuple) -> None:
        try:
            self.connection.send(message)
        except OSError:
            raise self._gone() from None

    def _receive(self) -> Any:
        try:
            error, answer = self.connection.recv()
        except (EOFError, OSError):
            raise self._gone() from None
        if error is None:
            return answer
        kind = getattr(contracts, error, DeviceError)
        raise (kind if isinstance(kind, type) and issubclass(kind, DeviceError) else DeviceError)(answer)

    def _gone(self) -> Disconnected:
        return Disconnected(f"{self._serial}: the process that drives it is gone.")


class PullingDevices(HostedDevice):
    """The devices of a host, as one: whichever is idle measures the next piece of a request (`physics.drivers.queue`).

    Its readings count all that the devices did since the last one.
    """

    def __init__(self, connection: Connection, memory: Memory) -> None:
        self._connect(connection, memory, "the devices that pull")
        self.identity = Identity("queue of a host", self._serial)

    def submit(self, request: Request) -> None:
        self._send((self._plain(request), request.pieces))
        self._asked.append(request)

    def collect(self) -> Reading:
        request = self._asked.popleft()
        a = Answer(*self._receive())
        return Reading(
            a.v,
            request.versions,
            request.requests,
            a.writes,
            a.passes,
            a.calls,
            a.seconds,
            a.joules,
            "modelled",
            who=a.who,
            dropped=a.dropped,
        )

    def rest(self) -> None:
        """Each device is told by itself."""

    def close(self) -> None:
        """Nothing of its own to release."""


def _alike(params: Any) -> dict[str, np.ndarray]:
    """One setting for all rows."""
    return {name: np.asarray(value)[None] for name, value in params.items()}

"""The queue from which the devices of a host pull: an idle one takes the next piece, the first answer counts.

A LOT is one request whose rows are cut into pieces; there is one at a time. When all its pieces are given out, an idle
device is given again what is out for the longest, if that is longer than such a piece takes on the device itself, twice
over: else whoever has it will be done first. What nobody needs any more is measured to its end, and dropped.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import NamedTuple

import numpy as np

from physics.contracts import DeviceError, Reading, Refused
from physics.driven import DrivenDevice, Plain, told

PATIENCE = 2.0  # times what a piece takes on a device, before it is given what another one has


class Lot:
    """A request and the rows lo..hi of each of its pieces; then what came back."""

    def __init__(self, asked: Plain, pieces: tuple[tuple[int, int], ...]) -> None:
        self.asked, self.pieces = asked, pieces
        self.waiting = deque(range(len(pieces)))
        self.out: dict[int, float] = {}  # piece without an answer -> when it was last given to a device
        self.answers: dict[int, tuple[int, Reading]] = {}  # piece -> (device, what it measured)
        self.error: Exception | None = None

    @property
    def over(self) -> bool:
        return self.error is not None or len(self.answers) == len(self.pieces)

    def rows(self, piece: int) -> Plain:
        """A piece as a request. Copied: the worker fills its memory anew when the lot is over."""
        (lo, hi), asked = self.pieces[piece], self.asked
        assert isinstance(asked.written, dict)
        written = {k: _copied(v[lo:hi] if len(v) > 1 else v) for k, v in asked.written.items()}
        x = asked.x[lo:hi] if len(asked.x) > 1 else asked.x
        return asked._replace(written=written, x=x, versions=asked.versions[lo:hi], requests=asked.requests[lo:hi])


class Taken(NamedTuple):
    """A piece on a device, and what it is asked."""

    lot: Lot
    piece: int
    asked: Plain


class Answer(NamedTuple):
    """Of a lot: v [rows, batch, n_out], the device of each piece, and what all devices did since the last lot."""

    v: np.ndarray
    who: tuple[int, ...]
    writes: int
    passes: int
    calls: int
    seconds: float | None
    joules: float | None
    dropped: int  # of the passes


class Queue:
    """One lot at a time. `take`, `answered` and `failed` are called by the threads of devices, by their number."""

    def __init__(self) -> None:
        lock = threading.Lock()
        self._more, self._over = threading.Condition(lock), threading.Condition(lock)
        self._lot: Lot | None = None
        self._late: list[Reading] = []  # that were dropped, and are not counted yet
        self._error: Exception | None = None  # of a device that was still busy with an older lot
        self._busy: dict[int, float] = {}  # device -> since when
        self._takes: dict[int, float] = {}  # device -> seconds that a piece took, the last time
        self._ended = False

    def answer(self, lot: Lot) -> Answer:
        """Let devices measure a lot, and wait for it. Raises the first error of a device."""
        with self._over:
            if self._error is None and not self._ended:
                self._lot = lot
                self._more.notify_all()
                while not (lot.over or self._ended):
                    self._over.wait()
                self._lot = None
            error, self._error = lot.error or self._error, None
            if error is None and not lot.over:
                error = DeviceError("the devices are let go")
            if error is not None:
                raise error
            late, self._late = self._late, []
        found = [lot.answers[piece] for piece in range(len(lot.pieces))]
        made = [*(reading for _, reading in found), *late]
        return Answer(
            np.concatenate([reading.v for _, reading in found]),
            tuple(who for who, _ in found),
            sum(r.writes for r in made),
            sum(r.passes for r in made),
            sum(r.calls for r in made),
            _sum([r.seconds for r in made]),
            _sum([r.joules for r in made]),
            sum(r.passes for r in late),
        )

    def take(self, device: int) -> Taken | None:
        """What an idle device is to do, when there is something; None at the end."""
        with self._more:
            while not self._ended:
                piece, wait_s = self._next(device)
                if piece is not None:
                    assert self._lot is not None
                    now = time.perf_counter()
                    self._lot.out[piece] = self._busy[device] = now
                    return Taken(self._lot, piece, self._lot.rows(piece))
                self._more.wait(wait_s)
            return None

    def _next(self, device: int) -> tuple[int | None, float | None]:
        """The piece that it takes, or how long it waits before it asks again (None: for the next lot)."""
        lot = self._lot
        if lot is None or lot.over:
            return None, None
        if lot.waiting:
            return lot.waiting.popleft(), None
        longest = min(lot.out, key=lambda piece: lot.out[piece])
        wait_s = lot.out[longest] + PATIENCE * self._takes.get(device, 0.0) - time.perf_counter()
        return (longest, None) if wait_s <= 0 else (None, wait_s)

    def answered(self, device: int, taken: Taken, reading: Reading) -> None:
        with self._over:
            self._takes[device] = time.perf_counter() - self._free(device)
            lot, piece = taken.lot, taken.piece
            if lot is not self._lot or lot.over or piece in lot.answers:
                self._late.append(reading)
                return
            lot.answers[piece] = device, reading
            del lot.out[piece]
            if lot.over:
                self._over.notify_all()

    def failed(self, device: int, taken: Taken, error: Exception) -> None:
        with self._over:
            self._free(device)
            if taken.lot is self._lot:
                taken.lot.error = taken.lot.error or error
            else:
                self._error = self._error or error
            self._over.notify_all()

    def halt(self) -> None:
        """Give nothing more out, and wait until devices, which are told elsewhere, have stopped."""
        with self._over:
            if self._lot is not None:
                self._lot.error = self._lot.error or DeviceError("halted")
            self._over.notify_all()
            while self._busy:
                self._over.wait()
            self._error = None  # they were made to stop

    def end(self) -> None:
        with self._over:
            self._ended = True
            self._over.notify_all()
            self._more.notify_all()

    def _free(self, device: int) -> float:
        """Since when it was busy."""
        since = self._busy.pop(device)
        if not self._busy:
            self._over.notify_all()  # for `halt`
        return since


def pull(number: int, device: DrivenDevice, alone: threading.Lock, queue: Queue) -> None:
    """A device pulls until the queue ends. alone: held while the device is used."""
    while (taken := queue.take(number)) is not None:
        try:
            with alone:
                reading = device.measure(taken.asked)
        except Exception as error:
            if not isinstance(error, Refused):
                with alone:
                    device.rest()
            kind = type(error) if isinstance(error, DeviceError) else DeviceError
            queue.failed(number, taken, kind(f"{device.identity.serial}: {told(error)}"))
        else:
            queue.answered(number, taken, reading)


def _copied(value: np.ndarray) -> np.ndarray:
    """By a way on which no other thread gets the interpreter, as numpy's copy would let it: the queue is locked."""
    return np.frombuffer(value.tobytes(), value.dtype).reshape(value.shape)


def _sum(values: list[float | None]) -> float | None:
    """Unknown plus anything is unknown."""
    known = [v for v in values if v is not None]
    return sum(known) if len(known) == len(values) else None

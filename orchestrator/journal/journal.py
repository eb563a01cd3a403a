"""The journal of a run: records are appended, made durable, and only then applied. One writer, many readers.

A record may be on its way to the disk while the one who waits for it gets ready: `start`, and `settle` before it acts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.journal import crash, frames
from orchestrator.journal.files import Full, when_there_is_room
from orchestrator.journal.frames import MAGIC, START, Event

NAME = "journal.pnn"


class Journal:
    """Appends to an open file at `end`; `full` is told when the disk is full, and appending goes on when it is not."""

    def __init__(self, file: FileIO, end: int, previous: bytes, place: Path, full: Full) -> None:
        self._file, self._end, self._previous = file, end, previous
        self._place, self.full = place, full
        self._thread = ThreadPoolExecutor(1, "journal")
        self._under_way: Future[tuple[bytes, bytes, bool]] | None = None

    def append(self, kind: str, meta: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
        """Durable when it returns. The time (ms since 1970) is added."""
        self.start(kind, meta, arrays)
        self.settle()

    def start(self, kind: str, meta: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
        """Begin to append on a thread, which nobody shall change `arrays` under; what was started before is settled."""
        self.settle()
        meta = {"time": time.time_ns() // 1_000_000, **meta}
        self._under_way = self._thread.submit(self._put, kind, meta, arrays or {})

    def settle(self) -> None:
        """Wait until what was started is durable, and while the disk is full."""
        if self._under_way is None:
            return
        record, found, written = self._under_way.result()
        self._under_way = None
        if not written:
            when_there_is_room(lambda: self._write(record), self._place, self.full)
        self._end += len(record)
        self._previous = found

    def _put(self, kind: str, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[bytes, bytes, bool]:
        """(record, its hash, whether it could be written)"""
        record, found = frames.encode(self._previous, kind, meta, arrays)
        crash.reach("append.before")
        try:
            self._write(record)
        except OSError:
            return record, found, False
        return record, found, True

    def _write(self, record: bytes) -> None:
        """The whole record, or (on an error) nothing of it."""
        self._file.seek(self._end)
        try:
            if crash.armed("append.torn"):
                self._file.write(record[: len(record) // 2])
            crash.reach("append.torn")
            left = memoryview(record)
            while left:
                left = left[self._file.write(left) :]
            crash.reach("append.unsynced")
            os.fdatasync(self._file.fileno())
            crash.reach("append.durable")
        except OSError:
            os.ftruncate(self._file.fileno(), self._end)
            raise

    def close(self) -> None:
        """What was started is written first, if it can be."""
        self._thread.shutdown()
        self._file.close()


def create(path: Path, meta: dict[str, Any]) -> None:
    """A new journal file with its first record, durable."""
    record, _ = frames.encode(START, "start", {"time": time.time_ns() // 1_000_000, **meta}, {})
    with open(path, "xb") as file:
        file.write(MAGIC + record)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Iterator[Event]:
    """All whole records of a journal file, which may be growing. Raises `frames.Damage`, OSError."""
    with open(path, "rb") as file:
        frames.check_magic(file)
        yield from frames.read(file)


def append_to(path: Path, end: int, previous: bytes, full: Full) -> tuple[Journal, int]:
    """(the journal, open behind the record that ends at `end`; bytes of a torn tail that were cut).

    The caller holds the lock of the folder.
    """
    file = FileIO(path, "rb+")
    torn = os.fstat(file.fileno()).st_size - end
    if torn:
        os.ftruncate(file.fileno(), end)
        os.fdatasync(file.fileno())
    return Journal(file, end, previous, path.parent, full), torn

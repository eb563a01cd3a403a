"""Memory that a worker and its host both see: settings are written once, and messages say where they are."""

from __future__ import annotations

import math
import mmap
import os
from typing import Any, NamedTuple

import numpy as np

LEAST = 1 << 20  # bytes


class Place(NamedTuple):
    """An array in the memory."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


class Memory:
    """The side that writes. What was put there is valid until `clear`; larger memory takes the place of smaller."""

    def __init__(self) -> None:
        self.number = os.memfd_create("pnn") if hasattr(os, "memfd_create") else -1
        self._used = 0
        self._bytes = np.zeros(0, np.uint8)

    def clear(self) -> None:
        """Begin anew. Nothing may be under way."""
        self._used = 0

    def new(self, shape: tuple[int, ...], kind: Any) -> np.ndarray:
        """An array in the memory, or anywhere where there is none to share; what it holds is anything."""
        if self.number < 0:
            return np.empty(shape, kind)
        begin, end = self._used, self._used + math.prod(shape) * np.dtype(kind).itemsize
        if end > len(self._bytes):
            size = max(LEAST, 2 * end)
            os.ftruncate(self.number, size)
            self._bytes = np.frombuffer(mmap.mmap(self.number, size), np.uint8)
        self._used = -(-end // 64) * 64
        return self._bytes[begin:end].view(kind).reshape(shape)

    def find(self, array: np.ndarray) -> Place | None:
        """Where an array is, if it is in the memory as it stands there."""
        offset = array.__array_interface__["data"][0] - self._base()
        if not (array.flags.c_contiguous and 0 <= offset and offset + array.nbytes <= len(self._bytes)):
            return None
        return Place(offset, array.shape, array.dtype.str)

    def close(self) -> None:
        if self.number >= 0:
            os.close(self.number)
            self.number = -1

    def _base(self) -> int:
        return self._bytes.__array_interface__["data"][0]


class View:
    """The side that reads."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._bytes = np.zeros(0, np.uint8)

    def at(self, place: Place) -> np.ndarray:
        size = math.prod(place.shape) * np.dtype(place.dtype).itemsize
        known = self._bytes
        if place.offset + size > len(known):
            whole = os.fstat(self._number).st_size
            known = self._bytes = np.frombuffer(mmap.mmap(self._number, whole, access=mmap.ACCESS_READ), np.uint8)
        return known[place.offset : place.offset + size].view(place.dtype).reshape(place.shape)

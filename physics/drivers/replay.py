"""A recorded instrument: it answers an input that was measured once with what was measured then, and refuses any other.

    v(x_k) = y_k for the recorded pairs (x_k, y_k)

The file is an archive of numpy (.npz) with x, float32 [pairs, n_in], and y [pairs, n_out]. It is for stages without
parameters: a record is of one setting. To check a model against pairs that it was not fitted to, let only those be
known, by `first` and `pairs`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from physics.contracts import Fitting, Held, Identity, Refused, RequestId, Sample, Tree, Version, Violation


@dataclass
class Replay:
    """file: its path. first, pairs: the part of it that is known, by default all."""

    fitting: Fitting
    file: str = ""
    first: Annotated[int, Ge(0)] = 0
    pairs: Annotated[int, Gt(0)] | None = None
    _x: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32), init=False)
    _answers: dict[bytes, np.ndarray] = field(default_factory=dict, init=False)

    def open(self) -> Identity:
        fitting = self.fitting
        if fitting.ports.params:
            raise Refused(f"{fitting.serial}: a record is of one setting, but there are parameters to write.")
        try:
            with np.load(self.file, allow_pickle=False) as archive:
                x, y = archive["x"], archive["y"]
        except Exception as error:  # damage raises a dozen unrelated types
            raise self._unfit(f"{type(error).__name__} ({error})") from None
        if x.dtype != np.float32 or x.shape[1:] != (fitting.n_in,) or y.shape != (len(x), fitting.n_out):
            raise self._unfit(f"x {x.dtype} {list(x.shape)} and y {list(y.shape)}")
        last = len(x) if self.pairs is None else self.first + self.pairs
        if not self.first < last <= len(x):
            told = f"asked for the pairs {self.first} to {last}, but there are {len(x)}"
            raise Refused(f"{fitting.serial}: file = {self.file!r}: {told}.")
        self._x = x[self.first : last]
        self._answers = {a.tobytes(): b for a, b in zip(self._x, y[self.first : last], strict=True)}
        return Identity("recorded instrument", fitting.serial)

    def check(self, device: Tree, x: np.ndarray) -> list[Violation]:
        port = self.fitting.ports.inputs
        out = port.outside(x)
        return [] if out is None else [Violation("input", out, port.low, port.high, port.unit)]

    check_rows = check  # every value by itself

    def write(self, device: Tree, version: Version) -> tuple[Held, float | None]:
        return Held(version, device), None

    def measure(
        self, x: np.ndarray, *, version: Version, request: tuple[RequestId, int], deadline_s: float | None = None
    ) -> Sample:
        v = self._answers.get(np.asarray(x, np.float32).tobytes())
        if v is None:
            distance = np.linalg.norm(self._x - x, axis=1)
            near = int(np.argmin(distance))
            raise Refused(
                f"{self.fitting.serial}: this input was not recorded: the nearest of {len(self._x)} is pair "
                f"{self.first + near}, at a distance of {distance[near]:.4g}."
            )
        return Sample(v, version, request, None, None)

    def safe(self) -> None:
        """Nothing is actuated."""

    def close(self) -> None:
        """Nothing to release."""

    def _unfit(self, found: str) -> Refused:
        n_in, n_out = self.fitting.n_in, self.fitting.n_out
        expected = f"an .npz archive of x, float32 [pairs, {n_in}], and y [pairs, {n_out}]"
        return Refused(f"{self.fitting.serial}: file = {self.file!r}: expected {expected}, found {found}.")

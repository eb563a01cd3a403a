"""What a data set is: training and test parts that were checked, or one part that is still to be divided."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


class DataError(ValueError):
    """Data are missing, damaged or not what they should be: what was expected, what was found, what to do."""


def require(good: bool, message: str) -> None:
    """Raises `DataError` unless `good`."""
    if not good:
        raise DataError(message)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification task. None exists in a wrong state, and the arrays are read-only.

    Attributes:
        name: its key in `LOADERS`.
        x_train, x_test: inputs, float32 [n, features], in 0..1, without unit.
        y_train, y_test: labels, int32 [n], in 0..n_classes-1.
        shape: of one sample before it was flattened (images: rows, columns); the product is `features`.
        source, licence: where the data come from, and on what terms.

    Raises:
        DataError: a part is empty or of another type or shape, an input is not in 0..1, a label is no class.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    n_classes: int
    shape: tuple[int, ...]
    source: str = "unstated"
    licence: str = "unstated"

    def __post_init__(self) -> None:
        width, last = math.prod(self.shape), self.n_classes - 1
        for part in ("train", "test"):
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            where = f"Data set {self.name!r}, {part} part: expected"
            good = x.dtype == np.float32 and x.ndim == 2 and x.shape[1] == width and len(x) > 0
            require(good, f"{where} inputs float32 [n > 0, {width}], found {x.dtype} {list(x.shape)}.")
            good = y.dtype == np.int32 and y.shape == x.shape[:1]
            require(good, f"{where} labels int32 [{len(x)}], found {y.dtype} {list(y.shape)}.")
            low, high = x.min(), x.max()  # one NaN makes both NaN, which fails the comparison
            require(low >= 0 and high <= 1, f"{where} inputs in 0..1, found {low}..{high}: scale them.")
            low, high = y.min(), y.max()
            require(low >= 0 and high <= last, f"{where} labels 0..{last}, found {low}..{high}: renumber.")
            for field, array in ((f"x_{part}", x), (f"y_{part}", y)):
                view = array.view()  # the caller's own array stays writable
                view.flags.writeable = False
                object.__setattr__(self, field, view)


@dataclass(frozen=True, eq=False)
class Undivided:
    """A set that was published without a split: x float32 [n, features] in 0..1, y int32 [n]; `tests` rows to test on.

    source, licence: as of `Dataset`.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    tests: int
    n_classes: int
    source: str
    licence: str

    def divided(self, number: int) -> Dataset:
        """Split `number`: of each class its share of the test rows, up or down to a whole one, drawn by chance.

        Both parts are in random order, so that the first of them are of all classes. The numbers are the words of
        Philox with `number` as its key: unlike numpy's permutations they are the same in all its versions.
        """
        n = len(self.y)
        words = np.random.Philox(key=number).random_raw(n)
        by_class = np.lexsort((words, self.y))  # in each class by chance
        held = np.zeros(n, bool)
        held[by_class] = np.diff(np.arange(n + 1) * self.tests // n) == 1  # `tests` of n, evenly
        order = np.argsort(words)
        train, test = order[~held[order]], order[held[order]]
        about = self.n_classes, self.x.shape[1:], self.source, self.licence
        return Dataset(self.name, self.x[train], self.y[train], self.x[test], self.y[test], *about)

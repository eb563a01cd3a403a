"""Data sets: their content is known by digest, they are checked when loaded, and split reproducibly.

`digits` ships with the software; the files of the others lie below the folder that PNN_DATA names. A further
set is one loader in `LOADERS`, which stands in `orchestrator/datasets/known.py`.
"""

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from orchestrator.datasets.dataset import DataError, Dataset, Undivided, require
from orchestrator.datasets.known import FOLDERS, LOADERS

__all__ = ["FOLDERS", "LOADERS", "DataError", "Dataset", "load", "split"]


def load(name: str, *, path: str | Path | None = None, size: tuple[int, int] | None = None, split: int = 0) -> Dataset:
    """Load a data set and check it.

    Args:
        name: a key of `LOADERS`.
        path: the folder that holds its files, instead of the embedded one or the one of its name in PNN_DATA.
        size: rows and columns to reduce images to, by averaging equal blocks of pixels.
        split: which of the random splits, of a set that was published without one.

    Raises:
        DataError: the name is unknown, a file is missing or damaged, `size` does not divide the images, or there is
            no such `split`.
    """
    if name not in LOADERS:
        near = difflib.get_close_matches(name.lower(), LOADERS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"Unknown data set {name!r}.{hint} Known: {', '.join(LOADERS)}.")
    found = LOADERS[name](None if path is None else Path(path))
    if isinstance(found, Undivided):
        dataset = found.divided(split)
    else:
        require(split == 0, f"{name} comes with its training and test parts: split must be 0, found {split}.")
        dataset = found
    return dataset if size is None else _reduced(dataset, size)


def split(dataset: Dataset, part: Literal["test", "validation"], fraction: float = 0.2) -> Dataset:
    """Choose what accuracy is measured on.

    "test" changes nothing. "validation" is for choices before the final result: the last `fraction` of each
    class of the training part replaces the test part, which is then nowhere in the result; the rest is
    trained on. The last rather than every k-th: neighbours may share a writer.

    Raises:
        DataError: the part is unknown, or `fraction` leaves some class without a sample on one side.
    """
    if part == "test":
        return dataset
    require(part == "validation", f"Unknown part {part!r} of a data set. Known: 'test', 'validation'.")
    require(0 < fraction < 1, f"The validation fraction must lie between 0 and 1, found {fraction}.")
    x, y = dataset.x_train, dataset.y_train
    held = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        count = round(fraction * len(members))
        takes = f"A validation fraction of {fraction} takes {count} of the {len(members)} training samples"
        require(0 < count < len(members), f"{takes} of class {label} of {dataset.name!r}: choose another.")
        held[members[-count:]] = True
    return replace(dataset, x_train=x[~held], y_train=y[~held], x_test=x[held], y_test=y[held])


def _reduced(dataset: Dataset, size: tuple[int, int]) -> Dataset:
    """Every pixel becomes the mean of a block; sums of 8-bit levels are exact in float64, in any order."""
    shape, axes = dataset.shape, zip(dataset.shape, size, strict=False)
    good = len(shape) == len(size) == 2 and all(m in range(1, n + 1) and n % m == 0 for n, m in axes)
    require(good, f"{dataset.name} is {shape}: size must be rows and columns that divide it, found {size}.")
    rows, columns = map(int, size)
    blocks = (-1, rows, shape[0] // rows, columns, shape[1] // columns)
    means = (x.reshape(blocks).mean((2, 4), np.float64) for x in (dataset.x_train, dataset.x_test))
    x_train, x_test = (x.astype(np.float32).reshape(len(x), -1) for x in means)
    return replace(dataset, x_train=x_train, x_test=x_test, shape=(rows, columns))

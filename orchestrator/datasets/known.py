"""The data sets by name: one line each. A loader is given the folder with the files, or None for the usual one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from orchestrator.datasets import images, tables
from orchestrator.datasets.dataset import Dataset, Undivided

LOADERS: dict[str, Callable[[Path | None], Dataset | Undivided]] = {
    "digits": partial(images.read_npz, images.DIGITS, "optdigits.npz"),
    "mnist": partial(images.read_idx, images.MNIST),
    "fashion-mnist": partial(images.read_idx, images.FASHION_MNIST),
    "iris": tables.iris,
    "vowels": tables.vowels,
    "xor": partial(tables.parity, "xor", 2),
    "parity-4": partial(tables.parity, "parity-4", 4),
    "nist7x7": tables.nist7x7,
    "sst2": tables.sst2,
}

# Of those with files that do not ship: the folder of each, in the one that PNN_DATA names.
FOLDERS = {
    **{record.name: record.name for record in (images.MNIST, images.FASHION_MNIST)},
    **{file.name: file.folder for file in (tables.IRIS, tables.VOWELS, tables.NIST7X7, tables.SST2)},
}

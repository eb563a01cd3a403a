"""Published sets of 8-bit images: gzipped IDX files, or an archive that ships with the software."""

from __future__ import annotations

import gzip
import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.datasets.dataset import Dataset
from orchestrator.datasets.origin import Origin


@dataclass(frozen=True)
class Record(Origin):
    """A published set of 8-bit images, as known before a file is opened: x_train, y_train, x_test, y_test."""

    name: str
    levels: int  # the integer that becomes 1.0
    n_classes: int
    source: str
    licence: str
    remedy: str  # what to do about a missing or damaged file
    parts: Sequence[tuple[str, tuple[int, ...], str]]  # file or member, shape, sha256 of it decompressed

    def array(self, path: Path, name: str, shape: tuple[int, ...], sha256: str, content: bytes) -> np.ndarray:
        """Check the digest, then take the values that follow the header."""
        self.check(path, content, sha256, f"{name} with sha256 {sha256} (decompressed)")
        return np.frombuffer(content, np.uint8, offset=len(content) - math.prod(shape)).reshape(shape)

    def dataset(self, arrays: Sequence[np.ndarray]) -> Dataset:
        scale = np.float32(self.levels)  # a single division, correctly rounded: the same bits everywhere
        x_train, x_test = (x.reshape(len(x), -1).astype(np.float32) / scale for x in arrays[::2])
        y_train, y_test = (y.astype(np.int32) for y in arrays[1::2])
        about = (self.n_classes, arrays[0].shape[1:], self.source, self.licence)
        return Dataset(self.name, x_train, y_train, x_test, y_test, *about)


def read_idx(record: Record, folder: Path | None) -> Dataset:
    """Gzipped IDX: magic (0x800 + rank if uint8) and shape as big-endian 32-bit integers, then the values."""
    folder = record.below(folder, record.name)
    arrays = []
    for name, shape, sha256 in record.parts:
        path, header = folder / name, [0x800 + len(shape), *shape]
        size = 4 * len(header) + math.prod(shape)
        with record.reading(path), gzip.open(path) as file:
            content = file.read(size + 1)  # never more than a byte too many, whatever the file announces
        found = [int.from_bytes(content[4 * i : 4 * i + 4], "big") for i in range(len(header))]
        if found != header or len(content) != size:
            has = f"more than {size}" if len(content) > size else len(content)
            raise record.refusal(path, f"magic and shape {header}, {size} bytes", f"{found}, {has} bytes")
        arrays.append(record.array(path, name, shape, sha256, content))
    return record.dataset(arrays)


def read_npz(record: Record, file_name: str, folder: Path | None) -> Dataset:
    """An archive of the four arrays, by default the one that ships with the software."""
    path = (folder or Path(__file__).parent) / file_name
    with record.reading(path), path.open("rb") as file:
        archive = zipfile.ZipFile(io.BytesIO(file.read(2**20)))  # seven times its size, and no more
        # as much as it must hold, and a header; numpy.load would allocate whatever the header says
        contents = [archive.open(name).read(math.prod(shape) + 1024) for name, shape, _ in record.parts]
    pairs = zip(record.parts, contents, strict=True)
    return record.dataset([record.array(path, *part, content) for part, content in pairs])


def like_mnist(name: str, source: str, licence: str, *sha256: str) -> Record:
    """The record of a set with the files and the sizes of MNIST."""
    files = [f"{a}-{b}-ubyte.gz" for a in ("train", "t10k") for b in ("images-idx3", "labels-idx1")]
    shapes = ((60000, 28, 28), (60000,), (10000, 28, 28), (10000,))
    remedy = f"Put {', '.join(files)} into {name}/ in the folder that PNN_DATA names, or pass path."
    return Record(name, 255, 10, source, licence, remedy, tuple(zip(files, shapes, sha256, strict=True)))


DIGITS = Record(
    "digits",
    levels=16,
    n_classes=10,
    source="E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, doi:10.24432/C50P49.",
    licence="CC BY 4.0",
    remedy="It ships with the software: install that again, or run tools/pack_optdigits.py.",
    parts=(
        ("x_train.npy", (3823, 8, 8), "c0398c87a5b5e5f7d487813f34e86ba52f7af72b4e51130380a20212dbd4e699"),
        ("y_train.npy", (3823,), "5ce36fecd525cf2d2403d7e808460a27e9b1dfa018d1f49d1cb1e65fa5fbcb72"),
        ("x_test.npy", (1797, 8, 8), "88e52eb3e11cb9cc0130dc8fc4b6256aa919b3275fec17e6c2f880e1ae8d34ae"),
        ("y_test.npy", (1797,), "03ec0343bca84958ae3df825f252a3680415fa07fccb1ed1125ed521c13169e5"),
    ),
)
MNIST = like_mnist(
    "mnist",
    "Y. LeCun, C. Cortes, C. Burges, from NIST Special Databases 1 and 3 (1998); torchvision has it.",
    "CC BY-SA 3.0",
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
FASHION_MNIST = like_mnist(
    "fashion-mnist",
    "H. Xiao, K. Rasul, R. Vollgraf (Zalando SE), arXiv:1708.07747 (2017); torchvision has it.",
    "MIT",
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)

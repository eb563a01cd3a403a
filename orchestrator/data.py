"""Data sets: their content is known by digest, they are checked when loaded, and split without chance.

`digits` ships with the software; the files of the others lie below the folder that PNN_DATA names. A further
set is one loader in `LOADERS`.
"""

import difflib
import gzip
import hashlib
import io
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np


class DataError(ValueError):
    """Data are missing, damaged or not what they should be: what was expected, what was found, what to do."""


def _require(good: bool, message: str) -> None:
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
            _require(good, f"{where} inputs float32 [n > 0, {width}], found {x.dtype} {list(x.shape)}.")
            good = y.dtype == np.int32 and y.shape == x.shape[:1]
            _require(good, f"{where} labels int32 [{len(x)}], found {y.dtype} {list(y.shape)}.")
            low, high = x.min(), x.max()  # one NaN makes both NaN, which fails the comparison
            _require(low >= 0 and high <= 1, f"{where} inputs in 0..1, found {low}..{high}: scale them.")
            low, high = y.min(), y.max()
            _require(low >= 0 and high <= last, f"{where} labels 0..{last}, found {low}..{high}: renumber.")
            for field, array in ((f"x_{part}", x), (f"y_{part}", y)):
                view = array.view()  # the caller's own array stays writable
                view.flags.writeable = False
                object.__setattr__(self, field, view)


def load(name: str, *, path: str | Path | None = None, size: tuple[int, int] | None = None) -> Dataset:
    """Load a data set and check it.

    Args:
        name: a key of `LOADERS`.
        path: the folder that holds its files, instead of the embedded one or PNN_DATA/<name>.
        size: rows and columns to reduce images to, by averaging equal blocks of pixels.

    Raises:
        DataError: the name is unknown, a file is missing or damaged, or `size` does not divide the images.
    """
    if name not in LOADERS:
        near = difflib.get_close_matches(name.lower(), LOADERS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"Unknown data set {name!r}.{hint} Known: {', '.join(LOADERS)}.")
    dataset = LOADERS[name](None if path is None else Path(path))
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
    _require(part == "validation", f"Unknown part {part!r} of a data set. Known: 'test', 'validation'.")
    _require(0 < fraction < 1, f"The validation fraction must lie between 0 and 1, found {fraction}.")
    x, y = dataset.x_train, dataset.y_train
    held = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        count = round(fraction * len(members))
        takes = f"A validation fraction of {fraction} takes {count} of the {len(members)} training samples"
        _require(0 < count < len(members), f"{takes} of class {label} of {dataset.name!r}: choose another.")
        held[members[-count:]] = True
    return replace(dataset, x_train=x[~held], y_train=y[~held], x_test=x[held], y_test=y[held])


def _reduced(dataset: Dataset, size: tuple[int, int]) -> Dataset:
    """Every pixel becomes the mean of a block; sums of 8-bit levels are exact in float64, in any order."""
    shape, axes = dataset.shape, zip(dataset.shape, size, strict=False)
    good = len(shape) == len(size) == 2 and all(m in range(1, n + 1) and n % m == 0 for n, m in axes)
    _require(good, f"{dataset.name} is {shape}: size must be rows and columns that divide it, found {size}.")
    rows, columns = map(int, size)
    blocks = (-1, rows, shape[0] // rows, columns, shape[1] // columns)
    means = (x.reshape(blocks).mean((2, 4), np.float64) for x in (dataset.x_train, dataset.x_test))
    x_train, x_test = (x.astype(np.float32).reshape(len(x), -1) for x in means)
    return replace(dataset, x_train=x_train, x_test=x_test, shape=(rows, columns))


@dataclass(frozen=True)
class _Record:
    """A published set of 8-bit images, as known before a file is opened: x_train, y_train, x_test, y_test."""

    name: str
    levels: int  # the integer that becomes 1.0
    n_classes: int
    source: str
    licence: str
    remedy: str  # what to do about a missing or damaged file
    parts: Sequence[tuple[str, tuple[int, ...], str]]  # file or member, shape, sha256 of it decompressed

    def refusal(self, path: Path | str, expected: str, found: str) -> DataError:
        says = f"{self.name}: {path}: expected {expected}, found {found}."
        return DataError(f"{says} {self.remedy} Origin: {self.source}")

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """Make a DataError of all that goes wrong; damage raises a dozen unrelated types in zipfile alone."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise self.refusal(path, "a file", "none") from None
        except Exception as error:
            raise self.refusal(path, "an intact file", f"{type(error).__name__} ({error})") from None

    def array(self, path: Path, name: str, shape: tuple[int, ...], sha256: str, content: bytes) -> np.ndarray:
        """Check the digest, then take the values that follow the header."""
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise self.refusal(path, f"{name} with sha256 {sha256} (decompressed)", found)
        return np.frombuffer(content, np.uint8, offset=len(content) - math.prod(shape)).reshape(shape)

    def dataset(self, arrays: Sequence[np.ndarray]) -> Dataset:
        scale = np.float32(self.levels)  # a single division, correctly rounded: the same bits everywhere
        x_train, x_test = (x.reshape(len(x), -1).astype(np.float32) / scale for x in arrays[::2])
        y_train, y_test = (y.astype(np.int32) for y in arrays[1::2])
        about = (self.n_classes, arrays[0].shape[1:], self.source, self.licence)
        return Dataset(self.name, x_train, y_train, x_test, y_test, *about)


def _read_idx(record: _Record, folder: Path | None) -> Dataset:
    """Gzipped IDX: magic (0x800 + rank if uint8) and shape as big-endian 32-bit integers, then the values."""
    root = os.environ.get("PNN_DATA", "")
    if folder is None and not root:
        raise record.refusal("its folder", "PNN_DATA (an environment variable) or path", "neither")
    folder = folder or Path(root) / record.name
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


def _read_npz(record: _Record, file_name: str, folder: Path | None) -> Dataset:
    """An archive of the four arrays, by default the one that ships with the software."""
    path = (folder or Path(__file__).parent / "datasets") / file_name
    with record.reading(path), path.open("rb") as file:
        archive = zipfile.ZipFile(io.BytesIO(file.read(2**20)))  # seven times its size, and no more
        # as much as it must hold, and a header; numpy.load would allocate whatever the header says
        contents = [archive.open(name).read(math.prod(shape) + 1024) for name, shape, _ in record.parts]
    pairs = zip(record.parts, contents, strict=True)
    return record.dataset([record.array(path, *part, content) for part, content in pairs])


def _like_mnist(name: str, source: str, licence: str, *sha256: str) -> _Record:
    files = [f"{a}-{b}-ubyte.gz" for a in ("train", "t10k") for b in ("images-idx3", "labels-idx1")]
    shapes = ((60000, 28, 28), (60000,), (10000, 28, 28), (10000,))
    remedy = f"Put {', '.join(files)} into {name}/ in the folder that PNN_DATA names, or pass path."
    return _Record(name, 255, 10, source, licence, remedy, tuple(zip(files, shapes, sha256, strict=True)))


_DIGITS = _Record(
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
_MNIST = _like_mnist(
    "mnist",
    "Y. LeCun, C. Cortes, C. Burges, from NIST Special Databases 1 and 3 (1998); torchvision has it.",
    "CC BY-SA 3.0",
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
_FASHION_MNIST = _like_mnist(
    "fashion-mnist",
    "H. Xiao, K. Rasul, R. Vollgraf (Zalando SE), arXiv:1708.07747 (2017); torchvision has it.",
    "MIT",
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)

LOADERS: dict[str, Callable[[Path | None], Dataset]] = {
    "digits": partial(_read_npz, _DIGITS, "optdigits.npz"),
    "mnist": partial(_read_idx, _MNIST),
    "fashion-mnist": partial(_read_idx, _FASHION_MNIST),
}

"""Published tables of numbers, and sets that are made by a rule: inputs are brought to 0..1 by a map that is told here.

iris, vowels    x = (a - min) / (max - min) of each column over the whole set
nist7x7         x = a, which is 0 or 1
sst2            x = (a + 0.3) / 0.6 for all columns; the components lie in -0.262..0.259
xor, parity-4   all 2^n binary rows, label = their sum modulo 2
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.datasets.dataset import Dataset, Undivided
from orchestrator.datasets.origin import Origin


@dataclass(frozen=True)
class File(Origin):
    """A published file, as known before it is opened, in `folder` below the one that PNN_DATA names."""

    name: str
    folder: str
    file: str
    size: int  # bytes
    sha256: str
    n_classes: int
    source: str
    licence: str

    @property
    def remedy(self) -> str:  # type: ignore[override]
        return f"Put {self.file} into {self.folder}/ in the folder that PNN_DATA names, or pass path."

    def content(self, folder: Path | None) -> io.BytesIO:
        """The file, checked."""
        path = self.below(folder, self.folder) / self.file
        with self.reading(path), path.open("rb") as file:
            content = file.read(self.size + 1)
        self.check(path, content, self.sha256, f"a file with sha256 {self.sha256}")
        return io.BytesIO(content)

    def columns(self, folder: Path | None, features: range, label: int) -> tuple[np.ndarray, np.ndarray]:
        """(x float32 [n, features] with each column in 0..1, y int32 [n]) of a CSV file with a header."""
        table = np.loadtxt(self.content(folder), delimiter=",", skiprows=1, usecols=(*features, label))
        a, y = table[:, :-1], table[:, -1]
        low, high = a.min(axis=0), a.max(axis=0)
        return ((a - low) / (high - low)).astype(np.float32), y.astype(np.int32)

    def undivided(self, x: np.ndarray, y: np.ndarray, tests: int) -> Undivided:
        return Undivided(self.name, x, y, tests, self.n_classes, self.source, self.licence)


def iris(folder: Path | None) -> Undivided:
    """150 flowers of 3 kinds: length and width of sepal and petal. 112 rows to train on, 38 to test."""
    return IRIS.undivided(*IRIS.columns(folder, range(4), label=4), tests=38)


def vowels(folder: Path | None) -> Undivided:
    """259 vowels of 7 kinds by 37 speakers: F1 to F3 at steady state and at 20, 50, 80 % of it. 207 to train, 52."""
    return VOWELS.undivided(*VOWELS.columns(folder, range(3, 15), label=2), tests=52)


def nist7x7(folder: Path | None) -> Dataset:
    """44,136 images of 4 letters, each with up to two pixels flipped; all of them are trained and tested on."""
    with np.load(NIST7X7.content(folder), allow_pickle=False) as archive:
        x, y = archive["x"].reshape(-1, 49).astype(np.float32), archive["y"].astype(np.int32)
    return Dataset(NIST7X7.name, x, y, x, y, NIST7X7.n_classes, (7, 7), NIST7X7.source, NIST7X7.licence)


def sst2(folder: Path | None) -> Dataset:
    """6,920 and 1,821 sentences, negative or positive, as unit vectors of 384 components. The 872 of dev are not used.

    The vectors are the mean-pooled embeddings of all-MiniLM-L6-v2 in float16.
    """
    with np.load(SST2.content(folder), allow_pickle=False) as archive:
        inputs = [archive[f"x_{part}"].astype(np.float64) for part in ("train", "test")]
        y_train, y_test = (archive[f"y_{part}"].astype(np.int32) for part in ("train", "test"))
    x_train, x_test = (((a + 0.3) / 0.6).astype(np.float32) for a in inputs)
    return Dataset(SST2.name, x_train, y_train, x_test, y_test, 2, (384,), SST2.source, SST2.licence)


def parity(name: str, n: int, folder: Path | None) -> Dataset:
    """n bits, the first the highest: all 2^n rows are trained and tested on. There is no file, so no folder."""
    x = (np.arange(2**n)[:, None] >> np.arange(n)[::-1]) & 1
    y = (x.sum(axis=1) % 2).astype(np.int32)
    rows = x.astype(np.float32)
    return Dataset(name, rows, y, rows, y, 2, (n,), "a rule: the sum of the bits modulo 2", "none is needed")


IRIS = File(
    "iris",
    "small-tabular",
    "iris.csv",
    2776,
    "01245346a92d3d33edad4a4691162c6e5e27261e1e32ef67337db5f9cdd5c944",
    3,
    "R. A. Fisher (1936), UCI, doi:10.24432/C56C76, in the version of scikit-learn, which differs in two rows.",
    "CC BY 4.0",
)
VOWELS = File(
    "vowels",
    "vowels",
    "vowels7.csv",
    20341,
    "fb789947f6fb0e89dfe8125e7ee49a1af3da5296ebb5b5021ec2e9603dfb5ffc",
    7,
    "J. Hillenbrand et al., J. Acoust. Soc. Am. 97:3099 (1995): women, 7 of the 12 vowels, as in the table of "
    "mcmahon-lab/2D-programmable-waveguide on GitHub.",
    "CC BY 4.0",
)
NIST7X7 = File(
    "nist7x7",
    "nist7x7",
    "nist7x7.npz",
    151350,
    "f7fb507fe3282a07c8ec72e57f2d5bc43f812361e50b0539c6cd734e723e2786",
    4,
    "letters drawn anew after A. N. McCaughan et al., APL Machine Learning 1:026118 (2023); not the authors' data.",
    "CC0",
)
SST2 = File(
    "sst2",
    "sst2",
    "minilm_embeddings.npz",
    6817610,
    "fcdd5d884e3052204bcef67216e3a697616adb41273810b1499b3bd3f51fd896",
    2,
    "R. Socher et al., EMNLP (2013), sentences in the split of Y. Kim, EMNLP (2014); embedded by all-MiniLM-L6-v2.",
    "the treebank is given for research without an explicit licence; the model is Apache-2.0",
)

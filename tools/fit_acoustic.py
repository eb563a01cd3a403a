"""Fit the surrogate of the acoustic cavity to the measured pairs, and state its error.

Usage: PNN_DATA=<folder> python tools/fit_acoustic.py

Reads $PNN_DATA/acoustic-pnn/acoustic_io.npz and writes physics/substrates/acoustic.npz, see acoustic.py there. Rows
0-8999 are fitted, rows 9000-9299 choose how round the root is, rows 9300-9999 are held back: the parts of the authors.
The noise is what the fit leaves of the first two.
"""

import hashlib
import io
import os
import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parents[1] / "physics" / "substrates" / "acoustic.npz"
SHA256 = "c680c98ad9373e744385125ed28fc7e1b529f943333ebc494adaa601c62aa30b"
PARTS = {"train": slice(0, 9000), "validation": slice(9000, 9300), "held back": slice(9300, 10_000)}
SEEN = slice(0, 9300)
RIDGE = 1e-3  # the sums of squares of the features are some thousands
ROUND = (0.0, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3)  # of the mean of an output: below it the root is round


def pairs(folder):
    """(x [n, 20] in 0..1, y [n, 20]), float64. Raises ValueError if the file is another."""
    path = folder / "acoustic-pnn" / "acoustic_io.npz"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(f"{path} is not the recorded file: expected sha256 {SHA256}.")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return archive["x"].astype(np.float64), archive["y"].astype(np.float64)


def intensities(x, y):
    """Q [21, 21, 20], symmetric, of y^2 = z^T Q z with z = (1, x): ridge regression."""
    z = np.c_[np.ones(len(x)), x]
    i, j = np.triu_indices(z.shape[1])
    features = z[:, i] * z[:, j]
    w = np.linalg.solve(features.T @ features + RIDGE * np.eye(len(i)), features.T @ y**2)
    Q = np.zeros((z.shape[1], z.shape[1], y.shape[1]))
    Q[i, j] = w
    return (Q + Q.transpose(1, 0, 2)) / 2


def answer(Q, e, x):
    """As `f` of physics/substrates/acoustic.py, [n, 20]."""
    z = np.c_[np.ones(len(x)), x]
    q = np.einsum("ni,nj,ijk->nk", z, z, Q, optimize=True)
    return np.sqrt((q + np.sqrt(q**2 + e**2)) / 2)


def fit(x, y):
    """(Q, e [20], L [20, 20]), float32."""
    train, validation = PARTS["train"], PARTS["validation"]
    Q = intensities(x[train], y[train])
    each = [(c * y[train].mean(axis=0)) ** 2 for c in ROUND]
    e = min(each, key=lambda e: np.mean((y[validation] - answer(Q, e, x[validation])) ** 2))
    r = y[SEEN] - answer(Q, e, x[SEEN])
    return tuple(a.astype(np.float32) for a in (Q, e, np.linalg.cholesky(r.T @ r / len(r))))


def errors(y, v):
    """(share of the variance of all outputs that is explained, RMSE over all, RMSE of each [20])."""
    r = y - v
    explained = 1 - np.sum(r**2) / np.sum((y - y.mean(axis=0)) ** 2)
    return explained, np.sqrt(np.mean(r**2)), np.sqrt(np.mean(r**2, axis=0))


def main():
    root = os.environ.get("PNN_DATA")
    if not root:
        sys.exit("Set PNN_DATA to the folder that holds acoustic-pnn/acoustic_io.npz.")
    x, y = pairs(Path(root))
    Q, e, L = fit(x, y)
    np.savez_compressed(TARGET, Q=Q, e=e, L=L)
    for part, rows in PARTS.items():
        explained, rmse, each = errors(y[rows], answer(Q, e, x[rows]))
        print(f"{part}: {100 * explained:.2f} % of the variance explained, RMSE {rmse:.4f}")
        print("  RMSE of each output:", *(f"{r:.4f}" for r in each))
        print("  by its standard deviation:", *(f"{r:.2f}" for r in each / y[rows].std(axis=0)))
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

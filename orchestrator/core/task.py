"""The task: the batch of a step, the labels laid over it, and the readout with its loss and error."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from algorithms.contracts import AS_IS, MIXED, RIGHT, WRONG
from orchestrator.core import keys
from orchestrator.data import DataError, Dataset, load, split

if TYPE_CHECKING:
    from orchestrator.spec import Data

Array = Any


@lru_cache(maxsize=4)
def dataset(spec: Data) -> Dataset:
    """The data set of a run file, checked. Raises `DataError`."""
    data = split(load(spec.name, path=spec.path, size=spec.size, split=spec.split), spec.part)
    n = spec.train_samples
    if n is None:
        return data
    if n > len(data.x_train):
        raise DataError(f"{spec.name} has {len(data.x_train)} training samples, train_samples asks for {n}.")
    return replace(data, x_train=data.x_train[:n], y_train=data.y_train[:n])


class Batch(NamedTuple):
    """x [batch, features], y [batch], wrong [batch]: another label for each, mixed: the mean with another sample."""

    x: np.ndarray
    y: np.ndarray
    wrong: np.ndarray
    mixed: np.ndarray


@lru_cache(maxsize=2)
def batch(data: Dataset, seed: int, step: int, size: int, overlay: bool, mixes: bool) -> Batch:
    """The batch of a step, a pure function of (seed, step), kept for a while.

    Without an overlay no label is wrong, without `mixes` samples are mixed with themselves.
    """
    index = keys.batch_indices(seed, step, size, len(data.x_train))
    x, y = data.x_train[index], data.y_train[index]
    wrong = keys.wrong_labels(seed, step, y, data.n_classes) if overlay else y
    mixed = (x + x[keys.others(seed, step, size)]) * np.float32(0.5) if mixes else x
    return Batch(x, y, wrong, mixed)


def test_batch(data: Dataset, lo: int, hi: int, size: int) -> Batch:
    """Test samples lo..hi, the last one repeated up to `size`."""
    index = np.minimum(np.arange(lo, lo + size), hi - 1)
    x, y = data.x_test[index], data.y_test[index]
    return Batch(x, y, y, x)


def lay(batch: Batch, labels: tuple[int, ...], n_classes: int, overlay: bool) -> np.ndarray:
    """Network input [rows, batch, n]: one row if all labels are alike. Without a label the overlay is neutral (0)."""
    labels = labels[:1] if len(set(labels)) == 1 else labels
    if not overlay and MIXED not in labels:
        return np.broadcast_to(batch.x, (len(labels), *batch.x.shape))
    rows = np.zeros((len(labels), *batch.y.shape, batch.x.shape[1] + n_classes * overlay), np.float32)
    for row, label in zip(rows, labels, strict=True):
        row[:, : batch.x.shape[1]] = batch.mixed if label == MIXED else batch.x
        if label in (AS_IS, MIXED):
            continue
        laid = batch.y if label == RIGHT else batch.wrong if label == WRONG else np.full_like(batch.y, label)
        row[np.arange(len(laid)), batch.x.shape[1] + laid] = 1.0
    return rows


def outputs(h: Array) -> Array:
    """Logits [..., classes] of what the last stage gives; a single one is the log-odds of the second of two classes."""
    return jnp.concatenate([jnp.zeros_like(h), h], axis=-1) if h.shape[-1] == 1 else h


@jax.jit
def losses(h: Array, y: Array) -> Array:
    """Cross-entropy of each sample, [rows, batch], of the network's outputs [rows, batch, n]."""
    h = outputs(h)
    return -jnp.take_along_axis(jax.nn.log_softmax(h), y[None, :, None], axis=-1)[..., 0]


def cross_entropy(h: Array, y: Array) -> Array:
    """`losses`, for what is being compiled with more around it: without a gather, which breaks a loop in two."""
    h = outputs(h)
    right = jnp.arange(h.shape[-1]) == y[None, :, None]
    return jax.nn.logsumexp(h, axis=-1) - jnp.sum(jnp.where(right, h, 0.0), axis=-1)


@jax.jit
def error(h: Array, y: Array) -> Array:
    """dloss/dh, [rows, batch, n]: softmax minus one-hot."""
    if h.shape[-1] == 1:
        return jax.nn.sigmoid(h) - y[:, None]
    return jax.nn.softmax(h) - jax.nn.one_hot(y, h.shape[-1])


@jax.jit
def slopes(h: Array, y: Array) -> Array:
    """[rows, batch] of outputs in row 0, and in the others what they move by: the loss, its derivatives that way."""
    return jnp.concatenate([losses(h[:1], y), jnp.sum(error(h[:1], y) * h[1:], axis=-1)])


def answers(h: np.ndarray) -> np.ndarray:
    """The class that is answered, [...], by outputs or scores [..., n]."""
    return (h[..., 0] > 0).astype(np.int64) if h.shape[-1] == 1 else np.argmax(h, axis=-1)

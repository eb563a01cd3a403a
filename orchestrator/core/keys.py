"""Every random number of a run: one key for each, derived from the seed by PURPOSE first, then by what it belongs to.

Nothing here depends on a worker, on a clone or on the order of arrival. Directions know neither chip nor worker (every
replica must be able to make them again); measurement noise knows the chip, the write and the sample, and no two
measurements share a key.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from physics.contracts import Noise
from physics.noise import fold_in

Key = Any
Array = Any

# Purposes. Frozen: a journal replays only if they keep their numbers.
INIT, CHIP, PERTURB, NOISE, PROGRAM, READ, BATCH, LABEL, METHOD, TWIN, STATE, JITTER, MIX = range(13)
# Purposes of a reading, the first word of a request.
TRAIN, EVALUATE, PROMISE = range(3)


def fold(key: Key, *words: Array | int) -> Key:
    """`key` with each word folded in, in order."""
    for word in words:
        key = fold_in(key, word)
    return key


@lru_cache(maxsize=4096)
def derive(seed: int, purpose: int, *words: int) -> Key:
    """The key of one purpose and owner; cached, for it is asked for again in every step."""
    return _derive(seed, np.asarray((purpose, *words), np.int32))


@jax.jit
def _derive(seed: int, words: Array) -> Key:
    return fold(jax.random.key(seed), *words)


def derive_all(seed: int, purpose: int, words: np.ndarray) -> Key:
    """The keys of one purpose and many owners, int32 [owners, words]."""
    return _derive_all(seed, np.insert(words, 0, purpose, axis=1))


_derive_all = jax.jit(jax.vmap(_derive, (None, 0)))


def program(chip: Key, version: Array) -> Key:
    """Programming noise of one write: drawn anew at every version, the same for any clone that writes it."""
    return fold(chip, PROGRAM, *version)


def read(chip: Key, request: Array, sample: Array) -> Key:
    """Read noise of one sample of one reading."""
    return fold(chip, READ, *request, sample)


NOISE_KEYS = Noise(program, read)


def batch_indices(seed: int, step: int, batch: int, samples: int) -> np.ndarray:
    """The samples of a step, int [batch]: every epoch is a fresh permutation; a pure function of (seed, step)."""
    batch_per_epoch = max(samples // batch, 1)
    epoch, at = divmod(step, batch_per_epoch)
    order = _permutation(seed, epoch, samples)
    return np.take(order, range(at * batch, (at + 1) * batch), mode="wrap")


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, samples: int) -> np.ndarray:
    bits = np.asarray(_bits(derive(seed, BATCH, epoch), samples))
    return np.argsort(bits, kind="stable")


@partial(jax.jit, static_argnums=1)
def _bits(key: Key, n: int) -> Array:
    return jax.random.bits(key, (n,), "uint32")


def wrong_labels(seed: int, step: int, y: np.ndarray, n_classes: int) -> np.ndarray:
    """For each label another one, int32 [batch], uniform over the others."""
    bits = np.asarray(_bits(derive(seed, LABEL, step), len(y)))
    return ((y + 1 + bits % np.uint32(n_classes - 1)) % n_classes).astype(np.int32)


def others(seed: int, step: int, batch: int) -> np.ndarray:
    """For each sample of a batch another one of it, int [batch]: all are shifted by the same random number."""
    bits = int(np.asarray(_bits(derive(seed, MIX, step), 1))[0])
    return (np.arange(batch) + 1 + bits % max(batch - 1, 1)) % batch


def split_rows(key: Key, rows: Array) -> Array:
    """One key for each row."""
    return jax.vmap(lambda r: jax.random.fold_in(key, r))(jnp.asarray(rows))

"""Sizes that follow from a model or from numbers of probes alone."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from physics.contracts import Model


def shapes(model: Model) -> dict[str, Any]:
    """The parameters of a model as shapes; nothing is computed."""
    hashable: Any = model
    return _shapes(hashable)


@lru_cache(maxsize=256)
def _shapes(model: Any) -> dict[str, Any]:
    seed = jax.ShapeDtypeStruct((), np.uint32)
    return jax.eval_shape(lambda seed: model.init(jax.random.key(seed)), seed)


def size(tree: Any) -> int:
    """Entries of all its leaves."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def bundles(probes: tuple[int, ...], rows: int) -> list[tuple[int, ...]]:
    """Rows in bundles of at most `rows`, never cutting a probe: its + and - passes run on one chip."""
    groups: dict[int, list[int]] = {}
    for row, probe in enumerate(probes):
        groups.setdefault(probe, []).append(row)
    found: list[list[int]] = [[]]
    for members in groups.values():
        if found[-1] and len(found[-1]) + len(members) > rows:
            found.append([])
        found[-1] += members
    return [tuple(b) for b in found]


def sides(probe: np.ndarray) -> int:
    """How many rows next to each other share a probe, if it is the same for all; else 1."""
    length = len(probe) // len(np.unique(probe))
    return length if np.array_equal(probe, np.repeat(probe[::length], length)[: len(probe)]) else 1

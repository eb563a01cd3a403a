"""Records: what a step measured, reduced in a fixed order; from them alone the parameters can be rebuilt.

A record is appended BEFORE it is applied, and each names the hash of the one before. Replay builds fresh tiles and
commits every record: no device, no data.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from orchestrator.core.plan import Item, Plan
from orchestrator.core.tile import Tile

Tree = Any


@dataclass(frozen=True)
class Record:
    """evidence: group -> copy -> losses float64 [P], or {(stage, tile): mean gradient}."""

    step: int
    evidence: dict[int, dict[int, Any]]
    previous: str

    @property
    def hash(self) -> str:
        digest = hashlib.sha256(f"{self.previous} {self.step}".encode())
        for group, copies in sorted(self.evidence.items()):
            for copy, value in sorted(copies.items()):
                digest.update(f"{group} {copy}".encode())
                for leaf in jax.tree.leaves(dict(sorted(value.items())) if isinstance(value, dict) else value):
                    digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.hexdigest()


class Journal:
    """The append-only list of records of a run, in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, step: int, evidence: dict[int, dict[int, Any]]) -> Record:
        previous = self.records[-1].hash if self.records else "start"
        record = Record(step, evidence, previous)
        self.records.append(record)
        return record


def reduce_losses(plan: Plan, items: Iterable[Item], sums: dict[int, np.ndarray], passes: int) -> dict[int, Any]:
    """Mean loss of each row, float64 [P], by copy; the sums of the items are exact, so their order is immaterial."""
    out = {copy: np.full(passes, np.nan) for copy in range(plan.copies)}
    for item in items:
        out[plan.copy_of(item.replica)][list(item.rows)] = sums[item.number] / (item.hi - item.lo)
    return out


def reduce_gradients(plan: Plan, items: Iterable[Item], gradients: dict[int, Tree]) -> dict[int, Any]:
    """Mean gradient by copy and tile: summed in item order in float64, then float32."""
    total: dict[int, Tree] = {}
    count: dict[int, int] = {}
    for item in sorted(items):
        copy = plan.copy_of(item.replica)
        mine = jax.tree.map(lambda g: np.asarray(g, np.float64), gradients[item.number])
        total[copy] = mine if copy not in total else jax.tree.map(np.add, total[copy], mine)
        count[copy] = count.get(copy, 0) + item.hi - item.lo
    return {c: jax.tree.map(lambda g, n=count[c]: (g / n).astype(np.float32), t) for c, t in total.items()}


def loss_sum(losses: np.ndarray) -> np.ndarray:
    """Exact sum over the samples of each row: [rows, batch] -> float64 [rows]."""
    return np.array([math.fsum(row) for row in np.asarray(losses, np.float64)])


def tiles(plan: Plan) -> dict[tuple[int, int, int], Tile]:
    """Fresh tiles of a run by (copy, stage, tile)."""
    return {
        (copy, s.index, t): Tile(plan, copy, s.index, t)
        for copy in range(plan.copies)
        for s in plan.stages
        for t in range(len(s.tiles))
    }


def replay(plan: Plan, records: Iterable[Record]) -> dict[tuple[int, int, int], Tree]:
    """Parameters by (copy, stage, tile) after the records. Raises RuntimeError if the chain of hashes is broken."""
    mine, previous = tiles(plan), "start"
    for record in records:
        if record.previous != previous:
            raise RuntimeError(f"record {record.step} does not follow the one before it")
        previous = record.hash
        for tile in mine.values():
            tile.commit(record.step, record.evidence)
    return {name: jax.tree.map(np.asarray, tile.params) for name, tile in mine.items()}


def parameters_sha256(params: dict[tuple[int, int, int], Tree]) -> str:
    """One hash of all parameters, in the order of (copy, stage, tile)."""
    digest = hashlib.sha256()
    for name in sorted(params):
        digest.update(repr(name).encode())
        for leaf in jax.tree.leaves(params[name]):
            digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()

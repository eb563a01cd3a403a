"""Records: what a step measured, reduced in a fixed order; from them alone the parameters can be rebuilt.

A record is journalled BEFORE it is applied. Replay builds fresh tiles and commits every record: no device, no data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from orchestrator.core import trees
from orchestrator.core.plan import Item, Plan, shapes
from orchestrator.core.tile import Tile

Tree = Any
Evidence = dict[int, dict[int, Any]]
Name = tuple[int, int, int]  # (copy, stage, tile)


@dataclass(frozen=True)
class Record:
    """evidence: group -> copy -> losses float32 [P], or {(stage, tile): mean gradient}."""

    step: int
    evidence: Evidence


def pack(evidence: Evidence) -> dict[str, np.ndarray]:
    """As flat arrays: "losses/GROUP/COPY", or "gradients/GROUP/COPY/STAGE/TILE/..."."""
    arrays: dict[str, np.ndarray] = {}
    for group, copies in evidence.items():
        for copy, value in copies.items():
            if not isinstance(value, dict):
                arrays[f"losses/{group}/{copy}"] = value
                continue
            for (stage, tile), gradient in value.items():
                arrays |= trees.flatten(f"gradients/{group}/{copy}/{stage}/{tile}", gradient)
    return arrays


def unpack(plan: Plan, arrays: dict[str, np.ndarray]) -> Evidence:
    """The evidence of `pack`. Raises ValueError if it does not fit the plan."""
    evidence: Evidence = {}
    for group in plan.groups:
        copies: dict[int, Any] = {}
        for copy in range(plan.copies):
            if group.algorithm.evidence == "losses":
                copies[copy] = arrays[f"losses/{group.index}/{copy}"]
                continue
            stages = [plan.stages[s] for s in range(group.first, group.last + 1) if plan.stages[s].trained]
            copies[copy] = {
                (s.index, t): trees.fill(f"gradients/{group.index}/{copy}/{s.index}/{t}", shapes(model), arrays)
                for s in stages
                for t, model in enumerate(s.tiles)
            }
        evidence[group.index] = copies
    return evidence


def mean_loss(plan: Plan, evidence: Evidence) -> float | None:
    """Mean loss of the measured rows, if the readout gave losses."""
    losses = [v for g in plan.groups if g.algorithm.evidence == "losses" for v in evidence[g.index].values()]
    return float(np.mean(losses)) if losses else None


def reduce_losses(plan: Plan, items: Iterable[Item], means: dict[int, np.ndarray], passes: int) -> dict[int, Any]:
    """Mean loss of each row, float32 [P], by copy; each row is of one item, so their order is immaterial."""
    out = {copy: np.full(passes, np.nan, np.float32) for copy in range(plan.copies)}
    for item in items:
        out[plan.copy_of(item.replica)][list(item.rows)] = means[item.number]
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


def loss_mean(losses: np.ndarray) -> np.ndarray:
    """Mean over the samples of each row: [rows, batch] -> float32 [rows]; a row is never divided among workers."""
    return np.asarray(losses).mean(axis=1, dtype=np.float64).astype(np.float32)


def tiles(plan: Plan) -> dict[Name, Tile]:
    """Fresh tiles of a run by (copy, stage, tile)."""
    return {
        (copy, s.index, t): Tile(plan, copy, s.index, t)
        for copy in range(plan.copies)
        for s in plan.stages
        for t in range(len(s.tiles))
    }


def replay(mine: dict[Name, Tile], records: Iterable[Record]) -> dict[Name, Tree]:
    """Commit the records to tiles, fresh or restored; their parameters by (copy, stage, tile)."""
    for record in records:
        for tile in mine.values():
            tile.commit(record.step, record.evidence)
    return {name: jax.tree.map(np.asarray, tile.params) for name, tile in mine.items()}


def parameters_sha256(params: dict[Name, Tree]) -> str:
    """One hash of all parameters, in the order of (copy, stage, tile)."""
    digest = hashlib.sha256()
    for name in sorted(params):
        digest.update(repr(name).encode())
        for leaf in jax.tree.leaves(params[name]):
            digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()

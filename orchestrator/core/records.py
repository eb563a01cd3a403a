"""Records: what a step measured, reduced in a fixed order; from them alone the parameters can be rebuilt.

A record is journalled BEFORE it is applied. Replay builds fresh tiles and commits every record: no device, no data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from orchestrator.core import tile, trees
from orchestrator.core.plan import Plan
from orchestrator.core.shapes import shapes
from orchestrator.core.tile import Tile

if TYPE_CHECKING:
    from orchestrator.core.work import Work

Tree = Any
Evidence = dict[int, dict[int, Any]]
Name = tuple[int, int, int]  # (copy, stage, tile)


@dataclass(frozen=True)
class Record:
    """evidence: group -> copy -> losses float32 [P], or {(stage, tile): mean gradient}.

    Of copies that are held together (`Plan.held`): the first copy -> the same with a leading axis for them.
    """

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
            for (stage, t), gradient in value.items():
                arrays |= trees.flatten(f"gradients/{group}/{copy}/{stage}/{t}", gradient)
    return arrays


def unpack(plan: Plan, arrays: dict[str, np.ndarray]) -> Evidence:
    """The evidence of `pack`. Raises ValueError if it does not fit the plan."""
    evidence: Evidence = {}
    for group in plan.groups:
        copies: dict[int, Any] = {}
        for held in plan.held:
            if group.algorithm.evidence == "losses":
                copies[held.start] = arrays[f"losses/{group.index}/{held.start}"]
                continue
            stages = [plan.stages[s] for s in range(group.first, group.last + 1) if plan.stages[s].trained]
            prefix, several = f"gradients/{group.index}/{held.start}", (len(held),) if plan.stacked else ()
            copies[held.start] = {
                (s.index, t): trees.fill(f"{prefix}/{s.index}/{t}", _stacked(several, shapes(model)), arrays)
                for s in stages
                for t, model in enumerate(s.tiles)
            }
        evidence[group.index] = copies
    return evidence


def _stacked(several: tuple[int, ...], shapes: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*several, *leaf.shape), leaf.dtype), shapes)


def mean_loss(plan: Plan, evidence: Evidence) -> float | None:
    """Mean loss of the measured rows, if the readout gave losses."""
    losses = [v for g in plan.groups if g.algorithm.evidence == "losses" for v in evidence[g.index].values()]
    return float(np.mean(np.concatenate([v.reshape(-1) for v in losses]))) if losses else None


def reduce_losses(plan: Plan, done: Iterable[Work], means: dict[int, np.ndarray], passes: int) -> dict[int, Any]:
    """Mean loss of each row, float32 [P], by copy; each row is of one item, so their order is immaterial."""
    several = [(len(held),) if plan.stacked else () for held in plan.held]
    out = {h.start: np.full((*n, passes), np.nan, np.float32) for h, n in zip(plan.held, several, strict=True)}
    for work in done:
        out[plan.copy_of(work.item.replica)][..., list(work.item.rows)] = means[work.item.number]
    return out


def reduce_gradients(plan: Plan, done: Iterable[Work], gradients: dict[int, Tree]) -> dict[int, Any]:
    """Mean gradient by copy and tile: summed in the order of `done` in float64, then float32."""
    total: dict[int, Tree] = {}
    count: dict[int, int] = {}
    for work in done:
        copy, samples = plan.copy_of(work.item.replica), work.item.hi - work.item.lo
        mine = jax.tree.map(lambda g: np.asarray(g, np.float64), gradients[work.item.number])
        if work.parts and not plan.stacked:  # the chips of a bank hold one copy
            mine, samples = jax.tree.map(lambda g: np.sum(g, axis=0), mine), samples * len(work.parts)
        total[copy] = mine if copy not in total else jax.tree.map(np.add, total[copy], mine)
        count[copy] = count.get(copy, 0) + samples
    return {c: jax.tree.map(lambda g, n=count[c]: (g / n).astype(np.float32), t) for c, t in total.items()}


def loss_mean(losses: np.ndarray) -> np.ndarray:
    """Mean over the samples of each row: [rows, batch] -> float32 [rows]; a row is never divided among workers."""
    return np.asarray(losses).mean(axis=1, dtype=np.float64).astype(np.float32)


def tiles(plan: Plan) -> dict[Name, Tile]:
    """Fresh tiles of a run by (first copy, stage, tile)."""
    return tile.tiles(plan, ((s.index, t) for s in plan.stages for t in range(len(s.tiles))))


def parameters(mine: dict[Name, Tile]) -> dict[Name, Tree]:
    """Their parameters by (copy, stage, tile)."""
    return {name: params for one in mine.values() for name, params in one.named().items()}


def parameters_sha256(params: dict[Name, Tree]) -> str:
    """One hash of all parameters, in the order of (copy, stage, tile)."""
    digest = hashlib.sha256()
    for name in sorted(params):
        digest.update(repr(name).encode())
        for leaf in jax.tree.leaves(params[name]):
            digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()

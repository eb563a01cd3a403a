"""A tile: parameters, method state and optimiser state of a stage or a slice of it, and the commit that changes them.

`commit_record` is the only place where parameters change; live training and replay call the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from orchestrator.core import commit, keys, spans, trees
from orchestrator.core.plan import Plan
from orchestrator.journal import crash

if TYPE_CHECKING:
    from orchestrator.core.records import Record

Tree = Any
BASE = range(-1, 0)  # in place of copies: what all of them share


class Tile:
    """The state of (copy, stage, tile). `step` counts commits; `changed` is the commit that last moved the device.

    Of a bank it holds several copies, each array with a leading axis for them; `changed` is int64 [copies] then.
    With a base it is the base and a trim: `params` is their sum, and what it learns changes the trim.
    """

    def __init__(self, plan: Plan, copies: range, stage: int, tile: int, base: Tile | None = None) -> None:
        spec = plan.stages[stage]
        self.model = spec.tiles[tile]
        self.group = plan.groups[spec.group]
        self.trained = spec.trained
        self.step = 0
        self.changed: Any = np.zeros(len(copies), np.int64) if plan.stacked else 0
        self._stacked = plan.stacked
        self._copies = copies
        self._names = (stage, tile)
        self._perturb_key = keys.derive(plan.seed, keys.PERTURB, stage, tile)
        init_key = keys.derive(plan.seed, keys.INIT, stage, tile)
        self.params = commit.first(self.model, self.group.margin if self.trained else 0.0, init_key)
        how = self.group.algorithm, self.group.optimiser, self.model, self.group.margin
        self._maker = commit.Maker(*how, stacked=plan.stacked)
        self._base, self._trim = base, None
        if base is not None:
            slower = replace(self.group.optimiser, rate=self.group.optimiser.rate * plan.run.fleet.trim_rate)
            self._maker = commit.Maker(self.group.algorithm, slower, None, 0.0)
            self._trim = jax.tree.map(np.zeros_like, self.params)
        self._samples = Counter[int]()  # that each copy contributes to a mean gradient
        for item in plan.items[self.group.index] if copies == BASE else ():
            self._samples[plan.copy_of(item.replica)] += item.hi - item.lo
        self._key: Any = None  # of this step, if it is known
        self._carry: Tree = ()
        if self.trained:
            state_key = keys.derive(plan.seed, keys.STATE, stage, tile)
            self._carry = commit.start(self._maker, state_key, self.params, plan.place(stage, tile))
        if self._stacked:
            self.params, self._carry = (_repeated(len(copies), tree) for tree in (self.params, self._carry))

    @property
    def context(self) -> Tree:
        """What `perturb` is given: the key of this step, the method's state, the parameters."""
        if self._key is None:
            self._key = _step_key(self._perturb_key, np.int32(self.step))
        return self._key, self._carry[0], self.params

    @property
    def copy(self) -> int:
        """The first copy that is held."""
        return self._copies.start

    def state(self) -> dict[str, np.ndarray]:
        """All that commits change, as flat arrays: parameters, method and optimiser state, the two counters."""
        counters = np.append(np.int64(self.step), self.changed)
        trim = {} if self._trim is None else trees.flatten("trim", self._trim)
        return {
            **trees.flatten("params", self.params),
            **trees.flatten("carry", self._carry),
            **trim,
            "counters": counters,
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Stand where the tile of `state` stood. Raises ValueError if the arrays do not fit."""
        self.params = trees.fill("params", self.params, arrays)
        self._carry = trees.fill("carry", self._carry, arrays)
        self._trim = None if self._trim is None else trees.fill("trim", self._trim, arrays)
        self._key = None
        step, *changed = arrays["counters"].tolist()
        self.step, self.changed = step, np.array(changed, np.int64) if self._stacked else changed[0]

    def named(self) -> dict[tuple[int, int, int], Tree]:
        """The parameters of each copy by (copy, stage, tile), as numpy arrays."""
        if self._copies == BASE:
            return {}
        whole = jax.tree.map(np.asarray, self.params)
        if not self._stacked:
            return {(self._copies.start, *self._names): whole}
        each = enumerate(self._copies)
        return {(copy, *self._names): jax.tree.map(lambda leaf, i=i: leaf[i], whole) for i, copy in each}

    def due(self, record: Record) -> commit.Due | None:
        """What a record changes here: nothing if it was applied before, or is not about this tile."""
        if record.step < self.step:
            return None
        if record.step > self.step:
            raise RuntimeError(f"record {record.step} follows {self.step - 1}: a record is missing")
        self.step, self._key = self.step + 1, None
        told = record.evidence.get(self.group.index, {})
        if self._copies != BASE:
            told = {copy: mine for copy, mine in told.items() if copy == self._copies.start}
        if not self.trained or not told:
            return None
        by_losses = self.group.algorithm.evidence == "losses"
        mine = _losses(told) if by_losses else _gradient(told, self._names, self._samples)
        learnt = self.params if self._trim is None else self._trim
        return commit.Due(self._maker, self._perturb_key, self._carry, learnt, mine)

    def take(self, done: commit.Done) -> None:
        """Be what came of it."""
        self.params, self._carry, self._key, moved = done.params, done.carry, done.next_key, done.moved
        if self._base is not None:  # which was changed before
            self._trim = done.params
            self.params = commit.trimmed(self.model, self.group.margin, self._base.params, self._trim)
            moved = np.logical_or(moved, self._base.changed == self.step)
        if self.params["device"]:  # digital parameters are not waited for
            changed = np.where(moved, self.step, self.changed)
            self.changed = changed if self._stacked else int(changed)


def _losses(told: dict[int, np.ndarray]) -> np.ndarray:
    """The loss of each row, float32 [P], by whichever copy measured it."""
    first, *others = (np.asarray(losses, np.float32) for losses in told.values())  # older journals hold float64
    for losses in others:
        first = np.where(np.isnan(first), losses, first)
    return first


def _gradient(told: dict[int, dict], names: tuple[int, int], samples: Counter[int]) -> Tree:
    """The mean gradient of a tile over all copies: summed in their order in float64, then float32."""
    if len(told) == 1:
        return next(iter(told.values()))[names]
    total: Tree = None
    for copy in sorted(told):
        mine = jax.tree.map(lambda g, n=samples[copy]: np.asarray(g, np.float64) * n, told[copy][names])
        total = mine if total is None else jax.tree.map(np.add, total, mine)
    return jax.tree.map(lambda g: (g / samples.total()).astype(np.float32), total)


def commit_record(tiles: Iterable[Tile], record: Record) -> None:
    """Apply a record to tiles, once; those of one copy together. Raises RuntimeError if one before it is missing."""
    tiles = list(tiles)
    for copy in dict.fromkeys(tile.copy for tile in tiles):
        due = [(tile, what) for tile in tiles if tile.copy == copy and (what := tile.due(record)) is not None]
        for (tile, _), done in zip(due, commit.commit(record.step, [what for _, what in due]), strict=True):
            tile.take(done)
            spans.ready(tile.params)
            crash.reach("commit.half")


def tiles(plan: Plan, hosted: Iterable[tuple[int, int]]) -> dict[tuple[int, int, int], Tile]:
    """Fresh tiles of some (stage, tile)s of a run, by (first copy, stage, tile)."""
    hosted = list(hosted)
    bases = {(BASE.start, s, t): Tile(plan, BASE, s, t) for s, t in hosted} if plan.trims else {}
    copies = {
        (copies.start, s, t): Tile(plan, copies, s, t, bases.get((BASE.start, s, t)))
        for copies in plan.held
        for s, t in hosted
    }
    return {**bases, **copies}  # the bases first, for copies are committed in this order


@jax.jit
def _step_key(key: Any, step: Any) -> Any:
    return jax.random.fold_in(key, step)


@partial(jax.jit, static_argnums=0)
def _repeated(n: int, tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n, *leaf.shape)), tree)

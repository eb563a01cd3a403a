"""A tile: parameters, method state and optimiser state of a stage or a slice of it, and the commit that changes them.

`commit_record` is the only place where parameters change; live training and replay call the same one.
"""

from __future__ import annotations

from collections.abc import Iterable
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


class Tile:
    """The state of (copy, stage, tile). `step` counts commits; `changed` is the commit that last moved the device.

    Of a bank it holds several copies, each array with a leading axis for them; `changed` is int64 [copies] then.
    """

    def __init__(self, plan: Plan, copies: range, stage: int, tile: int) -> None:
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
        self._key: Any = None  # of this step, if it is known
        self._carry: Tree = ()
        if self.trained:
            state_key = keys.derive(plan.seed, keys.STATE, stage, tile)
            self._carry = commit.start(self._maker, state_key, self.params)
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
        return {**trees.flatten("params", self.params), **trees.flatten("carry", self._carry), "counters": counters}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Stand where the tile of `state` stood. Raises ValueError if the arrays do not fit."""
        self.params = trees.fill("params", self.params, arrays)
        self._carry = trees.fill("carry", self._carry, arrays)
        self._key = None
        step, *changed = arrays["counters"].tolist()
        self.step, self.changed = step, np.array(changed, np.int64) if self._stacked else changed[0]

    def named(self) -> dict[tuple[int, int, int], Tree]:
        """The parameters of each copy by (copy, stage, tile), as numpy arrays."""
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
        mine = record.evidence.get(self.group.index, {}).get(self._copies.start)
        if not self.trained or mine is None:
            return None
        if self.group.algorithm.evidence == "gradients":
            mine = mine[self._names]
        else:
            mine = np.asarray(mine, np.float32)  # older journals hold float64
        return commit.Due(self._maker, self._perturb_key, self._carry, self.params, mine)

    def take(self, done: commit.Done) -> None:
        """Be what came of it."""
        self.params, self._carry, self._key = done.params, done.carry, done.next_key
        if self.params["device"]:  # digital parameters are not waited for
            changed = np.where(done.moved, self.step, self.changed)
            self.changed = changed if self._stacked else int(changed)


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
    return {(copies.start, s, t): Tile(plan, copies, s, t) for copies in plan.held for s, t in hosted}


@jax.jit
def _step_key(key: Any, step: Any) -> Any:
    return jax.random.fold_in(key, step)


@partial(jax.jit, static_argnums=0)
def _repeated(n: int, tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n, *leaf.shape)), tree)

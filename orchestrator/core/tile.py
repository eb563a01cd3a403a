"""A tile: parameters, method state and optimiser state of a stage or a slice of it, and the commit that changes them.

`commit` is the only place where parameters change; live training and replay call the same one.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from orchestrator.core import commit, keys, trees
from orchestrator.core.plan import Plan

Tree = Any


class Tile:
    """The state of (copy, stage, tile). `step` counts commits; `changed` is the commit that last moved the device."""

    def __init__(self, plan: Plan, copy: int, stage: int, tile: int) -> None:
        spec = plan.stages[stage]
        self.model = spec.tiles[tile]
        self.group = plan.groups[spec.group]
        self.trained = spec.trained
        self.step = 0
        self.changed = 0
        self._copy = copy
        self._names = (stage, tile)
        self._perturb_key = keys.derive(plan.seed, keys.PERTURB, stage, tile)
        init_key = keys.derive(plan.seed, keys.INIT, stage, tile)
        self.params = commit.first(self.model, self.group.margin if self.trained else 0.0, init_key)
        self._maker = commit.Maker(self.group.algorithm, self.group.optimiser, self.model, self.group.margin)
        self._carry: Tree = ()
        if self.trained:
            state_key = keys.derive(plan.seed, keys.STATE, stage, tile)
            self._carry = commit.start(self._maker, state_key, self.params)

    @property
    def context(self) -> Tree:
        """What `perturb` is given: the key of this step, the method's state, the parameters."""
        return _step_key(self._perturb_key, np.int32(self.step)), self._carry[0], self.params

    def state(self) -> dict[str, np.ndarray]:
        """All that commits change, as flat arrays: parameters, method and optimiser state, the two counters."""
        counters = np.array([self.step, self.changed], np.int64)
        return {**trees.flatten("params", self.params), **trees.flatten("carry", self._carry), "counters": counters}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Stand where the tile of `state` stood. Raises ValueError if the arrays do not fit."""
        self.params = trees.fill("params", self.params, arrays)
        self._carry = trees.fill("carry", self._carry, arrays)
        self.step, self.changed = map(int, arrays["counters"])

    def commit(self, step: int, evidence: dict) -> dict[str, Any]:
        """Apply the record of `step`, once: a record that was applied before is ignored. Returns what to log."""
        if step < self.step:
            return {}
        if step > self.step:
            raise RuntimeError(f"record {step} follows {self.step - 1}: a record is missing")
        self.step += 1
        mine = evidence.get(self.group.index, {}).get(self._copy)
        if not self.trained or mine is None:
            return {}
        if self.group.algorithm.evidence == "gradients":
            mine = mine[self._names]
        else:
            mine = np.asarray(mine, np.float32)  # older journals hold float64
        found = commit.commit(self._maker, self._perturb_key, step, self._carry, self.params, mine)
        self.params, self._carry, moved, info = found
        if self.params["device"] and bool(moved):  # digital parameters are not waited for
            self.changed = self.step
        return info


@jax.jit
def _step_key(key: Any, step: Any) -> Any:
    return jax.random.fold_in(key, step)

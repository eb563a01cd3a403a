"""A tile: parameters, method state and optimiser state of a stage or a slice of it, and the commit that changes them.

`commit` is the only place where parameters change; live training and replay call the same one.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from algorithms.contracts import Algorithm, Update
from orchestrator.core import keys, trees
from orchestrator.core.optimiser import Optimiser
from orchestrator.core.plan import Plan
from physics.contracts import Model

Tree = Any

# Whether x * y + z is rounded once or twice depends on what the compiler fuses, so on its version and flags, and on the
# processor. A journal must replay to the same bits for ever: what turns a gradient into parameters is compiled unfused.
_unfused = partial(jax.jit, compiler_options={"xla_disable_hlo_passes": "fusion"})


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
        self.params = _init(self.model, self.group.margin if self.trained else 0.0, init_key)
        self._carry: Tree = ()
        if self.trained:
            state_key = keys.derive(plan.seed, keys.STATE, stage, tile)
            self._carry = _start(self.group.algorithm, self.group.optimiser, state_key, self.params)

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

    def commit(self, step: int, evidence: dict) -> dict[str, float]:
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
            mine = np.asarray(mine, np.float32)
        update = _update(self.group.algorithm, self._perturb_key, np.int32(step), self._carry[0], self.params, mine)
        opt, model, margin = self.group.optimiser, self.model, self.group.margin
        params, carry, move = _apply(opt, model, margin, self._carry, self.params, *update[:3])
        self._carry = carry
        if not bool(move):
            return {}
        self.params = params
        if self.params["device"]:
            self.changed = self.step
        return {k: float(v) for k, v in update.info.items()}


@partial(_unfused, static_argnums=(0, 1))
def _init(model: Model, margin: float, key: Any) -> Tree:
    params = model.init(key)
    return {**params, "device": _within(model, margin, params["device"])}


def _within(model: Model, margin: float, device: Tree) -> Tree:
    """As close as legal, and far enough from the limits that a perturbed write is legal too."""
    ports = model.ports.params
    return {name: jnp.clip(p, ports[name].low + margin, ports[name].high - margin) for name, p in device.items()}


@partial(_unfused, static_argnums=(0, 1))
def _start(algorithm: Algorithm, optimiser: Optimiser, key: Any, params: Tree) -> Tree:
    return algorithm.init(key, params), optimiser.build().init(params)


@jax.jit
def _step_key(key: Any, step: Any) -> Any:
    return jax.random.fold_in(key, step)


@partial(jax.jit, static_argnums=0)
def _update(algorithm: Algorithm, key: Any, step: Any, state: Tree, params: Tree, evidence: Tree) -> Update:
    """Evidence -> gradient. Products with directions of +-1 are exact, so fusing them changes no bit."""
    return algorithm.update(jax.random.fold_in(key, step), step, state, params, evidence)


@partial(_unfused, static_argnums=(0, 1, 2))
def _apply(
    optimiser: Optimiser,
    model: Model,
    margin: float,
    carry: Tree,
    params: Tree,
    gradient: Tree,
    new_state: Tree,
    wanted: Any,
) -> tuple[Tree, Tree, Any]:
    """Gradient -> change -> legal parameters. A step without one finite loss moves nothing."""
    state, opt_state = carry
    finite = jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient)])
    whole = jnp.all(finite)
    move = jnp.logical_and(wanted, whole)
    changes, moved_opt = optimiser.build().update(gradient, opt_state, params)
    moved = jax.tree.map(jnp.add, params, changes)
    moved = {"device": _within(model, margin, moved["device"]), "digital": moved["digital"]}

    def keep(yes: Any, new: Tree, old: Tree) -> Tree:
        return jax.tree.map(lambda n, o: jnp.where(yes, n, o), new, old)

    # the state of the method advances even when the parameters wait (a method may collect over several steps)
    carried = keep(whole, new_state, state), keep(move, moved_opt, opt_state)
    return keep(move, moved, params), carried, move

"""What the rows of a step write to devices whose process has no JAX: made here, many rows in one compiled call."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

from algorithms.contracts import Perturbation
from orchestrator.core.plan import Plan
from orchestrator.core.tile import Tile
from orchestrator.core.work import Work
from physics.drivers.shared import Memory
from physics.simulated import perturbed

ENTRIES = 1 << 22  # that are made at once, about
Rows = tuple[int, ...]


class Writes:
    """What is made is kept until the next call. The items of a step that are done here are the same in every step."""

    def __init__(self, plan: Plan, memory: Memory | None) -> None:
        self._plan, self._memory = plan, memory
        self._order: dict[int, dict[Rows, list[Rows]]] = {}  # group -> rows of an item -> of those made with it
        self._made: dict[tuple, dict[str, np.ndarray]] = {}

    def begin(self, work: list[Work], trains: bool) -> None:
        """A new step, or (not `trains`) an evaluation, which perturbs nothing."""
        self._made.clear()
        if self._memory:
            self._memory.clear()
        for group in () if self._order or not trains else self._plan.groups:
            rows = list(dict.fromkeys(w.item.rows for w in work if w.group is group))
            size = max([_size(m) for s in self._plan.stages if s.hosted for m in s.tiles], default=1)
            several = max(ENTRIES // max(size * max(map(len, rows), default=1), 1), 1)
            bunches = [rows[lo : lo + several] for lo in range(0, len(rows), several)]
            self._order[group.index] = {r: bunch for bunch in bunches for r in bunch}

    def of(self, work: Work, tile: Tile, name: tuple[int, int], rows: Rows, moved: bool) -> dict[str, np.ndarray]:
        """Arrays [1 or rows, ...] by port, for one item in one (stage, tile); `moved`: each row is perturbed."""
        device = tile.params["device"]
        if not moved or not device:
            key: tuple = (work.item.replica, name)
            if key not in self._made:
                self._made[key] = {k: np.asarray(v)[None] for k, v in device.items()}
            return self._made[key]
        key = (work.name[0], self._plan.copy_of(work.item.replica), name, rows)
        if key not in self._made:
            bunch = self._order[work.group.index].get(rows, [rows])
            every = [r for some in bunch for r in some]
            probe = np.array([work.passes.probe[r] for r in every], np.int32)
            scale = np.array([work.passes.scale[r] for r in every], np.float32)
            method = Perturbation(work.group.algorithm)
            assert self._memory is not None
            found = _written(method, device, tile.context, probe, scale)
            made = {k: self._memory.put(np.asarray(v)) for k, v in found.items()}
            lo = 0
            for some in bunch:
                self._made[(*key[:3], some)] = {k: v[lo : lo + len(some)] for k, v in made.items()}
                lo += len(some)
        return self._made[key]


@partial(jax.jit, static_argnums=0)
def _written(direction: Any, device: Any, context: Any, probe: Any, scale: Any) -> Any:
    return jax.vmap(lambda p, s: perturbed(device, direction, context, p, s))(probe, scale)


def _size(model: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0))["device"]))

"""What the rows of a step write to devices whose process has no JAX: made here, many rows in one compiled call."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from algorithms.contracts import Perturbation
from orchestrator.core.plan import Group, Plan
from orchestrator.core.shapes import sides
from orchestrator.core.tile import Tile
from orchestrator.core.work import Work
from physics.directions import dense
from physics.drivers.shared import Memory

ENTRIES = 1 << 22  # that are made at once, about
Rows = tuple[int, ...]


class Bunch(NamedTuple):
    """Rows that are made in one call: probes [rows / sides], scale [rows]; where those of each item are."""

    method: Perturbation
    probes: np.ndarray
    scale: np.ndarray
    where: dict[Rows, slice]


class Writes:
    """What is made is kept until the next call. The items of a step that are done here are the same in every step."""

    def __init__(self, plan: Plan, memory: Memory | None) -> None:
        self._plan, self._memory = plan, memory
        self._bunches: dict[tuple[int, Rows], Bunch] = {}
        self._made: dict[tuple, dict[str, np.ndarray]] = {}

    def begin(self, work: list[Work], trains: bool) -> None:
        """A new step, or (not `trains`) an evaluation, which perturbs nothing."""
        self._made.clear()
        if self._memory:
            self._memory.clear()
        if trains and not self._bunches:
            size = max([_size(m) for s in self._plan.stages if s.hosted for m in s.tiles], default=1)
            for group in self._plan.groups:
                rows = list(dict.fromkeys(w.item.rows for w in work if w.group is group))
                several = max(ENTRIES // max(size * max(map(len, rows), default=1), 1), 1)
                for lo in range(0, len(rows), several):
                    bunch = _bunch(group, rows[lo : lo + several])
                    self._bunches |= {(group.index, some): bunch for some in bunch.where}

    def of(self, work: Work, tile: Tile, name: tuple[int, int], rows: Rows, moved: bool) -> dict[str, np.ndarray]:
        """Arrays [1 or rows, ...] by port, for one item in one (stage, tile); `moved`: each row is perturbed."""
        device = tile.params["device"]
        if not moved or not device:
            key: tuple = (work.item.replica, name)
            if key not in self._made:
                self._made[key] = {k: np.asarray(v)[None] for k, v in device.items()}
            return self._made[key]
        key = (work.group.index, self._plan.copy_of(work.item.replica), name, rows)
        if key not in self._made:
            assert self._memory is not None
            bunch = self._bunches[(work.group.index, rows)]
            found = _directions(bunch.method, tile.context, bunch.probes)
            made = {k: _along(self._memory, v, bunch.scale, np.asarray(found[k])) for k, v in device.items()}
            for some, where in bunch.where.items():
                self._made[(*key[:3], some)] = {k: v[where] for k, v in made.items()}
        return self._made[key]


def _bunch(group: Group, items: list[Rows]) -> Bunch:
    every = [row for rows in items for row in rows]
    probes = np.array([group.passes.probe[r] for r in every], np.int32)
    scale = np.array([group.passes.scale[r] for r in every], np.float32)
    ends = np.cumsum([len(rows) for rows in items])
    where = {rows: slice(end - len(rows), end) for rows, end in zip(items, ends.tolist(), strict=True)}
    return Bunch(Perturbation(group.algorithm), probes[:: sides(probes)], scale, where)


@partial(jax.jit, static_argnums=0)
def _directions(method: Any, context: Any, probes: Any) -> Any:
    """What each probe moves on the device, [probes, ...]."""

    def probe(p: Any) -> Any:
        return jax.tree.map(dense, method(context, p)["device"], is_leaf=lambda d: hasattr(d, "dense"))

    return jax.vmap(probe)(probes)


def _along(memory: Memory, value: Any, scale: np.ndarray, d: np.ndarray) -> np.ndarray:
    """value + scale[r] * d of its probe, [rows, ...], in memory; each probe has as many rows as the others."""
    rows = memory.new((len(d), len(scale) // len(d), *d.shape[1:]), np.float32)
    np.multiply(d[:, None], scale.reshape(len(d), -1, *[1] * (d.ndim - 1)), out=rows)
    rows += np.asarray(value)
    return rows.reshape(len(scale), *d.shape[1:])


def _size(model: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0))["device"]))

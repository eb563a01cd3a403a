"""How much memory a run needs at least, from shapes alone. Nothing is allocated here.

The estimate is for one worker that holds every stage of every replica, as with --local. It counts the arrays that must
exist at once, and leaves out what the compiler adds: a run that is refused cannot work, one that passes may still not.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from algorithms.contracts import Place
from orchestrator.core.commit import WHOLE
from orchestrator.core.plan import Group, Plan, StagePlan
from orchestrator.core.shapes import bundles, shapes
from physics.contracts import Model

PROCESS = 300 << 20  # a Python process with JAX
FLOAT = 4
KEY = jax.ShapeDtypeStruct((), np.uint32)


class Need(NamedTuple):
    """bytes for something, and the field of the run file that makes it large."""

    what: str
    bytes: int
    field: tuple[str | int, ...]


def needs(plan: Plan, data_bytes: int) -> list[Need]:
    """Everything that one worker holds."""
    found = [Need("a process", PROCESS, ()), Need("the data set", data_bytes, ("data", "train_samples"))]
    for stage in plan.stages:
        group, size = plan.groups[stage.group], ("network", stage.index, "size")
        found += [Need(what, n, size) for what, n in _held(plan, group, stage).items()]
        written = 0 if stage.exact else max(map(_written, stage.tiles))
        rows = _perturbed_rows(plan, group, stage)
        found.append(Need("what one device call writes", written, size))
        found.append(Need("the rows of one device call", (rows - 1) * written, ("train", "rows")))
    widths = [2 * stage.n_out for stage in plan.stages]  # measured and decoded
    batch = plan.run.train.batch
    if any(group.algorithm.replies for group in plan.groups):  # kept until the reply comes
        floats = sum(len(group.passes) for group in plan.groups) * plan.copies * batch * sum(widths)
    else:
        rows = max(max(map(len, bundles(group.passes.probe, plan.run.train.rows))) for group in plan.groups)
        floats = rows * batch * max(widths)
    step = Need("the activations of a step", floats * FLOAT, ("train", "batch"))
    floats = len(plan.predicts) * plan.run.train.evaluate_chunk * max(widths)
    evaluation = Need("the activations of an evaluation", floats * FLOAT, ("train", "evaluate_chunk"))
    return [*found, max(step, evaluation, key=lambda need: need.bytes)]  # the others are let go before


def _held(plan: Plan, group: Group, stage: StagePlan) -> dict[str, int]:
    """What lasts of one stage, of all its copies and chips, and what one commit adds."""
    tiles: tuple[Any, ...] = stage.tiles  # hashable, as jit needs them
    params = [_bytes(shapes(m)) for m in tiles]
    state = [_bytes(_state(group, m)) if stage.trained else 0 for m in tiles]
    found = {
        "parameters": plan.copies * sum(params),
        "the state of the optimiser": plan.copies * sum(state),
        "the chips": plan.replicas * sum(_bytes(_chip(m)) for m in tiles),
    }
    if stage.trained:
        small = [(p, s) for p, s in zip(params, state, strict=True) if p <= WHOLE * FLOAT]  # others: block by block
        found["a commit"] = max((2 * p + s for p, s in small), default=0)  # gradient, and all of it anew
        if group.algorithm.evidence == "gradients":  # one for each item, then their sum in float64
            items = plan.copies * -(-plan.run.train.batch // min(plan.run.train.chunk, plan.run.train.batch))
            found["gradients"] = (items + 2 * plan.copies) * sum(params)
    return found


def _perturbed_rows(plan: Plan, group: Group, stage: StagePlan) -> int:
    """Settings of the parameters that one device call holds at once."""
    if group.passes.perturbs != "params" or not stage.trained or stage.driven:
        return 1
    if group.algorithm.spread == "probes":
        return max(map(len, bundles(group.passes.probe, plan.run.train.rows)))
    return len(group.passes)


def _written(model: Any) -> int:
    """Parameters of one row, and what they leave in the cells: only `program` knows it, so as much as a chip."""
    return _bytes(shapes(model)) + _bytes(_chip(model))


@lru_cache(maxsize=256)
def _chip(model: Model) -> Any:
    return jax.eval_shape(lambda seed: model.fabricate(jax.random.key(seed)), KEY)


@lru_cache(maxsize=256)
def _state(group: Group, model: Model) -> Any:
    def start(seed: Any, params: Any) -> Any:
        return group.algorithm.init(jax.random.key(seed), params, Place(0, group.size)), group.optimiser.build().init(
            params
        )

    return jax.eval_shape(start, KEY, shapes(model))


def _bytes(tree: Any) -> int:
    """Of all arrays of a tree of shapes, in Python's whole numbers, which have no largest."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

"""Steps a second of whole training steps through the coordinator: batch, perturb, measure, reduce, update.

A round trains a fresh network for some steps and times all but the first; its first parameters and its batches follow
from the number of the round. The loss is that of the network that it ends with, on the first samples; it is not timed.
"""

from __future__ import annotations

import atexit
import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import jax.numpy as jnp

from orchestrator import Run
from orchestrator.bench.serve import Round
from orchestrator.core import kernels, task
from orchestrator.core.coordinator import Coordinator, Pool
from orchestrator.pools.in_process import InProcessPool
from physics import twin

EVALUATED = 2000  # samples that the loss is told for, as by the peers


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: those of `tree_of`; pool "local" or "ray", with `workers`; loss (default: true), whether it is told."""
    tree, workers = tree_of(options), options.get("workers", 1)
    pool = _ray(workers) if options.get("pool", "local") == "ray" else lambda run: InProcessPool(run, workers)
    told, seeds = options.get("loss", True), itertools.count()

    def train() -> dict[str, Any]:
        run = Run.build({**tree, "train": {**tree["train"], "seed": next(seeds)}})
        with closing(pool(run)) as workers:
            coordinator = Coordinator(run, workers)
            first = {"first_loss": loss(coordinator)} if told else {}
            answer = {"value": 1 / seconds_a_step(coordinator), **first}
            return answer | ({"loss": loss(coordinator)} if told else {})

    train()
    return {"layers": options["layers"], "pool": options.get("pool", "local"), "workers": workers}, train


def tree_of(options: dict[str, Any]) -> dict[str, Any]:
    """The tree of a run: dataset, layers (the inputs, then the outputs of each), activation, batch, method (a table),
    population (rows that a step measures), rows (of one device call; default: all, shared by the workers),
    generations (steps of a round, at least two).
    """
    batch = options["batch"]
    rows = options.get("rows", options["population"] // options.get("workers", 1))
    return {
        "data": {"name": options["dataset"]},
        "network": network(options["layers"][1:], options.get("activation", "relu")),
        "method": options["method"],
        "train": {"steps": options["generations"], "batch": batch, "chunk": batch, "rows": rows},
    }


def seconds_a_step(coordinator: Coordinator, first: int = 1) -> float:
    """Train for all steps of the run. A step begins with the update of the one before, so the first is not timed."""
    steps = coordinator.plan.run.train.steps
    for step in range(first):
        coordinator.step(step)
    began = time.perf_counter()
    for step in range(first, steps):
        coordinator.step(step)
    return (time.perf_counter() - began) / (steps - first)


def loss(coordinator: Coordinator) -> float:
    """Mean cross-entropy of the noise-free network on the first samples of the training part."""
    data, params = coordinator.data, coordinator.parameters()
    h, y = jnp.asarray(data.x_train[:EVALUATED]), data.y_train[:EVALUATED]
    for index, stage in enumerate(coordinator.plan.stages):
        stage_params = params[(0, index, 0)]
        v = twin.respond(stage.whole, stage_params["device"], h)
        h = kernels.decode(stage.whole, None, stage_params["digital"], v[None])[0]
    return float(jnp.mean(task.losses(h[None], y)))


def network(layers: Sequence[int], activation: str) -> list[dict[str, Any]]:
    """Digital stages with so many outputs each; the last one has no activation."""
    stages = [{"substrate": "digital", "size": size, "decode": activation} for size in layers]
    return [*stages[:-1], {**stages[-1], "decode": "none"}]


def _ray(workers: int) -> Callable[[Run], Pool]:
    """Pools on a cluster of our own, which ends with this process."""
    from orchestrator.pools.ray import Cluster

    cluster = Cluster().__enter__()
    atexit.register(cluster.__exit__)
    return lambda run: cluster.pool(run, workers)

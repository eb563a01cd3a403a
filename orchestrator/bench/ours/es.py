"""Steps a second of whole training steps through the coordinator: batch, perturb, measure, reduce, update.

A round trains a fresh network for some steps and times them; its first parameters and its batches follow from the
number of the round. The loss is that of the last step, the mean over all that the step measured.
"""

from __future__ import annotations

import atexit
import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from orchestrator import Run
from orchestrator.bench.serve import Round
from orchestrator.core.coordinator import Coordinator, Pool
from orchestrator.pools.in_process import InProcessPool


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: dataset, layers (outputs of each), activation, batch, method (a table), population (rows that a step
    measures), steps of a round; pool "local" or "ray", with `workers`, which share the rows.
    """
    workers = options.get("workers", 1)
    rows = options["population"] // workers
    tree = {
        "data": {"name": options["dataset"]},
        "network": network(options["layers"], options.get("activation", "relu")),
        "method": options["method"],
        "train": {"steps": options["steps"], "batch": options["batch"], "chunk": options["batch"], "rows": rows},
    }
    pool = _ray(workers) if options.get("pool", "local") == "ray" else lambda run: InProcessPool(run, workers)
    seeds = itertools.count()

    def train() -> dict[str, Any]:
        run = Run.build({**tree, "train": {**tree["train"], "seed": next(seeds)}})
        with closing(pool(run)) as workers:
            coordinator = Coordinator(run, workers)
            began = time.perf_counter()
            losses = [coordinator.step(step) for step in range(options["steps"])]
            coordinator.finish()  # the last update is part of the last step
            seconds = time.perf_counter() - began
        return {"value": options["steps"] / seconds, "loss": losses[-1], "first_loss": losses[0]}

    train()
    run = Run.build(tree)
    return {"parameters": _parameters(run), "pool": options.get("pool", "local"), "workers": workers}, train


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


def _parameters(run: Run) -> int:
    from orchestrator.core import task
    from orchestrator.core.plan import build

    data = task.dataset(run.data)
    return sum(build(run, data.x_train.shape[1], data.n_classes).parameters())

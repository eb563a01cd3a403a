"""Updates a second of one layer from the losses of K probes, through `commit_record`, where all parameters change."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import numpy as np

from orchestrator import Run
from orchestrator.bench.ours.repeat import rate
from orchestrator.bench.serve import Round
from orchestrator.core import task
from orchestrator.core.plan import build
from orchestrator.core.records import Record
from orchestrator.core.tile import Tile, commit_record


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: width (inputs and outputs of the layer), method (a table), seconds of a round."""
    width = options["width"]
    layer = {"substrate": "digital", "size": width, "decode": "relu"}
    run = Run.build({"network": [layer, layer, {"substrate": "digital", "size": 10}], "method": options["method"]})
    data = task.dataset(run.data)
    plan = build(run, data.x_train.shape[1], data.n_classes)
    tile = Tile(plan, range(1), 1, 0)
    passes = len(plan.groups[0].passes)
    losses = 2.3 + 0.01 * np.random.default_rng(0).standard_normal(passes)
    steps = itertools.count()

    def commit() -> None:
        commit_record([tile], Record(next(steps), {0: {0: losses}}))
        jax.block_until_ready(tile.params)

    return {"parameters": width * width + width, "rows": passes}, rate(commit, options["seconds"])

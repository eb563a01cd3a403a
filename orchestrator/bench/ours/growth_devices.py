"""How the time of a step grows with the number of instruments that sleep: the slope of log time against log number.

Each instrument makes as many measurements in a step, so twice as many of them do twice as much, and need as long if
they work side by side. Workers are Ray actors, as many as instruments, but no more than `workers`.
"""

from __future__ import annotations

import atexit
from typing import Any

import numpy as np

from orchestrator import Run
from orchestrator.bench.ours.device import tree_of
from orchestrator.bench.ours.es import seconds_a_step
from orchestrator.bench.serve import Round
from orchestrator.core.coordinator import Coordinator

STEPS = 5  # that are timed at each size


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: values (numbers of instruments), ms, probes (measurements of each in a step), workers."""
    from orchestrator.pools.ray import Cluster

    cluster = Cluster().__enter__()
    atexit.register(cluster.__exit__)
    values = [int(value) for value in options["values"]]

    def seconds(devices: int) -> float:
        tree = tree_of(devices=devices, ms=options["ms"], probes=options["probes"], stages=1, seconds=0.0)
        run = Run.build({**tree, "train": {**tree["train"], "steps": STEPS + 3}})
        pool = cluster.pool(run, min(devices, options["workers"]))
        try:
            return seconds_a_step(Coordinator(run, pool), 3)
        finally:
            pool.close()

    def measure() -> dict[str, Any]:
        found = [seconds(devices) for devices in values]
        return {"value": float(np.polyfit(np.log(values), np.log(found), 1)[0]), "seconds": found}

    return {"values": values, "steps": STEPS}, measure

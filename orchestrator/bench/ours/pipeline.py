"""Measurements a second of stages that sleep, each on a device of a Ray actor of its own.

overlap: each probe (its + and its - row) is an item, and items follow each other through the actors. Without: all rows
are one item, so a stage begins when the one below has measured all of them. Bytes of the losses do not depend on it.
"""

from __future__ import annotations

import atexit
from typing import Any

from orchestrator import Run
from orchestrator.bench.ours.device import rounds, tree_of
from orchestrator.bench.serve import Round
from orchestrator.core.coordinator import Coordinator


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: stages, ms, probes (of SPSA: two measurements of each stage), seconds (of a round, about), overlap."""
    from orchestrator.pools.ray import Cluster

    cluster = Cluster().__enter__()
    atexit.register(cluster.__exit__)
    stages, ms, rows = options["stages"], options["ms"], 2 * options["probes"]
    about = {"devices": stages, "stages": stages, "seconds": options["seconds"]}
    run = Run.build(tree_of(ms=ms, probes=rows, rows=2 if options["overlap"] else rows, placement="stages", **about))
    coordinator = Coordinator(run, cluster.pool(run, stages))
    for step in range(3):
        coordinator.step(step)
    return {"rows": rows}, rounds(coordinator, options["seconds"])

"""Passes of chips a second in whole training steps of a fleet of small crossbars, each chip in two settings a step.

A pass is one sample through one chip. A round goes on for so many seconds, at least one step.
"""

from __future__ import annotations

import time
from typing import Any

from orchestrator import Run
from orchestrator.bench.serve import Round
from orchestrator.core.coordinator import Coordinator
from orchestrator.pools.in_process import InProcessPool

WARM = 2  # steps that compile everything


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: chips, layers, batch, seconds, share ("own": a probe a step; "tied": one for each chip)."""
    chips, share = options["chips"], options["share"]
    probes = 1 if share == "own" else chips
    *hidden, last = options["layers"][1:]
    run = Run.build(
        {
            "data": {"name": "digits"},
            "network": [
                *({"substrate": "crossbar", "size": size, "decode": "tanh"} for size in hidden),
                {"substrate": "crossbar", "size": last, "encode": "clip"},
            ],
            "fleet": {"replicas": chips, "share": share, "mismatch": 0.1, **options.get("fleet", {})},
            "method": {"name": "spsa", "probes": probes, "optimizer": "sgd", "rate": 1e-3},
            "train": {"steps": 10**6, "batch": options["batch"], "rows": 2},
        }
    )
    coordinator = Coordinator(run, InProcessPool(run))
    for step in range(WARM):
        coordinator.step(step)

    def measure() -> dict[str, Any]:
        step = coordinator.told.steps
        passes, began = coordinator.told.ledger.total().passes, time.perf_counter()
        while True:
            coordinator.step(step)
            step += 1
            took = time.perf_counter() - began
            if took >= options["seconds"]:
                return {"value": float(coordinator.told.ledger.total().passes - passes) / took}

    return {"chips": chips, "share": share, "banked": coordinator.plan.banked, "batch": options["batch"]}, measure

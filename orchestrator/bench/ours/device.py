"""Measurements a second of whole training steps on instruments that sleep, at the end of each step an update.

`devices` instruments beside each other hold tied replicas of one stage, 64 - 10, and share the probes of SPSA; or
(stages > 1) each is a stage of one network, through which the rows of the probes follow each other. A device makes
`probes` measurements a step, half of them + and half -, of `ms` each, with other parameters each time. One worker in
this process, the instruments in a process of its host.
"""

from __future__ import annotations

import atexit
import math
import time
from typing import Any

from orchestrator import Run
from orchestrator.bench.serve import Round
from orchestrator.core.coordinator import Coordinator
from orchestrator.pools.in_process import InProcessPool

DEVICES = ("devices", "ms", "probes", "stages", "seconds")  # what their tree is made of
SIZE, CLASSES = 16, 10  # outputs of a stage in between, and of the last


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: devices, ms, probes, stages (1: devices beside each other), seconds (of a round, about)."""
    run = Run.build(tree_of(**{k: options[k] for k in DEVICES}))
    pool = InProcessPool(run)
    atexit.register(pool.close)
    coordinator = Coordinator(run, pool)
    for step in range(3):
        coordinator.step(step)
    return {"parameters": sum(coordinator.plan.parameters())}, rounds(coordinator, options["seconds"])


def rounds(coordinator: Coordinator, seconds: float) -> Round:
    """A round of steps, at least two, that go on from where the last round ended; it lasts about so many seconds."""
    plan, at = coordinator.plan, iter(range(3, 2**31))
    measurements = len(plan.groups[0].passes) * len(plan.stages)
    began = time.perf_counter()
    coordinator.step(next(at))
    steps = max(2, math.ceil(seconds / (time.perf_counter() - began)))

    def measure() -> dict[str, Any]:
        began = time.perf_counter()
        for _ in range(steps):
            coordinator.step(next(at))
        s = (time.perf_counter() - began) / steps
        return {"value": measurements / s, "seconds_a_step": s}

    return measure


def tree_of(
    devices: int,
    ms: float,
    probes: int,
    stages: int,
    seconds: float,
    rows: int | None = None,
    placement: str = "clones",
) -> dict[str, Any]:
    """The tree of a run; rows: of an item (default: all measurements of a device in a step)."""
    driver = {"name": "timed", "measure_s": ms / 1e3}
    common = {"substrate": "crossbar", "device": "driven", "driver": driver, "gain": 0.25}
    sizes = [SIZE] * (stages - 1) + [CLASSES]
    replicas = devices if stages == 1 else 1
    return {
        "data": {"name": "digits"},
        "network": [{**common, "size": size, "encode": "clip" if i else "none"} for i, size in enumerate(sizes)],
        "fleet": {"replicas": replicas, "share": "tied"},
        "method": {"name": "spsa", "probes": replicas * probes // 2, "optimizer": "sgd", "rate": 1e-3},
        "train": {"steps": 10**6, "batch": 1, "chunk": 1, "rows": rows or probes, "placement": placement},
    }

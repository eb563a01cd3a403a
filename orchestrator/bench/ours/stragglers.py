"""Measurements a second that count, of training steps on instruments of which some are much slower than the others.

As with `device`, `devices` instruments that sleep hold tied replicas of one stage, 64 - 10; a step are `probes` of
SPSA, each of two measurements with other parameters. The first `slow` of them take `factor` times as long. What is
measured twice (`fastest`) counts once. One worker in this process, the instruments in a process of its host.
"""

from __future__ import annotations

import atexit
from typing import Any

from orchestrator import Run
from orchestrator.bench.ours.device import DEVICES, rounds, tree_of
from orchestrator.bench.serve import Round
from orchestrator.core.coordinator import Coordinator
from orchestrator.pools.in_process import InProcessPool

ROWS = 4  # that a device takes at once: two probes


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: devices, slow, factor, ms, probes (of a step), mode, seconds (of a round, about)."""
    about = {k: options[k] for k in DEVICES if k != "stages"}
    tree = tree_of(**about, stages=1, rows=ROWS)
    (stage,) = tree["network"]
    measure_s = options["ms"] / 1e3 * options["factor"]
    stage["driver"]["chips"] = [{"replica": i, "measure_s": measure_s} for i in range(options["slow"])]
    tree["method"]["probes"] = options["probes"]
    tree["train"]["mode"] = options["mode"]
    run = Run.build(tree)
    pool = InProcessPool(run)
    atexit.register(pool.close)
    coordinator = Coordinator(run, pool)
    for step in range(3):
        coordinator.step(step)
    return {"rows": ROWS}, rounds(coordinator, options["seconds"])

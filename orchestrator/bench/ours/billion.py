"""Ten steps of a network of a billion parameters, in process: time, peak memory, bytes to and from the worker, loss.

One round trains a fresh network. Memory is the peak of this process since it began, with the first parameters in it.
"""

from __future__ import annotations

import gc
import resource
import time
from contextlib import closing
from typing import Any

from orchestrator import Run
from orchestrator.bench.ours.es import loss, network
from orchestrator.bench.serve import Round
from orchestrator.core.coordinator import Coordinator
from orchestrator.machine import available_bytes
from orchestrator.pools.in_process import InProcessPool

FLOAT = 4
RATE = 1e-3  # small: the loss of a random network is steep along matrices of rank 1
ALLOWED = 1.6  # of the bytes of the parameters: what must be free before anything is allocated


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: layers, probes, batch, steps."""
    layers, probes, batch, steps = (options[k] for k in ("layers", "probes", "batch", "steps"))
    method = {"name": "low-rank-es", "probes": probes, "scale": 0.001, "shaping": "none"}
    run = Run.build(
        {
            "network": network(layers[1:], "relu"),
            "method": {**method, "optimizer": "sgd", "rate": RATE},
            "train": {"steps": steps + 1, "batch": batch, "chunk": batch, "rows": 2 * probes, "evaluate_samples": 64},
        }
    )
    parameters = sum(a * b + b for a, b in zip(layers, layers[1:], strict=False))
    need, there = ALLOWED * FLOAT * parameters, available_bytes()
    if there is not None and need > there:
        raise SystemExit(f"1e9 needs about {need / 2**30:.1f} GiB of free memory, there are {there / 2**30:.1f} GiB.")

    def train() -> dict[str, Any]:
        with closing(InProcessPool(run)) as pool:
            coordinator = Coordinator(run, pool)
            before = loss(coordinator)
            coordinator.step(0)  # compiles
            sent, began = pool.wire_bytes, time.perf_counter()
            for step in range(1, steps + 1):
                coordinator.step(step)
            seconds = (time.perf_counter() - began) / steps
            payload = (pool.wire_bytes - sent) / steps / 2  # each way
            after = loss(coordinator)
        del coordinator, pool
        gc.collect()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {
            "value": seconds,
            "memory": peak / (FLOAT * parameters),
            "payload": payload,
            "excess": max(payload - 64 - 8 * probes, 0),
            "envelope": 0,  # no Ray here
            "batch": 0,  # workers draw it themselves
            "fall": before - after,
        }

    return {"parameters": parameters}, train

"""Plain Ray 2.60.0 (Apache-2.0), one actor call for each probe and device: the share of a bare loop's rate it reaches.

`devices` devices take sleep_s a probe, `probes` probes each a step. A device measures one probe at a time. By Ray: each
device is an actor of no CPUs, a step submits all its calls at once, `probes` to each actor, gathers all results by one
ray.get, and the next step begins after it, as for a method that updates between steps. Nothing else is done: no JAX, no
parameters (option `floats`: so many float32 go with each call, inline, as Ray does by itself below 100 kB).

The bare loop is the same sleep in a plain loop of one process; a device can do no more. Rate of it x devices = 100 %.

A fair use: calls are submitted ahead, so that a device never waits for the next one within a step; the results of a
step are awaited together; no restarts, no retries (the default); no dashboard; on loopback. `processes` (default: one a
device) puts several devices into one actor with as many threads as it holds devices, for more devices than a machine
can hold processes; each device has a lock.

value: probes/s of all devices. share: of `bare`, the rate of the bare loop times devices, measured in the same round.
"""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from typing import Any

import cluster
import numpy as np
import side

DEFAULTS = {
    "devices": 2,
    "sleep_s": 0.001,
    "probes": 64,  # a device and step
    "steps": 20,  # a round
    "processes": None,  # as many as devices
    "floats": 0,
}


class Devices:
    def __init__(self, count: int, sleep_s: float) -> None:
        self.locks = [threading.Lock() for _ in range(count)]
        self.sleep_s = sleep_s

    def probe(self, device: int, number: int, values: np.ndarray | None = None) -> float:
        with self.locks[device]:
            time.sleep(self.sleep_s)
            return float(number)


def bare(sleep_s: float, probes: int) -> float:
    """Probes/s of one device in a plain loop."""
    device = Devices(1, sleep_s)
    began = time.perf_counter()
    for number in range(probes):
        device.probe(0, number)
    return probes / (time.perf_counter() - began)


def setup(o: dict[str, Any]) -> tuple[dict[str, Any], side.Round]:
    import ray

    processes = o["processes"] or o["devices"]
    each = [len(part) for part in np.array_split(np.arange(o["devices"]), processes)]
    kind = ray.remote(Devices)
    actors = [kind.options(num_cpus=0, max_concurrency=n).remote(n, o["sleep_s"]) for n in each]
    places = [(actor, n) for actor, count in zip(actors, each, strict=True) for n in range(count)]
    given = [np.zeros(o["floats"], np.float32)] if o["floats"] else []

    def step() -> None:
        calls = [actor.probe.remote(n, k, *given) for k in range(o["probes"]) for actor, n in places]
        ray.get(calls)

    def run() -> dict[str, Any]:
        alone = bare(o["sleep_s"], max(o["probes"], int(0.5 / o["sleep_s"])) if o["sleep_s"] else o["probes"])
        began = time.perf_counter()
        for _ in range(o["steps"]):
            step()
        value = o["steps"] * o["probes"] * o["devices"] / (time.perf_counter() - began)
        whole = alone * o["devices"]
        return {"value": value, "bare": whole, "share": value / whole}

    rates = side.steady(lambda: run()["value"])
    return {"processes": processes, "devices_each": each, "warm_rates": rates}, run


def here(o: dict[str, Any]) -> AbstractContextManager[None]:
    return cluster.ray(side.threads(), 1)


if __name__ == "__main__":
    side.serve(setup, DEFAULTS, ("ray", "numpy"), around=here)

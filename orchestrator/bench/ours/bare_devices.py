"""Measurements a second of instruments that sleep, each in a bare loop: a write and a measurement, over and over.

The same drivers as with `device`, in one process without JAX, a thread for each. Beside each other (stages = 1) no
device waits for anything. As stages of one network each takes what the one below measured, through a queue; then
`probes` rows are a step, and the next step begins when the last row has left the last stage, as training must.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from queue import SimpleQueue
from typing import Any

import numpy as np

from orchestrator.bench.serve import Round
from physics.contracts import Fitting, Port, Ports
from physics.drivers.timed import Timed

INPUTS, SIZE, CLASSES = 64, 16, 10  # as with `device`
PORTS = Ports({"w": Port("1", -1.0, 1.0)}, Port("1", -1.0, 1.0), Port("1", -12.0, 12.0))


class Bare:
    """One device; settings [probes, n_in + 1, n_out] to write in turn."""

    def __init__(self, n_in: int, n_out: int, probes: int, measure_s: float) -> None:
        rng = np.random.default_rng(0)
        self.driver = Timed(Fitting(PORTS, n_in, n_out, "bare"), measure_s=measure_s)
        self.x = rng.uniform(-1, 1, n_in).astype(np.float32)
        self.settings = rng.uniform(-0.1, 0.1, (probes, n_in + 1, n_out)).astype(np.float32)

    def measure(self, k: int, x: np.ndarray) -> np.ndarray:
        version = (k, 1, k % len(self.settings))
        self.driver.write({"w": self.settings[k % len(self.settings)]}, version)
        return self.driver.measure(x, version=version, request=((0, k, 0, 0), 0)).v


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: devices, ms, probes, stages, seconds; slow, factor: so many devices take so much longer."""
    probes, stages, ms = (options[k] for k in ("probes", "stages", "ms"))
    if stages == 1:
        about = {k: v for k, v in options.items() if k != "stages"}

        def measure() -> dict[str, Any]:
            return {"value": sum(rates(**about))}

    else:
        found = [Bare(SIZE if i else INPUTS, SIZE, probes, ms / 1e3) for i in range(stages)]
        measure = _behind(found, probes, max(2, math.ceil(options["seconds"] / ((probes + stages - 1) * ms / 1e3))))
    assert "jax" not in sys.modules
    measure()
    return {"devices": options["devices"] if stages == 1 else stages}, measure


def rates(
    devices: int, ms: float, probes: int, seconds: float, slow: int = 0, factor: float = 1.0, **_: Any
) -> list[float]:
    """Measurements/s of each of the devices, which all measure for so many seconds."""
    found: dict[int, float] = {}
    start = threading.Barrier(devices)

    def loop(i: int) -> None:
        device, k = Bare(INPUTS, CLASSES, probes, ms / 1e3 * (factor if i < slow else 1.0)), 0
        start.wait()
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + seconds:
            device.measure(k, device.x)
            k += 1
        found[i] = k / (now - began)

    threads = [threading.Thread(target=loop, args=(i,)) for i in range(devices)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[i] for i in range(devices)]


def _behind(devices: list[Bare], probes: int, steps: int) -> Round:
    """The rate of devices that hand on what they measured."""

    def measure() -> dict[str, Any]:
        queues: list[SimpleQueue] = [SimpleQueue() for _ in range(len(devices) + 1)]

        def loop(i: int) -> None:
            for k in range(steps * probes):
                v = devices[i].measure(k, queues[i].get())
                queues[i + 1].put(np.clip(0.25 * v, -1.0, 1.0))

        threads = [threading.Thread(target=loop, args=(i,)) for i in range(len(devices))]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for _ in range(steps):
            for _ in range(probes):
                queues[0].put(devices[0].x)
            for _ in range(probes):
                queues[-1].get()
        s = (time.perf_counter() - began) / steps
        for thread in threads:
            thread.join()
        return {"value": probes * len(devices) / s, "seconds_a_step": s}

    return measure

"""How time grows with what there is to do: the slope of log time against log size, by least squares.

What grows is the number of parameters or of probes of a training step, or of the steps of a journal that is replayed.
The value is the slope; `seconds` has the times, one for each size. 1: twice as much takes twice as long.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import Run, api, folder
from orchestrator.bench.ours.es import seconds_a_step, tree_of
from orchestrator.bench.serve import Round
from orchestrator.core.coordinator import Coordinator
from orchestrator.pools.in_process import InProcessPool
from orchestrator.replay import replay

FEATURES, CLASSES = 64, 10


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: what ("parameters", "probes" or "replay"), values (the sizes), method (a table), batch, generations
    (steps that are timed at each size, and one more), scratch (a folder).
    """
    prepare = {"parameters": _with_parameters, "probes": _with_probes, "replay": _with_steps}[options["what"]]
    timers = [prepare(options, int(value)) for value in options["values"]]

    def measure() -> dict[str, Any]:
        seconds = [timer() for timer in timers]
        slope = np.polyfit(np.log(options["values"]), np.log(seconds), 1)[0]
        return {"value": float(slope), "seconds": seconds}

    measure()  # compiles
    return {"what": options["what"], "values": options["values"]}, measure


def width_of(parameters: int) -> int:
    """The hidden width h with which 64 - h - h - h - 10, with biases, has about so many parameters."""
    linear = FEATURES + CLASSES + 3
    return max(1, round((np.sqrt(linear**2 + 8 * (parameters - CLASSES)) - linear) / 4))


def _with_parameters(options: dict[str, Any], parameters: int) -> Callable[[], float]:
    width = width_of(parameters)
    return _step([FEATURES, width, width, width, CLASSES], options["method"], options)


def _with_probes(options: dict[str, Any], probes: int) -> Callable[[], float]:
    return _step([FEATURES, 32, CLASSES], {**options["method"], "probes": probes}, options)


def _step(layers: list[int], method: dict[str, Any], options: dict[str, Any]) -> Callable[[], float]:
    """Seconds of a training step of a network on the digits, every time from its beginning."""
    about = {"dataset": "digits", "layers": layers, "method": method, "population": 2 * method["probes"]}
    run = Run.build(tree_of({**options, **about, "generations": options["generations"] + 1}))

    def seconds() -> float:
        with closing(InProcessPool(run)) as pool:
            return seconds_a_step(Coordinator(run, pool))

    return seconds


def _with_steps(options: dict[str, Any], steps: int) -> Callable[[], float]:
    """Seconds to replay a journal of so many steps; it is made here."""
    place = Path(tempfile.mkdtemp(dir=options["scratch"])) / "run"
    about = {"dataset": "digits", "layers": [FEATURES, 32, CLASSES], "population": 2 * options["method"]["probes"]}
    tree = tree_of({**options, **about, "generations": steps})
    tree["train"] |= {"evaluate_every": steps, "evaluate_samples": 64}
    api.resume(folder.make_run(place, "run", Run.build(tree), None))

    def seconds() -> float:
        began = time.perf_counter()
        replay(place)
        return time.perf_counter() - began

    return seconds

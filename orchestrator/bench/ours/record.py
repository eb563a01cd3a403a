"""Seconds a step of a whole training run: in memory, or with its journal, its ledger and its tracking.

A round is a run of `steps` steps, kept in a new folder and tracked by an exporter of its own if it is kept. `value` is
of the steps after the first few; `settled` of the second half, when the exporter has imported MLflow, which takes it
two seconds of a processor once a run.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator import Run, api, folder
from orchestrator.bench.serve import Round
from orchestrator.tracking.tracker import Tracker

WARM = 5  # steps that are left out
TREE: dict[str, Any] = {
    "network": [{"substrate": "crossbar", "size": 64, "decode": "tanh"}, {"substrate": "crossbar", "size": 10}],
    "fleet": {"mismatch": 0.15, "write_s": 0.001},
    "method": {"name": "spsa"},
    "train": {"batch": 256, "evaluate_every": 10**6},  # the first evaluation would compile among the steps
}


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: kept (else in memory), steps, probes; folder (of the run; default: a new one in `scratch` each round),
    store (a URI of MLflow; None: no tracking; default: one in `scratch`).
    """
    steps, probes = options["steps"], options["probes"]
    store = options.get("store", f"sqlite:///{options.get('scratch')}/mlflow.db")

    def measure() -> dict[str, Any]:
        before = _exporters_s()
        place = None
        if options["kept"]:
            place = Path(options.get("folder") or Path(tempfile.mkdtemp(dir=options["scratch"])) / "run")
        whole, settled = seconds_a_step(steps, probes, place, store)
        return {"value": whole, "settled": settled, "exporter_cpu_s": _exporters_s() - before}

    seconds_a_step(WARM + 1, probes)  # compiles
    if options["kept"] and "scratch" in options and store:
        from orchestrator.tracking.store import Store

        Store(store)  # made before the first round, as it is after a user's first run
    return {"steps": steps, "probes": probes, "kept": options["kept"]}, measure


def seconds_a_step(steps: int, probes: int, place: Path | None = None, store: str | None = None) -> tuple[float, float]:
    """(of the steps after the first few, of the second half) of one run.

    In memory without a place, without tracking without a store.
    """
    method = {**TREE["method"], "probes": probes}
    run = Run.build({**TREE, "method": method, "train": {**TREE["train"], "steps": steps}})
    began: list[float] = []

    def observe(progress: object) -> None:
        began.append(time.perf_counter())

    if place is None:
        api.train(run, None, observe)
    else:
        path = folder.make_run(place, "run", run, None)
        with Tracker(path, store) as tracker:
            api.resume(path, None, observe)
            tracker.finish()
    half = max(len(began) // 2, WARM)
    whole, settled = ((began[-1] - began[i - 1]) / (len(began) - i) for i in (WARM, half))
    return whole, settled


def _exporters_s() -> float:
    """CPU seconds of the exporters so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

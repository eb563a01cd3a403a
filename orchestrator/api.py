"""`train`: the one training loop of the package, from a run to a result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orchestrator.core import keys, records
from orchestrator.core.coordinator import Coordinator, Point, Pool, Progress
from orchestrator.core.ledger import Ledger, plain
from orchestrator.core.records import Record
from orchestrator.runfile import Run

Tree = Any


@dataclass
class Result:
    """What a run came to. Accuracies are fractions: mean and worst over chips, and promised by the nominal twin."""

    method: str
    seed: int
    accuracy: float
    accuracy_worst: float
    accuracy_promised: float
    loss: float
    steps: int
    passes: float
    calls: int
    writes: int
    passes_per_prediction: int
    parameters_physical: int
    parameters_digital: int
    device_seconds: float | None
    joules: float | None
    wire_bytes: int
    wall_s: float
    parameters_sha256: str
    directory: str | None = None
    curve: list[Point] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    records: list[Record] = field(default_factory=list)
    params: dict[tuple[int, int, int], Tree] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """The one object that `--json` prints."""
        hidden = ("curve", "ledger", "records", "params")
        return {k: v for k, v in vars(self).items() if k not in hidden}


def train(run: Run, pool: Pool | None = None, observe: Callable[[Progress], None] | None = None) -> Result:
    """Train `run` on a pool (default: one worker in this process), measure it on its chips, and account for it.

    Raises a `physics.contracts.DeviceError` if a device refuses or fails.
    """
    from orchestrator.pools.in_process import InProcessPool

    started = time.perf_counter()
    own = pool is None
    pool = pool or InProcessPool(run)
    try:
        coordinator = Coordinator(run, pool)
        coordinator.train(observe)
        params = coordinator.finish()
        return measure(coordinator, params, run.train.steps, time.perf_counter() - started)
    finally:
        if own:
            pool.close()


def evaluate(run: Run, params: dict[tuple[int, int, int], Tree], pool: Pool) -> Result:
    """Measure given parameters on the chips of `run` again; the account is that of the evaluation."""
    started = time.perf_counter()
    coordinator = Coordinator(run, pool)
    coordinator.load(params)
    result = measure(coordinator, params, run.train.steps, 0.0, kind="evaluate")
    result.wall_s = time.perf_counter() - started
    return result


def measure(coordinator: Coordinator, params: dict, step: int, wall_s: float, kind: str = "train") -> Result:
    """Evaluate on the chips and on the nominal twin; the account is that of training, or of this evaluation."""
    plan = coordinator.plan
    point = coordinator.evaluate(step)
    promised = coordinator.evaluate(step, keys.PROMISE)
    physical, digital = plan.parameters()
    return Result(
        method=plan.run.method.name,
        seed=plan.seed,
        accuracy=float(np.mean(point.accuracies)),
        accuracy_worst=min(point.accuracies),
        accuracy_promised=float(np.mean(promised.accuracies)),
        loss=point.loss,
        steps=step,
        **plain(coordinator.ledger.total(kind)),
        passes_per_prediction=len(plan.predicts),
        parameters_physical=physical,
        parameters_digital=digital,
        wire_bytes=coordinator.ledger.wire_bytes,
        wall_s=wall_s,
        parameters_sha256=records.parameters_sha256(params),
        curve=coordinator.curve,
        ledger=coordinator.ledger,
        records=coordinator.journal.records,
        params=params,
    )

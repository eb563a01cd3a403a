"""`train`: the one training loop of the package, from a run to a result."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import environment, folder
from orchestrator.core import records
from orchestrator.core.coordinator import Coordinator, Pool, Progress
from orchestrator.core.history import Point, Told
from orchestrator.core.ledger import Ledger, plain
from orchestrator.journal import crash
from orchestrator.kept import Kept
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
    loss: float | None
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
    tracking_run_id: str | None = None
    curve: list[Point] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    params: dict[records.Name, Tree] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """The one object that `--json` prints; what is not finite is null, for JSON knows no NaN."""
        told = {k: v for k, v in vars(self).items() if k not in ("curve", "ledger", "params")}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in told.items()}


def train(
    run: Run,
    pool: Pool | None = None,
    observe: Callable[[Progress], None] | None = None,
    *,
    directory: str | Path | None = None,
) -> Result:
    """Train `run` on a pool (default: one worker in this process), measure it on its chips, and account for it.

    directory: a new folder in which the run is kept, so that `resume` can go on with it; without one, nothing is.
    Raises a `physics.contracts.DeviceError` if a device refuses or fails, `RunFileError` if the folder is in use.
    """
    if directory is not None:
        return resume(folder.make_run(directory, "run", run, None), pool, observe)
    with ExitStack() as stack:
        pool = pool or stack.enter_context(_in_process(run))
        coordinator = Coordinator(run, pool)
        coordinator.train(observe)
        return measure(coordinator)


def resume(
    directory: str | Path,
    pool: Pool | None = None,
    observe: Callable[[Progress], None] | None = None,
) -> Result:
    """Go on with the run in a folder and write its files; of a finished one, its result. Raises what `train` raises."""
    from orchestrator import outcome

    with ExitStack() as stack:
        kept = stack.enter_context(closing(Kept(Path(directory))))
        if kept.history.result is not None:
            result = finished(kept)
            outcome.mend(kept, result)
            return result
        result = go_on(kept, pool or stack.enter_context(_in_process(kept.run)), observe)
        outcome.write(kept, result)
        return result


def _in_process(run: Run) -> Any:
    from orchestrator.pools.in_process import InProcessPool

    return closing(InProcessPool(run))


def go_on(kept: Kept, pool: Pool, observe: Callable[[Progress], None] | None = None) -> Result:
    """Train a kept run from where its journal ends, and finish it. Raises `Stopped` if `kept.stop` says so."""
    coordinator = Coordinator(kept.run, pool, kept)
    kept.pause = coordinator.rest
    kept.stand(coordinator)
    plan = coordinator.plan
    about = {"workers": pool.size, "pool": type(pool).__name__, "environment": environment.describe()}
    kept.append("session", {**about, "n_features": plan.n_features, "n_classes": plan.n_classes})
    coordinator.train(observe, kept.stop)
    result = measure(coordinator)
    result.directory = str(kept.path)
    crash.reach("end.measured")
    told = result.json()
    kept.append("end", {"result": {k: v for k, v in told.items() if k not in ("directory", "tracking_run_id")}})
    crash.reach("end.recorded")
    return result


def finished(kept: Kept) -> Result:
    """The result of a finished run, as its journal tells it; without its parameters."""
    told = kept.history.told
    assert kept.history.result is not None
    return Result(**kept.history.result, directory=str(kept.path), curve=told.curve, ledger=told.ledger)


def evaluate(kept: Kept, pool: Pool) -> Result:
    """Measure a kept run again, on the same chips, with their clocks where training left them.

    The account is that of the evaluation, and nothing is written to the journal.
    """
    coordinator = Coordinator(kept.run, pool)
    kept.stand(coordinator, evaluated=False)
    coordinator.told = Told(coordinator.told.steps)
    return measure(coordinator, "evaluate")


def measure(coordinator: Coordinator, kind: str = "train") -> Result:
    """Evaluate on the chips and on the nominal twin; the account is that of training, or of this evaluation."""
    plan, told = coordinator.plan, coordinator.told
    params = coordinator.finish()
    point, promised = coordinator.measure(told.steps)
    physical, digital = plan.parameters()
    return Result(
        method=plan.run.method.name,
        seed=plan.seed,
        accuracy=float(np.mean(point.accuracies)),
        accuracy_worst=min(point.accuracies),
        accuracy_promised=float(np.mean(promised.accuracies)),
        loss=point.loss,
        steps=told.steps,
        **plain(told.ledger.total(kind)),
        passes_per_prediction=len(plan.predicts),
        parameters_physical=physical,
        parameters_digital=digital,
        wire_bytes=told.ledger.wire_bytes,
        wall_s=told.wall_s,
        parameters_sha256=records.parameters_sha256(params),
        curve=told.curve,
        ledger=told.ledger,
        params=params,
    )

"""One seed of one part: what is trained for it, what that cost, and the usual things to look at."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.reference.case import Tree

if TYPE_CHECKING:
    from orchestrator.api import Result
    from orchestrator.core.history import Point

Until = Callable[["Point"], bool]


class Done(NamedTuple):
    """A result, the minutes that it took, and those that it would have needed had it not been cut short."""

    result: Result
    minutes: float
    needs_min: float

    @property
    def cut(self) -> bool:
        return self.needs_min > self.minutes


_done: dict[str, Done] = {}  # what this process has trained to its end: parts of a case share their yardsticks


class Trial:
    """Trains for one seed, and adds up passes, writes, steps and minutes of what it trains.

    limit_min: minutes from now; then training stops, and `needs_min` says how many it would have needed.
    """

    def __init__(self, seed: int, limit_min: float | None = None) -> None:
        self.seed = seed
        self.passes: float = 0
        self.writes = self.steps = 0
        self.minutes = 0.0
        self._end_s = math.inf if limit_min is None else time.perf_counter() + 60 * limit_min
        self._all: list[Done] = []

    @property
    def needs_min(self) -> float | None:
        """None: nothing was cut short."""
        return sum(d.needs_min for d in self._all) if any(d.cut for d in self._all) else None

    def train(self, tree: Tree, until: Until | None = None, counted: bool = True) -> Result:
        """The result of a run file with this seed, without parameters. Raises what `orchestrator.train` raises.

        The seed is that of the run, and numbers the split of a data set that has several. until: stop at the first
        point of the curve of which it is true. counted: whether what it cost is added to the trial.
        """
        tree = seeded(tree, self.seed)
        name = json.dumps(tree, sort_keys=True)
        done = _done.get(name) if until is None else None
        if done is None:
            done = self._trained(tree, until)
            if until is None and not done.cut:
                _done[name] = done
        self._all.append(done)
        if counted:
            self.passes += done.result.passes
            self.writes += done.result.writes
            self.steps += done.result.steps
            self.minutes += done.minutes
        return done.result

    def _trained(self, tree: Tree, until: Until | None) -> Done:
        from orchestrator import api
        from orchestrator.core.coordinator import Coordinator, Stopped
        from orchestrator.pools.in_process import InProcessPool
        from orchestrator.runfile import Run

        began, late = time.perf_counter(), False
        run = Run.build(dict(tree))
        with closing(InProcessPool(run)) as pool:
            coordinator = Coordinator(run, pool)
            told = coordinator.told

            def stop() -> bool:
                nonlocal late
                late = told.steps > 0 and time.perf_counter() >= self._end_s
                return late or bool(until and told.curve and until(told.curve[-1]))

            try:
                coordinator.train(stop=stop)
            except Stopped:
                pass
            result = api.measure(coordinator)
        took = (time.perf_counter() - began) / 60
        needs = took * run.train.steps / told.steps if late else took
        return Done(replace(result, params={}), took, needs)


def seeded(tree: Tree, seed: int) -> dict[str, Any]:
    """A run file with this seed; a split that it names becomes that of the seed."""
    data = dict(tree.get("data", {}))
    if "split" in data:
        data["split"] = seed
    return {**tree, "data": data, "train": {**tree.get("train", {}), "seed": seed}}


# --- what a seed comes to ---------------------------------------------------------------------------------------------


def accuracy(trial: Trial, tree: Tree) -> float:
    """Test accuracy on the chips after training, in per cent."""
    return 100 * trial.train(tree).accuracy


def best(trial: Trial, tree: Tree) -> float:
    """The best test accuracy along the curve, in per cent."""
    result = trial.train(tree)
    return 100 * max(sum(p.accuracies) / len(p.accuracies) for p in result.curve)


def ahead(trial: Trial, tree: Tree, other: Tree) -> float:
    """By how many points one run file ends above another; the cost is that of the first."""
    return 100 * (trial.train(tree).accuracy - trial.train(other, counted=False).accuracy)


def solves(trial: Trial, tree: Tree) -> float:
    """1 if at some point of the curve every test sample is right, else 0; the cost is that until then."""
    return float(right(trial.train(tree, until=right).curve[-1]))


def right(point: Point) -> bool:
    """Whether every sample is right, on every chip."""
    return min(point.accuracies) == 1.0


def passes_to(trial: Trial, tree: Tree, loss: float) -> float | None:
    """Training passes until the test loss is at most `loss`, at a point of the curve; None: it never is."""
    result = trial.train(tree, until=lambda point: point.loss <= loss)
    return next((point.passes for point in result.curve if point.loss <= loss), None)

"""A part, seed after seed: what each came to, and what all of them say."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from orchestrator.data import LOADERS, DataError, load
from orchestrator.reference.case import Part
from orchestrator.reference.trial import Trial


class Reached(NamedTuple):
    """One seed: its value, and what training cost. needs_min: it was stopped, and would have needed so many minutes."""

    seed: int
    value: float
    passes: float
    writes: int
    steps: int
    minutes: float
    needs_min: float | None = None


@dataclass(frozen=True)
class Measured:
    """What a part has come to so far. seeds: all that are asked for.

    failure: why there is no verdict. skipped: what the part needs, and is not here.
    """

    part: Part
    seeds: tuple[int, ...]
    reached: tuple[Reached, ...] = ()
    failure: str | None = None
    skipped: str | None = None

    @property
    def finished(self) -> list[Reached]:
        """The seeds that were trained to their end."""
        return [r for r in self.reached if r.needs_min is None]

    @property
    def values(self) -> list[float]:
        return [r.value for r in self.finished]

    @property
    def value(self) -> float | None:
        """The mean or the median over seeds."""
        if not self.values:
            return None
        return statistics.fmean(self.values) if self.part.statistic == "mean" else statistics.median(self.values)

    @property
    def std(self) -> float | None:
        """Standard deviation over seeds."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the mean, 95 %, by Student's t."""
        if self.std is None:
            return None
        from scipy import stats

        n, mean = len(self.values), statistics.fmean(self.values)
        half = float(stats.t.ppf(0.975, n - 1)) * self.std / math.sqrt(n)
        return mean - half, mean + half

    @property
    def minutes(self) -> float:
        return sum(r.minutes for r in self.reached)

    @property
    def started(self) -> bool:
        """Some seeds, or all, are still to be trained."""
        return not (self.failure or self.skipped) and len(self.finished) < len(self.seeds)

    @property
    def needs_min(self) -> float | None:
        """Minutes that all seeds would need; None: nobody knows yet."""
        each = [r.needs_min or r.minutes for r in self.reached]
        return statistics.fmean(each) * len(self.seeds) if each else None

    @property
    def met(self) -> bool:
        """Whether the bar is met; without a bar, whether every seed was trained."""
        if self.failure or self.skipped or self.started or self.value is None:
            return False
        error = (self.std or 0.0) / math.sqrt(len(self.values))
        return self.part.bar is None or self.part.bar.met(self.value, error)

    @property
    def excused(self) -> bool:
        """Whether it need not be met: it cannot be measured here, its time was over, or a reason is recorded."""
        return bool(self.skipped) or self.started or (not self.failure and self.part.reason is not None)


def measure(
    part: Part, seeds: Sequence[int], known: Sequence[Reached], limit_min: float | None, say: Callable[[str], None]
) -> Iterator[Measured]:
    """What the part has come to, after each seed. known: seeds that need not be trained again.

    limit_min: minutes for the seeds that are left. A part that fails is told and nothing is raised, but by PNN_DEBUG=1.
    """
    wanted = tuple(seeds)
    reached = [r for r in known if r.needs_min is None and r.seed in wanted]
    done = {r.seed for r in reached}
    yield Measured(part, wanted, tuple(reached))
    left = limit_min
    for seed in (s for s in wanted if s not in done):
        say(f"{part.name}, seed {seed} ...")
        trial, began = Trial(seed, left), time.perf_counter()
        try:
            value = float(part.reach(trial, *part.given))
        except Exception as error:
            if os.environ.get("PNN_DEBUG"):
                raise
            yield Measured(part, wanted, tuple(reached), failure=f"{type(error).__name__}: {error}")
            return
        if not math.isfinite(value):
            yield Measured(part, wanted, tuple(reached), failure=f"seed {seed} came to {value}")
            return
        took = (time.perf_counter() - began) / 60
        costs = trial.passes, trial.writes, trial.steps, trial.minutes or took
        reached.append(Reached(seed, value, *costs, trial.needs_min))
        yield Measured(part, wanted, tuple(reached))
        left = None if left is None else left - took
        if trial.needs_min is not None or (left is not None and left <= 0):
            return


def lacking(part: Part) -> str | None:
    """What the run files of a part need and is not here: a method, a substrate, a data set or its files."""
    from algorithms import registry as methods
    from physics import registry as substrates

    for tree in part.trees:
        stages, data = tree["network"], tree.get("data", {}).get("name", "digits")
        used = [tree.get("method", "spsa"), *(stage["method"] for stage in stages if "method" in stage)]
        for method in (m if isinstance(m, str) else m["name"] for m in used):
            if method not in methods.names():
                return f"there is no method {method!r} here"
        for stage in stages:
            if stage["substrate"] not in substrates.names():
                return f"there is no substrate {stage['substrate']!r} here"
        if data not in LOADERS:
            return f"there is no data set {data!r} here"
        if told := _no_files(data):
            return told
    return None


@cache
def _no_files(data: str) -> str | None:
    try:
        load(data)
    except DataError as error:
        return str(error)
    return None

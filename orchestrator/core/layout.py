"""Who does what: workers in lanes, a lane split into segments. The only place that knows the number of workers.

A LANE is a set of workers that hold one whole network between them; lanes are clones of each other and share the items
(item i goes to lane i mod lanes). Within a lane a SEGMENT is a run of stages that no worker boundary cuts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from orchestrator.core import keys
from orchestrator.core.bank import banks
from orchestrator.core.plan import BANK, Group, Plan
from orchestrator.core.pulling import lots
from orchestrator.core.work import Call, Work, all_work


@dataclass(frozen=True)
class Segment:
    """Stages first..last (exclusive) on `workers` (several only if one stage is cut into tiles).

    last == stages + 1 if the segment ends with the readout, which counts as stage number `stages`.
    """

    workers: tuple[int, ...]
    first: int
    last: int


@dataclass(frozen=True)
class Lane:
    """`home[(stage, tile)]` is the worker that holds it; the readout is at `home[(stages, 0)]`."""

    index: int
    home: dict[tuple[int, int], int]
    segments: tuple[Segment, ...]

    @property
    def workers(self) -> tuple[int, ...]:
        return tuple(sorted(set(self.home.values())))


@dataclass(frozen=True)
class Layout:
    """The lanes of `workers` workers."""

    plan: Plan
    workers: int

    @cached_property
    def lanes(self) -> tuple[Lane, ...]:
        width = min(self.workers, self._split)
        starts = range(0, self.workers, width)
        return tuple(self._lane(i, tuple(range(lo, min(lo + width, self.workers)))) for i, lo in enumerate(starts))

    @property
    def _split(self) -> int:
        """Workers that one network is divided among."""
        placement = self.plan.run.train.placement
        if placement == "stages":
            return len(self.plan.stages)
        return max(len(s.tiles) for s in self.plan.stages) if placement == "tiles" else 1

    def _lane(self, index: int, workers: tuple[int, ...]) -> Lane:
        stages, n = self.plan.stages, len(workers)
        by_stage = self.plan.run.train.placement == "stages"
        home = {}
        for stage in stages:
            for t in range(len(stage.tiles)):
                home[(stage.index, t)] = workers[stage.index * n // len(stages)] if by_stage else workers[t % n]
        hosts = [tuple(dict.fromkeys(home[(s.index, t)] for t in range(len(s.tiles)))) for s in stages]
        hosts.append(hosts[-1][:1])  # the readout
        home[(len(stages), 0)] = hosts[-1][0]
        segments: list[Segment] = []
        for i, here in enumerate(hosts):
            if segments and segments[-1].workers == here and len(here) == 1:
                segments[-1] = Segment(here, segments[-1].first, i + 1)
            else:
                segments.append(Segment(here, i, i + 1))
        return Lane(index, home, tuple(segments))

    def lane_of(self, worker: int) -> Lane:
        return next(lane for lane in self.lanes if worker in lane.home.values())

    def work(self, lane: Lane, call: Call) -> list[Work]:
        """What a lane does in a call."""
        return self._training[lane.index] if call.purpose == keys.TRAIN else self._part(lane, call)

    def reported(self, group: Group) -> list[Work]:
        """What is reported of a group in a step, in the order in which it is summed."""
        found = [work for mine in self._training for work in mine if work.group is group]
        return sorted(found, key=lambda work: work.item.number)

    def _part(self, lane: Lane, call: Call) -> list[Work]:
        lanes = len(self.lanes)
        if self.plan.banked:
            return [w for w in banks(self.plan, call) if w.item.replica // BANK % lanes == lane.index]
        return [w for w in all_work(self.plan, call) if w.item.number % lanes == lane.index]

    @cached_property
    def _training(self) -> tuple[list[Work], ...]:
        """By lane; the same in every step."""
        step = Call(0, keys.TRAIN, None)
        every = [self._part(lane, step) for lane in self.lanes]
        return tuple(lots(mine) if self.plan.pulls else mine for mine in every)

"""The coordinator: one step is a call to every worker, a reduction in a fixed order, and a record.

    batch(seed, step) -> call workers (they commit the record of the step before) -> reduce -> append the record

It knows no method and no substrate by name; what a method needs follows from its route, signal and evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from orchestrator.core import keys, records, task
from orchestrator.core.layout import Lane, Layout
from orchestrator.core.ledger import Ledger
from orchestrator.core.plan import Plan, build
from orchestrator.core.records import Journal, Record
from orchestrator.core.work import Call, Report
from orchestrator.spec import Run

Tree = Any


class Pool(Protocol):
    """Workers that can be called; futures may be passed on as arguments of later calls."""

    size: int
    wire_bytes: int

    def call(self, worker: int, method: str, *arguments: Any) -> tuple[Any, Any]: ...
    def gather(self, reports: list[Any]) -> list[Any]: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Progress:
    """What an observer is told after a step."""

    step: int
    steps: int
    loss: float | None
    passes: Fraction
    accuracy: float | None  # only where the curve has a point


@dataclass(frozen=True)
class Point:
    """One point of the curve: accuracy and loss on the chips after `passes` training passes, by replica."""

    step: int
    passes: float
    accuracies: tuple[float, ...]
    loss: float


class Coordinator:
    """Trains one run on a pool."""

    def __init__(self, run: Run, pool: Pool) -> None:
        self.data = task.dataset(run.data)
        self.plan: Plan = build(run, self.data.x_train.shape[1], self.data.n_classes)
        self.pool = pool
        self.layout = Layout(self.plan, pool.size)
        self.journal = Journal()
        self.ledger = Ledger()
        self.curve: list[Point] = []
        self._pending: Record | None = None

    def train(self, observe: Callable[[Progress], None] | None = None) -> None:
        """All steps. The record of a step is applied by the next call; the last one by `finish`."""
        spec = self.plan.run.train
        every = spec.evaluate_every or max(spec.steps // 10, 1)
        for step in range(spec.steps):
            loss = self.step(step)
            done = step + 1
            accuracy = None
            if done % every == 0 and done < spec.steps:
                point = self.evaluate(done)
                accuracy = float(np.mean(point.accuracies))
            if observe:
                passes = self.ledger.total().passes
                observe(Progress(done, spec.steps, loss, passes, accuracy))

    def step(self, step: int) -> float | None:
        """One step; returns the mean loss of its measured rows, if the readout gave losses."""
        spec = self.plan.run.train
        batch = task.batch(self.data, spec.seed, step, spec.batch)
        call = Call(step, keys.TRAIN, self._pending, batch)
        evidence = self._reduce(self._round(call, "train"))
        self._pending = self.journal.append(step, evidence)
        losses = [
            v
            for group in self.plan.groups
            if group.algorithm.evidence == "losses"
            for v in evidence[group.index].values()
        ]
        return float(np.mean(losses)) if losses else None

    def evaluate(self, step: int, purpose: int = keys.EVALUATE) -> Point:
        """Accuracy and mean loss on the test part: on the chips, or (PROMISE) on the nominal twin with cycle noise."""
        limit = self.plan.run.train.evaluate_samples
        samples = min(limit or len(self.data.x_test), len(self.data.x_test))
        reports = self._round(Call(step, purpose, self._pending, None, samples), "evaluate")
        items = self.plan.evaluation_items(samples)
        answers = {name[1]: value for report in reports for name, value in report.correct.items()}
        right = [0] * self.plan.replicas
        loss = 0.0
        for item in items:
            correct, total = answers[item.number]
            right[item.replica] += correct
            loss += total
        accuracies = tuple(r / samples for r in right)
        point = Point(step, float(self.ledger.total().passes), accuracies, loss / (samples * self.plan.replicas))
        if purpose == keys.EVALUATE:
            self.curve.append(point)
        return point

    def finish(self) -> dict[tuple[int, int, int], Tree]:
        """Apply the last record and collect the parameters by (copy, stage, tile)."""
        workers = range(self.pool.size)
        self.pool.gather([self.pool.call(w, "commit", self._pending)[1] for w in workers])
        self._pending = None
        found: dict[tuple[int, int, int], Tree] = {}
        for part in self.pool.gather([self.pool.call(w, "parameters")[1] for w in self.layout.lanes[0].workers]):
            found.update(part)
        return found

    def load(self, params: dict[tuple[int, int, int], Tree]) -> None:
        """Give every worker the parameters of a finished run."""
        steps = self.plan.run.train.steps
        self.pool.gather([self.pool.call(w, "load", params, steps)[1] for w in range(self.pool.size)])

    # --- one round of calls ---------------------------------------------------------------------------------------

    def _round(self, call: Call, kind: str) -> list[Report]:
        """Call every worker; account for what their devices did."""
        before = self.pool.wire_bytes
        futures = [future for lane in self.layout.lanes for future in self._lane(lane, call)]
        reports = sorted(self.pool.gather(futures), key=lambda r: r.worker)
        for report in reports:
            for entry in report.entries:
                self.ledger.add(kind, report.worker, entry)
        if kind == "train":
            self.ledger.wire_bytes += self.pool.wire_bytes - before
        return reports

    def _lane(self, lane: Lane, call: Call) -> Iterator[Any]:
        """Futures of the reports of one lane: one call if one worker holds all, else down and up its segments."""
        if len(lane.segments) == 1:
            yield self.pool.call(lane.workers[0], "step", call)[1]
            return
        messages: list[list[Any]] = []
        for segment in lane.segments:
            outs = [
                self.pool.call(w, "forward", call, segment, *(messages[-1] if messages else ()))
                for w in segment.workers
            ]
            messages.append([message for message, _ in outs])
            yield from (report for _, report in outs)
        if call.purpose != keys.TRAIN or all(g.algorithm.signal != "error" for g in self.plan.groups):
            return
        error = messages[-1]
        cots: list[Any] = []
        for index in reversed(range(len(lane.segments))):
            segment = lane.segments[index]
            if segment.first == len(self.plan.stages):
                continue  # the readout alone
            peers = messages[index] if len(segment.workers) > 1 else []
            kinds = ("error",) * len(error) + ("cot",) * len(cots) + ("peer",) * len(peers)
            outs = [self.pool.call(w, "reply", call, segment, kinds, *error, *cots, *peers) for w in segment.workers]
            cots = [message for message, _ in outs]
            yield from (report for _, report in outs)

    def _reduce(self, reports: list[Report]) -> dict[int, dict[int, Any]]:
        """Evidence of a step by group and copy, summed in the order of the items."""
        evidence = {}
        for group, items in zip(self.plan.groups, self.plan.items, strict=True):
            if group.algorithm.evidence == "losses":
                sums = {n[1]: v for r in reports for n, v in r.losses.items() if n[0] == group.index}
                evidence[group.index] = records.reduce_losses(self.plan, items, sums, len(group.passes))
                continue
            gradients: dict[int, dict] = {item.number: {} for item in items}
            for report in reports:
                for (g, index), tree in report.gradients.items():
                    if g == group.index:
                        gradients[index].update(tree)
            evidence[group.index] = records.reduce_gradients(self.plan, items, gradients)
        return evidence

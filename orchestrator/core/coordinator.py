"""The coordinator: one step is a call to every worker, a reduction in a fixed order, and a record.

    call workers (they commit the record of the step before, draw the batch) -> reduce -> append the record

It knows no method and no substrate by name; what a method needs follows from its route, signal and evidence.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from orchestrator.core import keys, ledger, pulling, records, spans, task
from orchestrator.core.history import Live, Point, Told
from orchestrator.core.layout import Lane, Layout
from orchestrator.core.plan import Plan, build
from orchestrator.core.records import Name, Record
from orchestrator.core.shards import State
from orchestrator.core.waves import waves
from orchestrator.core.work import Call, Report
from orchestrator.journal import crash
from orchestrator.spec import Run

Tree = Any
WALK = 64  # records that are sent to a worker at once when a run goes on


class Pool(Protocol):
    """Workers that can be called; futures may be passed on as arguments of later calls."""

    size: int
    wire_bytes: int

    def call(self, worker: int, method: str, *arguments: Any) -> tuple[Any, Any]: ...
    def gather(self, reports: list[Any]) -> list[Any]: ...
    def close(self) -> None: ...
    def before_devices(self, settle: Callable[[], None]) -> bool:
        """Let workers call `settle` when their devices are about to be used; False if they cannot: too far away."""


class Log(Protocol):
    """Where records go. What was started is durable after `settle`, the others when they return."""

    def start(self, kind: str, meta: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None: ...
    def settle(self) -> None: ...
    def append(self, kind: str, meta: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None: ...
    def snapshot(self, told: Told, state: State, parameters_sha256: str) -> None: ...


@dataclass(frozen=True)
class Progress:
    """What an observer is told after a step."""

    step: int
    steps: int
    loss: float | None
    passes: Fraction
    accuracy: float | None  # only where the curve has a point


class Stopped(Exception):
    """Training was asked to stop, and did after `step` steps; all of them are journalled."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step


class Coordinator:
    """Trains one run on a pool; with a log it can be killed at any instant and go on from what is journalled."""

    def __init__(self, run: Run, pool: Pool, log: Log | None = None) -> None:
        self.data = task.dataset(run.data)
        self.plan: Plan = build(run, self.data.x_train.shape[1], self.data.n_classes)
        self.pool = pool
        self.layout = Layout(self.plan, pool.size)
        self.log = log
        self.told = Told()
        self._pending: Record | None = None
        self._kept = 0  # the step of the last snapshot
        self._began = time.perf_counter()
        # workers that are here commit a record, but do not write it to a device, while it is on its way to the disk
        self._settled_there = log is not None and pool.before_devices(log.settle)
        self._everyone("stand", None)

    def stand(self, told: Told, base: int, state: State | None, since: Iterable[tuple[Live, Record | None]]) -> None:
        """Go to where a journal ends: from the state at step `base` through the live records after it."""
        self._everyone("stand", state)
        calls: list[Call] = []
        for live, record in since:
            if live.kind == "step":
                calls.append(Call(live.step, keys.TRAIN, self._pending))
                self._pending = record
            else:
                calls.append(Call(live.step, keys.EVALUATE, self._pending, self._samples))
            if len(calls) == WALK:
                self._everyone("walk", calls)
                calls = []
        self._everyone("walk", calls)
        self.told, self._kept = told, base
        self._began = time.perf_counter() - told.wall_s

    def train(self, observe: Callable[[Progress], None] | None = None, stop: Callable[[], bool] | None = None) -> None:
        """The steps that are left. The record of a step is applied by the next call, the last one by `finish`.

        Raises `Stopped` if `stop` says so after a step.
        """
        spec, keep = self.plan.run.train, self.plan.run.journal.snapshot_every
        every = spec.evaluate_every or max(spec.steps // 10, 1)
        loss = None
        while True:
            step, accuracy = self.told.steps, None
            if step % every == 0 and 0 < step < spec.steps and not self._evaluated(step):
                accuracy = float(np.mean(self.evaluate(step).accuracies))
            if self.log and step % keep == 0 and step > self._kept and step < spec.steps:
                self._snapshot()
            if observe and step:
                observe(Progress(step, spec.steps, loss, self.told.ledger.total().passes, accuracy))
            if step == spec.steps:
                return self._settle()
            if stop and stop():
                self._settle()
                raise Stopped(step)
            with spans.span(spans.STEP, str(step)):
                loss = self.step(step)

    def step(self, step: int) -> float | None:
        """One step; returns the mean loss of its measured rows, if the readout gave losses."""
        before = self.pool.wire_bytes
        reports, account = self._round(Call(step, keys.TRAIN, self._pending))
        wire_bytes = self.pool.wire_bytes - before
        evidence = self._reduce(reports)
        loss = records.mean_loss(self.plan, evidence)
        wall_s = time.perf_counter() - self._began
        crash.reach("step.measured")
        if self.log:
            finite = loss if loss is None or math.isfinite(loss) else None
            meta = {"step": step, "loss": finite, "wall_s": round(wall_s, 6), "wire_bytes": wire_bytes}
            late, who = pulling.told(self.plan, reports)
            self.log.start("step", {**meta, **late, "account": ledger.write(account)}, records.pack(evidence) | who)
        told = self.told
        told.steps, told.wall_s = step + 1, wall_s
        told.ledger.take("train", account)
        told.ledger.wire_bytes += wire_bytes
        self._pending = Record(step, evidence)
        return loss

    def evaluate(self, step: int, purpose: int = keys.EVALUATE) -> Point:
        """Accuracy and mean loss on the test part: on the chips, or (PROMISE) on the nominal twin with cycle noise."""
        samples = self._samples
        reports, account = self._round(Call(step, purpose, self._pending, samples))
        answers = {name[1]: value for report in reports for name, value in report.correct.items()}
        right = [0] * self.plan.replicas
        losses = []
        for item in self.plan.evaluation_items(samples):
            correct, loss = answers[item.number]
            right[item.replica] += correct
            losses.append(loss)
        accuracies = tuple(r / samples for r in right)
        mean = sum(losses) / (samples * self.plan.replicas)
        point = Point(step, float(self.told.ledger.total().passes), accuracies, mean)
        crash.reach("evaluation.measured")
        if self.log:
            name = "promise" if purpose == keys.PROMISE else "evaluate"
            self.log.append("point", {"purpose": name, **point.json(), "account": ledger.write(account)})
        self.told.ledger.take("evaluate", account)
        if purpose == keys.EVALUATE:
            self.told.curve.append(point)
        else:
            self.told.promised = point
        return point

    def finish(self) -> dict[Name, Tree]:
        """Apply the last record and keep the state; the parameters by (copy, stage, tile)."""
        if self.log and self._kept < self.told.steps:
            self._snapshot()
        return self.parameters()

    def parameters(self) -> dict[Name, Tree]:
        """The parameters after all that was measured."""
        self._apply()
        found: dict[Name, Tree] = {}
        for part in self.pool.gather([self.pool.call(w, "parameters")[1] for w in self.layout.lanes[0].workers]):
            found.update(part)
        return found

    def measure(self, step: int) -> tuple[Point, Point]:
        """(on the chips, promised by the nominal twin) at the end, unless that is known already."""
        point = self.told.curve[-1] if self._evaluated(step) else self.evaluate(step)
        return point, self.told.promised or self.evaluate(step, keys.PROMISE)

    def rest(self) -> None:
        """Every device to its rest values, for a while."""
        self._everyone("rest")

    @property
    def _samples(self) -> int:
        """Test samples of one evaluation."""
        return min(self.plan.run.train.evaluate_samples or len(self.data.x_test), len(self.data.x_test))

    def _evaluated(self, step: int) -> bool:
        return bool(self.told.curve) and self.told.curve[-1].step == step

    def _snapshot(self) -> None:
        """Keep the state of all shards, with every record applied."""
        assert self.log is not None
        self._settle()
        sha256 = records.parameters_sha256(self.parameters())
        state = State({}, {})
        for part in self.pool.gather([self.pool.call(w, "state")[1] for w in self.layout.lanes[0].workers]):
            state.arrays.update(part.arrays)
            state.clocks.update(part.clocks)
        self.log.snapshot(self.told, state, sha256)
        self._kept = self.told.steps

    def _apply(self) -> None:
        """The record that waits for the next call, now."""
        if self._pending is not None:
            self._everyone("commit", self._pending)
            self._pending = None

    def _settle(self) -> None:
        """What is on its way to the disk is there."""
        if self.log:
            self.log.settle()

    def _everyone(self, method: str, *arguments: Any) -> None:
        self.pool.gather([self.pool.call(w, method, *arguments)[1] for w in range(self.pool.size)])

    # --- one round of calls ---------------------------------------------------------------------------------------

    def _round(self, call: Call) -> tuple[list[Report], ledger.Account]:
        """Call every worker; (their reports, what their devices did)."""
        if not self._settled_there:
            self._settle()
        futures = [future for lane in self.layout.lanes for future in self._lane(lane, call)]
        with spans.span(spans.WAITING):
            reports = sorted(self.pool.gather(futures), key=lambda r: r.worker)
        account: ledger.Account = {}
        for report in reports:
            if report.entries:
                account[report.worker] = ledger.total([account.get(report.worker, ledger.ZERO), *report.entries])
        return reports, account

    def _lane(self, lane: Lane, call: Call) -> Iterator[Any]:
        """Futures of the reports of one lane: one call if one worker holds all, else down and up its segments."""
        if len(lane.segments) == 1:
            yield self.pool.call(lane.workers[0], "step", call)[1]
            return
        messages: list[list[Any]] = [[] for _ in lane.segments]
        several = len(waves(self.layout.work(lane, call))) if self.plan.hosted else 1
        for wave in range(several):
            inbox: list[Any] = []
            for index, segment in enumerate(lane.segments):
                what: tuple[Any, ...] = "forward", call, segment
                if self.plan.hosted:
                    what = "wave", call if wave == 0 else call._replace(record=None), segment, wave
                outs = [self.pool.call(w, *what, *inbox) for w in segment.workers]
                inbox = [message for message, _ in outs]
                messages[index] += inbox
                yield from (report for _, report in outs)
        if call.purpose != keys.TRAIN or not any(g.algorithm.replies for g in self.plan.groups):
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
        for group in self.plan.groups:
            done = self.layout.reported(group)
            if group.algorithm.evidence == "losses":
                means = {n[1]: v for r in reports for n, v in r.losses.items() if n[0] == group.index}
                evidence[group.index] = records.reduce_losses(self.plan, done, means, len(group.passes))
                continue
            gradients: dict[int, dict] = {work.item.number: {} for work in done}
            for report in reports:
                for (g, index), tree in report.gradients.items():
                    if g == group.index:
                        gradients[index].update(tree)
            evidence[group.index] = records.reduce_gradients(self.plan, done, gradients)
        return evidence

"""A worker: what it does with its shards in one call; in an actor or in process, with the same bytes.

In a step it commits the previous record, sends its items to its devices stage by stage, and lets methods learn from
what they measured. It branches on route, signal, evidence and spread, never on a method's name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from algorithms import contracts
from orchestrator.core import kernels, ledger, records, spans, task
from orchestrator.core.bank import Banks
from orchestrator.core.layout import Layout, Segment
from orchestrator.core.passage import Passage
from orchestrator.core.plan import build
from orchestrator.core.shards import Shards, State
from orchestrator.core.streams import Stopped, Streams, through
from orchestrator.core.waves import waves
from orchestrator.core.work import Call, Message, Name, Report, Work
from orchestrator.spec import Run

Array = Any
Tree = Any


class Worker:
    """Hosts the shards of its lane that are at home with it: tiles with their devices, for every replica.

    Every call returns (message for other workers, report for the coordinator).
    """

    def __init__(self, run: Run, index: int, workers: int) -> None:
        self.data = task.dataset(run.data)
        self.plan = build(run, self.data.x_train.shape[1], self.data.n_classes)
        self.layout = Layout(self.plan, workers)
        self.index = index
        self.lane = self.layout.lane_of(index)
        self._fresh()
        self._turn = threading.Condition()
        self._waves: dict[int, int] = {}  # first stage of a segment -> the wave that is to begin next
        self._closed = False
        self._begun: tuple[int, int] | None = None
        self.settle: Callable[[], None] = lambda: None  # called before devices are used: waits for the journal

    def _fresh(self) -> None:
        stages = len(self.plan.stages)
        here = [name for name, w in self.lane.home.items() if w == self.index and name[0] < stages]
        self.shards = Shards(self.plan, here)
        self.passage = Passage(self.plan, self.data, self.shards)
        self.streams = Streams(self.shards.host) if self.shards.host else None

    def _done(self, segment: Segment, messages: dict[Name, Message], report: Report) -> tuple[dict, Report]:
        report.entries = [ledger.total(report.entries)] if report.entries else []
        report.pulled, self.shards.pulled = self.shards.pulled, None
        if segment.last <= len(self.plan.stages):
            return messages, report
        return {name: self.passage.errors[name] for name in messages if name in self.passage.errors}, report

    # --- calls ----------------------------------------------------------------------------------------------------

    def step(self, call: Call) -> tuple[None, Report]:
        """A whole network is here: forward, learn, reply, in one call."""
        segment = self.lane.segments[0]
        if self.shards.banks:
            return None, self._banks(call, self.shards.banks)
        errors, report = self.forward(call, segment)
        if errors:
            report.gradients.update(self.reply(call, segment, ("error",), errors)[1].gradients)
        return None, report

    def forward(self, call: Call, segment: Segment, *inbox: dict) -> tuple[dict, Report]:
        """Run the stages of a segment for the items of this lane; messages are for the next segment.

        The segment with the readout returns the errors instead (none in an evaluation).
        """
        report = Report(self.index)
        self._begin(call)
        items = [self.passage.item(call, work, segment, inbox, report) for work in self._work(call)]
        done = self.streams.values(self.streams.start(items)) if self.streams else map(through, items)
        return self._done(segment, dict(done), report)

    def wave(self, call: Call, segment: Segment, wave: int, *inbox: dict) -> tuple[dict, Report]:
        """`forward` of some of the items; while their devices measure, another thread brings those of the next wave.

        The first wave of a call carries the record; a wave begins after the one before has, whichever comes first.
        """
        report, now = Report(self.index), (call.step, call.purpose)
        with self._turn:
            if wave == 0:
                self._begin(call)
                self._waves[segment.first] = 0
                self._turn.notify_all()
            while self._begun != now or self._waves.get(segment.first) != wave:
                if self._closed:
                    raise Stopped("the devices are made safe")
                self._turn.wait()
            items = [self.passage.item(call, w, segment, inbox, report) for w in waves(self._work(call))[wave]]
            try:
                if self.streams is None:  # no device of a host in this segment
                    return self._done(segment, dict(map(through, items)), report)
                tasks = self.streams.start(items)
            finally:
                self._waves[segment.first] = wave + 1
                self._turn.notify_all()
        return self._done(segment, dict(self.streams.values(tasks)), report)

    def reply(self, call: Call, segment: Segment, kinds: tuple[str, ...], *inbox: dict) -> tuple[dict, Report]:
        """Learn from what the readout sends back; hand the cotangent of this segment's input to the one below.

        `kinds` says what each message of `inbox` is: "error", "cot" (from above), "peer" (outputs of sibling tiles).
        """
        report = Report(self.index)
        errors, cots, peers = ([m for k, m in zip(kinds, inbox, strict=True) if k == kind] for kind in _KINDS)
        below: dict[Name, dict[int, Array]] = {}
        for work in self._work(call):
            group = work.group
            if not group.algorithm.replies or segment.last <= group.lowest:
                continue
            chain = group.algorithm.route == "chain"
            error = next(m[work.name] for m in errors if work.name in m)
            signal = _summed([m[work.name] for m in cots]) if chain and cots else error
            for stage in reversed(range(segment.first, min(segment.last, len(self.plan.stages)))):
                learns = stage <= group.last and self.plan.stages[stage].trained
                if stage < group.lowest or not (chain or learns):
                    continue
                parts = self._learn(call, work, stage, signal, [m[work.name] for m in peers if work.name in m], report)
                if chain and stage > segment.first:
                    signal = _summed([parts])
                elif chain:
                    below[work.name] = parts
        return below, report

    def commit(self, record: records.Record | None) -> tuple[None, None]:
        """Apply the last record of a run."""
        self.shards.commit(record)
        return None, None

    def parameters(self) -> tuple[None, dict[tuple[int, int, int], Tree]]:
        """Parameters of the hosted tiles by (copy, stage, tile)."""
        return None, records.parameters(self.shards.tiles)

    def state(self) -> tuple[None, State]:
        """State of the hosted shards."""
        return None, self.shards.state()

    def stand(self, state: State | None) -> tuple[None, None]:
        """Begin where `state` stood, or (None) at the beginning of the run."""
        if self._begun is not None or any(tile.step for tile in self.shards.tiles.values()):
            self.shards.close()
            self._fresh()
        self._begun = None
        if state is not None:
            self.shards.restore(state)
        return None, None

    def walk(self, calls: list[Call]) -> tuple[None, None]:
        """Go through calls that were answered before, without measuring: commits and clocks, nothing else."""
        for call in calls:
            self._begin(call)
        return None, None

    def profile(self, wanted: bool) -> tuple[None, list[spans.Span]]:
        """What this process did when, since it was asked to keep that; from now on it does, or no more."""
        return None, spans.keep(wanted)

    def rest(self) -> tuple[None, None]:
        """Bring every device to its rest values for a while."""
        self.shards.rest()
        return None, None

    def close(self) -> tuple[None, None]:
        """Make every device safe."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        if self.streams is not None:
            self.streams.stop()
        self.shards.close()
        return None, None

    def _learn(
        self, call: Call, work: Work, stage: int, signal: Array, peers: list[Message], report: Report
    ) -> dict[int, Array]:
        """Gradients of the tiles of one stage that are here, and {tile: cotangent of what came into the stage}."""
        spec, group = self.plan.stages[stage], work.group
        h_in, parts, v, h, added = self.passage.traces[(work.name, stage)]
        if v is None:
            everywhere = {t: part for message in peers for t, part in message.parts.items()}
            v = kernels.join([everywhere[t] for t in sorted(everywhere)], spec.tile_by)
            h, added = self.passage.jittered(call, work, stage, kernels.decode(spec.whole, None, {}, v))
        x = kernels.encode(spec.encode, kernels.measured(h_in) if work.passes.tangents else h_in)
        cots: dict[int, Array] = {}
        for t in sorted(parts):
            params = self.shards.tile(work, stage, t).params
            x_t = kernels.rows(kernels.tile_input(spec, t, x), v)
            if spec.trained and group.first <= stage <= group.last:
                seen = contracts.Trace(x_t, v, h, self.passage.batch(call, work).y, added)
                names = group.algorithm, spec, t, len(self.plan.stages), self.plan.n_classes
                with spans.span(spans.DIGITAL, f"network[{stage}] learns"):
                    gradient, cot_x = spans.ready(kernels.learn(*names, params, self.passage.key, seen, signal))
                report.gradients.setdefault(work.name, {})[(stage, t)] = jax.tree.map(np.asarray, gradient)
            else:
                cot_x = kernels.pull(spec, t, params, x_t, v, signal)
            if cot_x is not None:
                cots[t] = kernels.hand_down(spec, t, h_in, cot_x)
        return cots

    def _banks(self, call: Call, banks: Banks) -> Report:
        """`step` with the chips of this lane many at a time."""
        report = Report(self.index)
        self._begin(call)
        for work in self._work(call):
            banks.measure(call, work, self.passage, report)
        report.entries = [ledger.total(report.entries)] if report.entries else []
        return report

    # --- bookkeeping ----------------------------------------------------------------------------------------------

    def _begin(self, call: Call) -> None:
        """Once a step, whichever segment comes first: commit, forget the last step, start the clocks."""
        if self._begun == (call.step, call.purpose):
            return
        self._begun = (call.step, call.purpose)
        self.shards.commit(call.record)
        self.passage.clear()
        self._waves.clear()
        if self.streams is not None:
            self.streams.fresh()
        self.shards.begin(call, self._work(call))
        self.settle()

    def _work(self, call: Call) -> list[Work]:
        """What this lane does."""
        return self.layout.work(self.lane, call)


_KINDS = ("error", "cot", "peer")


def _summed(parts: list[dict[int, Array]]) -> Array:
    """Cotangents from the tiles of the stage above, summed in the order of the tiles."""
    everything = {t: c for part in parts for t, c in part.items()}
    return kernels.add([everything[t] for t in sorted(everything)])

"""A worker: what it does with its shards in one call; in an actor or in process, with the same bytes.

In a step it commits the previous record, sends its items to its devices stage by stage, and lets methods learn from
what they measured. It branches on route, signal, evidence and spread, never on a method's name.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from algorithms import contracts
from orchestrator.core import kernels, keys, ledger, records, spans, task
from orchestrator.core.layout import Layout, Segment
from orchestrator.core.plan import build
from orchestrator.core.shards import Shards, State
from orchestrator.core.work import Call, Message, Name, Report, Trace, Work, all_work
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
        self.shards = self._fresh()
        self._begun: tuple[int, int] | None = None
        self._traces: dict[tuple[Name, int], Trace] = {}
        self._errors: dict[Name, Array] = {}

    def _fresh(self) -> Shards:
        stages = len(self.plan.stages)
        here = [name for name, w in self.lane.home.items() if w == self.index and name[0] < stages]
        return Shards(self.plan, here)

    # --- calls ----------------------------------------------------------------------------------------------------

    def step(self, call: Call) -> tuple[None, Report]:
        """A whole network is here: forward, learn, reply, in one call."""
        segment = self.lane.segments[0]
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
        out: dict[Name, Message] = {}
        for work in self._work(call):
            message = _merged(work, inbox) if inbox else Message(self._input(call, work), {})
            for stage in range(segment.first, segment.last):
                if stage == len(self.plan.stages):
                    self._readout(call, work, self._joined(message, stage), message.scores, report)
                elif self.plan.rows_at(work.group, work.passes, work.item, stage)[0]:
                    message = self._stage(call, work, stage, self._joined(message, stage), message.scores, report)
            out[work.name] = message
        report.entries = [ledger.total(report.entries)] if report.entries else []
        return (self._errors if segment.last > len(self.plan.stages) else out), report

    def reply(self, call: Call, segment: Segment, kinds: tuple[str, ...], *inbox: dict) -> tuple[dict, Report]:
        """Learn from the error of the readout; hand the cotangent of this segment's input to the one below.

        `kinds` says what each message of `inbox` is: "error", "cot" (from above), "peer" (outputs of sibling tiles).
        """
        report = Report(self.index)
        errors, cots, peers = ([m for k, m in zip(kinds, inbox, strict=True) if k == kind] for kind in _KINDS)
        below: dict[Name, dict[int, Array]] = {}
        for work in self._work(call):
            group = work.group
            if group.algorithm.signal != "error":
                continue
            chain = group.algorithm.route == "chain"
            error = next(m[work.name] for m in errors if work.name in m)
            signal = _summed([m[work.name] for m in cots]) if chain and cots else error
            for stage in reversed(range(segment.first, min(segment.last, len(self.plan.stages)))):
                if stage < group.first or (stage > group.last and not chain):
                    continue
                parts = self._learn(work, stage, signal, [m[work.name] for m in peers], report)
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
        return None, {name: jax.tree.map(np.asarray, tile.params) for name, tile in self.shards.tiles.items()}

    def state(self) -> tuple[None, State]:
        """State of the hosted shards."""
        return None, self.shards.state()

    def stand(self, state: State | None) -> tuple[None, None]:
        """Begin where `state` stood, or (None) at the beginning of the run."""
        if self._begun is not None or any(tile.step for tile in self.shards.tiles.values()):
            self.shards.close()
            self.shards = self._fresh()
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
        self.shards.close()
        return None, None

    # --- one item in one stage ------------------------------------------------------------------------------------

    def _stage(self, call: Call, work: Work, stage: int, h_in: Array, scores: Any, report: Report) -> Message:
        """Encode, measure every tile that is here, join and decode if all are; learn at once if the method is local."""
        spec, here = self.plan.stages[stage], self.shards.here(work, stage)
        x = kernels.encode(spec.encode, h_in)
        parts = {}
        for t in here:
            with spans.span(spans.PHYSICS, f"network[{stage}]"):
                parts[t], entry = spans.ready(self.shards.measure(call, work, stage, t, kernels.tile_input(spec, t, x)))
            report.entries += [entry] if entry else []
        if len(here) < len(spec.tiles):
            self._keep(call, work, stage, Trace(h_in, parts, None, None))
            return Message(None, parts, scores)
        v = kernels.join([parts[t] for t in here], spec.tile_by)
        params = self.shards.tile(work, stage, here[0]).params
        delta = self.shards.delta(work, stage, here[0]) if params["digital"] else None
        with spans.span(spans.DIGITAL, f"network[{stage}]"):
            h = spans.ready(kernels.decode(spec.whole, delta, params["digital"], v))
        self._keep(call, work, stage, Trace(h_in, parts, v, h))
        if spec.trained and work.group.first <= stage <= work.group.last:
            seen = contracts.Trace(kernels.rows(x, v), v, h)
            names = work.group.algorithm, spec, 0, len(self.plan.stages)
            if call.purpose != keys.TRAIN:
                score = kernels.score(*names, params, self._key, seen)
                scores = score if scores is None or score is None else scores + score
            elif work.group.algorithm.signal == "none":
                gradient, _ = kernels.learn(*names, params, self._key, seen, None)
                report.gradients.setdefault(work.name, {})[(stage, 0)] = jax.tree.map(np.asarray, gradient)
        return Message(h, {}, scores)

    def _keep(self, call: Call, work: Work, stage: int, trace: Trace) -> None:
        """For the reply, if there will be one."""
        if call.purpose == keys.TRAIN and any(g.algorithm.signal == "error" for g in self.plan.groups):
            self._traces[(work.name, stage)] = trace

    def _learn(self, work: Work, stage: int, signal: Array, peers: list[Message], report: Report) -> dict[int, Array]:
        """Gradients of the tiles of one stage that are here, and {tile: cotangent of what came into the stage}."""
        spec, group = self.plan.stages[stage], work.group
        h_in, parts, v, h = self._traces[(work.name, stage)]
        if v is None:
            everywhere = {t: part for message in peers for t, part in message.parts.items()}
            v = kernels.join([everywhere[t] for t in sorted(everywhere)], spec.tile_by)
            h = kernels.decode(spec.whole, None, {}, v)
        x = kernels.encode(spec.encode, h_in)
        cots: dict[int, Array] = {}
        for t in sorted(parts):
            params = self.shards.tile(work, stage, t).params
            x_t = kernels.rows(kernels.tile_input(spec, t, x), v)
            if spec.trained and group.first <= stage <= group.last:
                seen = contracts.Trace(x_t, v, h)
                names = group.algorithm, spec, t, len(self.plan.stages)
                with spans.span(spans.DIGITAL, f"network[{stage}] learns"):
                    gradient, cot_x = spans.ready(kernels.learn(*names, params, self._key, seen, signal))
                report.gradients.setdefault(work.name, {})[(stage, t)] = jax.tree.map(np.asarray, gradient)
            else:
                cot_x = kernels.pull(spec, t, params, x_t, v, signal)
            if cot_x is not None:
                cots[t] = kernels.hand_down(spec, t, h_in, cot_x)
        return cots

    def _input(self, call: Call, work: Work) -> np.ndarray:
        """Network input [1 or rows, batch, n] of an item, its labels laid over it."""
        labels = tuple(work.passes.label[r] for r in work.item.rows)
        return task.lay(self._batch(call, work), labels, self.plan.n_classes, self.plan.overlay)

    def _batch(self, call: Call, work: Work) -> task.Batch:
        lo, hi = work.item.lo, work.item.hi
        if call.purpose != keys.TRAIN:
            return task.test_batch(self.data, lo, hi, self.plan.run.train.evaluate_chunk)
        spec = self.plan.run.train
        return task.Batch(
            *(a[lo:hi] for a in task.batch(self.data, spec.seed, call.step, spec.batch, self.plan.overlay))
        )

    def _readout(self, call: Call, work: Work, h: Array, scores: Array | None, report: Report) -> None:
        """Losses of the rows, or the error to send back, or (evaluation) how many answers are right."""
        with spans.span(spans.DIGITAL, "readout"):
            self._read_out(call, work, h, scores, report)

    def _read_out(self, call: Call, work: Work, h: Array, scores: Array | None, report: Report) -> None:
        y = self._batch(call, work).y
        if call.purpose == keys.TRAIN:
            if work.group.algorithm.signal == "losses":
                report.losses[work.name] = records.loss_mean(task.losses(h, y))
            elif work.group.algorithm.signal == "error":
                self._errors[work.name] = task.error(h, y)
            return
        outputs = np.asarray(h[0] if scores is None else scores.T)
        n = work.item.hi - work.item.lo
        loss = float(np.sum(np.asarray(task.losses(outputs[None], y))[0, :n], dtype=np.float64))
        report.correct[work.name] = int(np.sum(np.argmax(outputs[:n], axis=-1) == y[:n])), loss

    # --- bookkeeping ----------------------------------------------------------------------------------------------

    def _begin(self, call: Call) -> None:
        """Once a step, whichever segment comes first: commit, forget the last step, start the clocks."""
        if self._begun == (call.step, call.purpose):
            return
        self._begun = (call.step, call.purpose)
        self.shards.commit(call.record)
        self._traces.clear()
        self._errors = {}
        self.shards.begin(call)

    def _work(self, call: Call) -> list[Work]:
        """What this lane does."""
        lanes = len(self.layout.lanes)
        return [w for w in all_work(self.plan, call) if w.item.number % lanes == self.lane.index]

    def _joined(self, message: Message, stage: int) -> Array:
        """The input of a stage: what the one below decoded, or its tiles joined and decoded here."""
        if message.h is not None:
            return message.h
        below = self.plan.stages[stage - 1]
        v = kernels.join([message.parts[t] for t in sorted(message.parts)], below.tile_by)
        return kernels.decode(below.whole, None, {}, v)

    @property
    def _key(self) -> Any:
        """The key that methods get for what never changes in a run."""
        return keys.derive(self.plan.seed, keys.METHOD)


_KINDS = ("error", "cot", "peer")


def _merged(work: Work, inbox: tuple[dict, ...]) -> Message:
    """One message from those of all workers of the segment below."""
    messages = [m[work.name] for m in inbox]
    return Message(messages[0].h, {t: p for m in messages for t, p in m.parts.items()}, messages[0].scores)


def _summed(parts: list[dict[int, Array]]) -> Array:
    """Cotangents from the tiles of the stage above, summed in the order of the tiles."""
    everything = {t: c for part in parts for t, c in part.items()}
    return kernels.add([everything[t] for t in sorted(everything)])

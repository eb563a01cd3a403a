"""How one item passes through the stages of a segment: encode, measure, join, decode, and at last the readout.

An item is a generator that yields what devices are asked (`orchestrator/core/streams.py`). Where two stages in a row
are on devices of a host, each row goes on by itself: while the second stage measures it, the first measures the next.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import jax
import numpy as np

from algorithms import contracts
from orchestrator.core import chain, kernels, keys, records, spans, task
from orchestrator.core.layout import Segment
from orchestrator.core.plan import Plan
from orchestrator.core.shards import Shards
from orchestrator.core.streams import Together
from orchestrator.core.work import Call, Message, Name, Report, Trace, Work
from orchestrator.data import Dataset

Array = Any
Steps = Generator[Any, Any, Any]


class Passage:
    """The items of a worker in one call after the other; `traces` and `errors` are kept for the reply."""

    def __init__(self, plan: Plan, data: Dataset, shards: Shards) -> None:
        self.plan, self.data, self.shards = plan, data, shards
        self.traces: dict[tuple[Name, int], Trace] = {}
        self.errors: dict[Name, Array] = {}

    def clear(self) -> None:
        """Forget the last call."""
        self.traces.clear()
        self.errors.clear()

    def item(self, call: Call, work: Work, segment: Segment, inbox: tuple[dict, ...], report: Report) -> Steps:
        """(name, message for the next segment) of one item."""
        message = _merged(work, inbox) if inbox else Message(self.inputs(call, work), {})
        stage = segment.first
        while stage < segment.last:
            end = stage + 1
            if segment.last > len(self.plan.stages) > stage == self._chain_at(call, work):
                self._chain(call, work, stage, self.joined(call, work, message, stage), report)
                end = segment.last
            elif stage == len(self.plan.stages):
                self._readout(call, work, self.joined(call, work, message, stage), message.scores, report)
            elif self.plan.rows_at(work.group, work.passes, work.item, stage)[0]:
                while end < segment.last and self.plan.flows(work.group, work.passes, work.item, end - 1):
                    end += 1
                ahead = self._stage if end == stage + 1 else self._flow
                h = self.joined(call, work, message, stage)
                message = yield from ahead(call, work, range(stage, end), h, message.scores, report)
            stage = end
        return work.name, message

    def joined(self, call: Call, work: Work, message: Message, stage: int) -> Array:
        """The input of a stage: what the one below decoded, or its tiles joined and decoded here."""
        if message.h is not None:
            return message.h
        below = self.plan.stages[stage - 1]
        v = kernels.join([message.parts[t] for t in sorted(message.parts)], below.tile_by)
        return self.jittered(call, work, stage - 1, kernels.decode(below.whole, None, {}, v))[0]

    def jittered(self, call: Call, work: Work, stage: int, h: Array) -> tuple[Array, Array | None]:
        """What goes on from a stage, and what was added to it, if activity is perturbed there."""
        spec, group = self.plan.stages[stage], work.group
        inside = call.purpose == keys.TRAIN and group.first <= stage <= group.last and spec.trained
        if not inside or work.passes.perturbs != "activity":
            return h, None
        key = keys.derive(self.plan.seed, keys.JITTER, work.item.replica, stage)
        words = np.array([call.step, group.index, work.item.lo], np.int32)
        probe, scale, _ = self.shards.probes(work, work.item.rows)
        if work.passes.tangents and len(h) == 1:  # nothing moves yet
            h = np.concatenate([h, np.zeros((len(probe) - 1, *h.shape[1:]), np.float32)])
        added = kernels.jitter(group.algorithm, (h.shape[1], spec.n_out), key, words, probe, scale)
        return kernels.add([h, added]), added

    def _stage(self, call: Call, work: Work, stages: range, h_in: Array, scores: Any, report: Report) -> Steps:
        """All rows in one stage: encode, measure every tile that is here, join and decode if all are."""
        (stage,) = stages
        spec, here = self.plan.stages[stage], self.shards.here(work, stage)
        x = kernels.encode(spec.encode, kernels.measured(h_in) if work.passes.tangents else h_in)
        measures = [self.shards.measure(call, work, stage, t, kernels.tile_input(spec, t, x)) for t in here]
        if len(here) == 1:
            measured = [(yield from measures[0])]
        elif spec.hosted:
            measured = yield Together(measures)
        else:
            measured = []
            for measure in measures:
                measured.append((yield from measure))
        parts = {t: v for t, (v, _) in zip(here, measured, strict=True)}
        report.entries += [entry for _, entry in measured if entry]
        if len(here) < len(spec.tiles):
            self._keep(call, work, stage, Trace(h_in, parts, None, None))
            return Message(None, parts, scores)
        v = kernels.join([parts[t] for t in here], spec.tile_by)
        if self.plan.flows(work.group, work.passes, work.item, stage):  # as if the stage above were here
            h = np.concatenate([self._decoded(work, stage, v[r : r + 1], r) for r in range(len(v))])
        else:
            h = self._decoded(work, stage, v)
        if work.passes.tangents and len(h_in) > 1:
            params = self.shards.tile(work, stage, 0).params
            h = kernels.stacked([h, kernels.tangents(spec, params, h_in, x, v)])
        h, added = self.jittered(call, work, stage, h)
        return self._seen(call, work, stage, x, Trace(h_in, parts, v, h, added), scores, report)

    def _flow(self, call: Call, work: Work, stages: range, h_in: Array, scores: Any, report: Report) -> Steps:
        """Row by row through several stages, each on a device of its own."""

        def row(r: int) -> Steps:
            h = h_in[min(r, len(h_in) - 1)][None]
            seen = []
            for stage in stages:
                spec = self.plan.stages[stage]
                x = kernels.encode(spec.encode, h)
                v, entry = yield from self.shards.measure(call, work, stage, 0, x, r)
                if entry:
                    report.entries.append(entry)
                alone = stage < stages[-1] or self.plan.flows(work.group, work.passes, work.item, stage)
                above = self._decoded(work, stage, v, r) if alone else None
                seen.append((h, x, v, above))
                h = above
            return seen

        def prepare() -> Steps:
            """While the first device measures: what the others will be made to write."""
            for stage in stages[1:]:
                self.shards.prepare(work, stage)
            yield from ()

        rows = range(len(self.plan.rows_at(work.group, work.passes, work.item, stages[0])[0]))
        measured = (yield Together([*map(row, rows), prepare()]))[:-1]
        message = Message(h_in, {}, scores)
        losses = call.purpose == keys.TRAIN and work.group.algorithm.evidence == "losses"
        for i, stage in enumerate(stages):
            if losses and stage < stages[-1]:
                continue  # nothing will be asked about it
            below, x, v, above = (
                None if several[0] is None else np.concatenate(several)
                for several in zip(*(seen[i] for seen in measured), strict=True)
            )
            h = self._decoded(work, stage, v) if above is None else above
            message = self._seen(call, work, stage, x, Trace(below, {0: v}, v, h), message.scores, report)
        return message

    def _chain_at(self, call: Call, work: Work) -> int:
        return self.plan.chain(work.group, work.passes, work.item) if call.purpose == keys.TRAIN else -1

    def _chain(self, call: Call, work: Work, first: int, h: Array, report: Report) -> None:
        """All rows through the digital stages that end the network, and their losses."""
        rows, links, digital, contexts = work.item.rows, [], [], []
        for spec in self.plan.stages[first:]:
            tile = self.shards.tile(work, spec.index, 0)
            _, moved = self.plan.rows_at(work.group, work.passes, work.item, spec.index)
            links.append(chain.Link(spec.whole, spec.encode, moved))
            digital.append(tile.params["digital"])
            contexts.append(tile.context if moved else ())
        probe, scale, sides = self.shards.probes(work, rows)
        about = tuple(links), contracts.Perturbation(work.group.algorithm), sides
        with spans.span(spans.DIGITAL, f"network[{first}:]"):
            losses = spans.ready(chain.losses(*about, digital, contexts, probe, scale, h, self.batch(call, work).y))
        report.losses[work.name] = records.loss_mean(losses)
        found = [self.shards.exact_entry(work, s.index, len(rows)) for s in self.plan.stages[first:]]
        report.entries += [entry for entry in found if entry]

    def _decoded(self, work: Work, stage: int, v: Array, row: int | None = None) -> Array:
        """v decoded, of all rows or of one."""
        tile = self.shards.tile(work, stage, self.shards.here(work, stage)[0])
        digital = tile.params["digital"]
        delta = self.shards.delta(work, stage, 0, row) if digital else None
        with spans.span(spans.DIGITAL, f"network[{stage}]"):
            return spans.ready(kernels.decode(self.plan.stages[stage].whole, delta, digital, v))

    def _keep(self, call: Call, work: Work, stage: int, trace: Trace) -> None:
        """For the reply, if there will be one."""
        if call.purpose == keys.TRAIN and work.group.algorithm.replies:
            self.traces[(work.name, stage)] = trace

    def _seen(self, call: Call, work: Work, stage: int, x: Array, trace: Trace, scores: Any, report: Report) -> Message:
        """Keep what a stage did; learn at once if the method is local, score if asked."""
        spec, v, h = self.plan.stages[stage], trace.v, trace.h
        assert v is not None and h is not None
        self._keep(call, work, stage, trace)
        wanted = call.purpose != keys.TRAIN or work.group.algorithm.signal == "none"
        if wanted and spec.trained and work.group.first <= stage <= work.group.last:
            seen = contracts.Trace(kernels.rows(x, v), v, h)
            names = work.group.algorithm, spec, 0, len(self.plan.stages), self.plan.n_classes
            params = self.shards.tile(work, stage, self.shards.here(work, stage)[0]).params
            if call.purpose != keys.TRAIN:
                score = kernels.score(*names, params, self.key, seen)
                scores = score if scores is None or score is None else kernels.add([scores, score])
            else:
                seen = seen._replace(y=self.batch(call, work).y)
                gradient, _ = kernels.learn(*names, params, self.key, seen, None)
                report.gradients.setdefault(work.name, {})[(stage, 0)] = jax.tree.map(np.asarray, gradient)
        return Message(h, {}, scores)

    def inputs(self, call: Call, work: Work) -> np.ndarray:
        """Network input [1 or rows, batch, n] of an item, its labels laid over it."""
        labels = tuple(work.passes.label[r] for r in work.item.rows)
        return task.lay(self.batch(call, work), labels, self.plan.n_classes, self.plan.overlay)

    def batch(self, call: Call, work: Work) -> task.Batch:
        """The samples of an item."""
        lo, hi = work.item.lo, work.item.hi
        if call.purpose != keys.TRAIN:
            return task.test_batch(self.data, lo, hi, self.plan.run.train.evaluate_chunk)
        spec, step = self.plan.run.train, call.step // self.plan.hold
        return task.Batch(
            *(a[lo:hi] for a in task.batch(self.data, spec.seed, step, spec.batch, self.plan.overlay, self.plan.mixes))
        )

    def _readout(self, call: Call, work: Work, h: Array, scores: Array | None, report: Report) -> None:
        """Losses of the rows, or the error to send back, or (evaluation) how many answers are right."""
        with spans.span(spans.DIGITAL, "readout"):
            self._read_out(call, work, h, scores, report)

    def _read_out(self, call: Call, work: Work, h: Array, scores: Array | None, report: Report) -> None:
        y = self.batch(call, work).y
        if call.purpose == keys.TRAIN:
            algorithm = work.group.algorithm
            if algorithm.evidence == "losses":
                report.losses[work.name] = records.loss_mean(task.losses(h, y))
            elif algorithm.replies:
                by_losses = task.slopes if work.passes.tangents else task.losses
                self.errors[work.name] = (by_losses if algorithm.signal == "losses" else task.error)(h, y)
            return
        outputs = np.asarray(h)[0] if scores is None else np.asarray(scores).T
        n = work.item.hi - work.item.lo
        loss = float(np.sum(np.asarray(task.losses(outputs[None], y))[0, :n], dtype=np.float64))
        report.correct[work.name] = int(np.sum(task.answers(outputs[:n]) == y[:n])), loss

    @property
    def key(self) -> Any:
        """The key that methods get for what never changes in a run."""
        return keys.derive(self.plan.seed, keys.METHOD)


def _merged(work: Work, inbox: tuple[dict, ...]) -> Message:
    """One message from those of all workers of the segment below."""
    messages = [m[work.name] for m in inbox]
    return Message(messages[0].h, {t: p for m in messages for t, p in m.parts.items()}, messages[0].scores)

"""A worker: the shards it hosts, and what it does in one call; in an actor or in process, with the same bytes.

In a step it commits the previous record, sends its items to its devices stage by stage, and lets methods learn from
what they measured. It branches on route, signal, evidence and spread, never on a method's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import numpy as np

from algorithms.contracts import Passes, Perturbation, Trace
from orchestrator.core import kernels, keys, records, task
from orchestrator.core.clock import Clock, Moment
from orchestrator.core.layout import Layout, Segment
from orchestrator.core.ledger import Entry, exact
from orchestrator.core.plan import Group, Item, Plan, build
from orchestrator.core.tile import Tile
from orchestrator.data import Dataset
from orchestrator.runfile import Run
from physics.contracts import Delta, Device, Request
from physics.driven import DrivenDevice
from physics.drivers.simulator import SimulatorDriver
from physics.simulated import SimulatedDevice

Array = Any
Tree = Any


class Call(NamedTuple):
    """What the coordinator sends in a step: its number, its purpose, the previous record, the batch (training)."""

    step: int
    purpose: int
    record: records.Record | None
    batch: task.Batch | None = None
    samples: int | None = None  # evaluation: how many test samples


class Message(NamedTuple):
    """What a stage hands on for one item: h [rows, batch, n], or the outputs of some tiles, to be joined; scores."""

    h: Array | None
    parts: dict[int, Array]
    scores: Array | None = None


@dataclass
class Report:
    """What comes back from one call. Keys of items are (group, index)."""

    worker: int
    losses: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # summed over samples, [rows]
    gradients: dict[tuple[int, int], dict] = field(default_factory=dict)
    correct: dict[tuple[int, int], tuple[int, float]] = field(default_factory=dict)  # right answers, loss summed
    entries: list[Entry] = field(default_factory=list)
    info: dict[str, float] = field(default_factory=dict)


class Work(NamedTuple):
    """One item of one group in one call."""

    group: Group
    passes: Passes
    item: Item

    @property
    def name(self) -> tuple[int, int]:
        return self.group.index, self.item.number


class Worker:
    """Hosts the shards of its lane that are at home with it: tiles with their devices, for every replica."""

    def __init__(self, run: Run, index: int, workers: int, dataset: Dataset | None = None) -> None:
        self.data = dataset or task.dataset(run.data)
        self.plan: Plan = build(run, self.data.x_train.shape[1], self.data.n_classes)
        self.layout = Layout(self.plan, workers)
        self.index = index
        self.lane = self.layout.lane_of(index)
        plan = self.plan
        hosted = [(s, t) for (s, t), w in self.lane.home.items() if w == index and s < len(plan.stages)]
        self.tiles = {(c, s, t): Tile(plan, c, s, t) for c in range(plan.copies) for s, t in hosted}
        self.devices = {(r, s, t): self._device(r, s, t) for r in range(plan.replicas) for s, t in hosted}
        self.clocks = {name: self._clock(name) for name in self.devices}
        self._moments: dict[tuple, list[Moment]] = {}
        self._traces: dict[tuple[tuple[int, int], int], tuple[Array, dict[int, Array], Array | None, Array | None]] = {}
        self._scheduled: tuple | None = None

    # --- calls ----------------------------------------------------------------------------------------------------

    def step(self, call: Call) -> tuple[None, Report]:
        """A whole network is here: forward, learn, reply, in one call."""
        segment = self.lane.segments[0]
        _, report = self.forward(call, segment)
        errors = self._errors
        if call.purpose == keys.TRAIN and errors:
            _, reply = self.reply(call, segment, ("error",), errors)
            report.gradients.update(reply.gradients)
        return None, report

    def forward(self, call: Call, segment: Segment, *inbox: dict) -> tuple[dict, Report]:
        """Run the stages of a segment for the items of this lane; returns messages for the next one."""
        report = Report(self.index)
        if call.record is not None:
            for tile in self.tiles.values():
                report.info.update(tile.commit(call.record.step, call.record.evidence))
        self._begin(call)
        out: dict[tuple[int, int], Message] = {}
        for work in self._work(call):
            message = self._merge(work, inbox) if inbox else self._input(call, work)
            for stage in range(segment.first, segment.last):
                if stage == len(self.plan.stages):
                    self._readout(call, work, self._joined(message, stage), message.scores, report)
                elif self.plan.rows_at(work.group, work.passes, work.item, stage)[0]:
                    message = self._stage(call, work, stage, self._joined(message, stage), message.scores, report)
            out[work.name] = message
        if segment.last > len(self.plan.stages):
            return self._errors, report
        return out, report

    def reply(self, call: Call, segment: Segment, kinds: tuple[str, ...], *inbox: dict) -> tuple[dict, Report]:
        """Learn from the error of the readout; hand the cotangent of this segment's input to the one below.

        `kinds` says what each message of `inbox` is: "error", "cot" (from above), "peer" (outputs of sibling tiles).
        """
        report = Report(self.index)
        by_kind: dict[str, list[dict]] = {"error": [], "cot": [], "peer": []}
        for kind, message in zip(kinds, inbox, strict=True):
            by_kind[kind].append(message)
        below: dict[tuple[int, int], dict[int, Array]] = {}
        for work in self._work(call):
            group = work.group
            if group.algorithm.signal != "error":
                continue
            error = next(m[work.name] for m in by_kind["error"] if work.name in m)
            cot = error
            if group.algorithm.route == "chain" and by_kind["cot"]:
                cot = _summed([m[work.name] for m in by_kind["cot"]])
            for stage in reversed(range(segment.first, min(segment.last, len(self.plan.stages)))):
                if stage < group.first or (group.algorithm.route == "broadcast" and stage > group.last):
                    continue
                signal = error if group.algorithm.route == "broadcast" else cot
                parts = self._learn(work, stage, signal, by_kind["peer"], report)
                if group.algorithm.route == "chain":
                    if stage > segment.first:
                        cot = _summed([parts])
                    else:
                        below[work.name] = parts
        return below, report

    def parameters(self) -> tuple[None, dict[tuple[int, int, int], Tree]]:
        """Parameters of the hosted tiles by (copy, stage, tile)."""
        return None, {name: jax.tree.map(np.asarray, tile.params) for name, tile in self.tiles.items()}

    def load(self, params: dict[tuple[int, int, int], Tree], step: int) -> tuple[None, None]:
        """Take the parameters of a run that ended after `step` commits."""
        for name, tile in self.tiles.items():
            tile.load(params[name], step)
        return None, None

    def commit(self, record: records.Record | None) -> tuple[None, None]:
        """Apply the last record of a run."""
        if record is not None:
            for tile in self.tiles.values():
                tile.commit(record.step, record.evidence)
        return None, None

    def close(self) -> tuple[None, None]:
        """Make every device safe."""
        for device in self.devices.values():
            device.close()
        return None, None

    # --- one item in one stage ------------------------------------------------------------------------------------

    def _input(self, call: Call, work: Work) -> Message:
        item, plan = work.item, self.plan
        if call.purpose == keys.TRAIN:
            assert call.batch is not None
            batch = task.Batch(*(a[item.lo : item.hi] for a in call.batch))
        else:
            batch = task.test_batch(self.data, item.lo, item.hi, plan.run.train.evaluate_chunk)
        labels = tuple(work.passes.label[r] for r in item.rows)
        self._targets[work.name] = batch.y
        return Message(task.lay(batch, labels, plan.n_classes, plan.overlay), {})

    def _stage(self, call: Call, work: Work, stage: int, h_in: Array, scores: Any, report: Report) -> Message:
        spec, item, plan = self.plan.stages[stage], work.item, self.plan
        rows, perturbed = plan.rows_at(work.group, work.passes, item, stage)
        x = kernels.encode(spec.encode, h_in) if spec.encode != "none" else h_in
        here = [t for t in range(len(spec.tiles)) if (item.replica, stage, t) in self.devices]
        copy, parts = plan.copy_of(item.replica), {}
        for t in here:
            tile = self.tiles[(copy, stage, t)]
            delta = self._delta(work, tile, rows) if perturbed else None
            x_t = kernels.tile_input(spec, t, x)
            if work.passes.on == "twin":
                words = np.array([call.purpose, call.step, work.group.index, item.lo], np.int32)
                key = keys.derive(plan.seed, keys.TWIN, item.replica, stage, t)
                row_keys = kernels.twin_keys(key, words, np.array(rows, np.int32))
                d = delta and (delta.context, delta.probe, delta.scale)
                fn = delta and delta.direction
                parts[t] = kernels.respond_twin(
                    tile.model, fn, work.passes.noisy, tile.params["device"], x_t, d, row_keys
                )
            else:
                parts[t] = self._execute(call, work, stage, t, x_t, rows, delta, perturbed, report)
        v = h = None
        if len(here) == len(spec.tiles):
            v = kernels.join([parts[t] for t in here], spec.tile_by)
            tile = self.tiles[(copy, stage, here[0])]
            delta = self._delta(work, tile, rows) if perturbed and tile.params["digital"] else None
            d = delta and (delta.context, delta.probe, delta.scale)
            h = kernels.decode(spec.whole, delta and delta.direction, tile.params["digital"], v, d)
        self._traces[(work.name, stage)] = (h_in, parts, v, h)
        algorithm = work.group.algorithm
        inside = work.group.first <= stage <= work.group.last
        if inside and spec.trained and h is not None:
            trace = Trace(np.broadcast_to(x, (len(rows), *x.shape[1:])) if x.shape[0] != len(rows) else x, v, h)
            if call.purpose != keys.TRAIN:
                s = kernels.score(algorithm, spec, len(plan.stages), tile.params, self._method_key, trace)
                scores = s if scores is None or s is None else scores + s
            elif algorithm.signal == "none":
                gradient, _ = kernels.learn(
                    algorithm, spec, 0, len(plan.stages), tile.params, self._method_key, trace, None
                )
                report.gradients.setdefault(work.name, {})[(stage, 0)] = jax.tree.map(np.asarray, gradient)
        return Message(h, {} if h is not None else parts, scores)

    def _execute(
        self,
        call: Call,
        work: Work,
        stage: int,
        t: int,
        x: Array,
        rows: tuple,
        delta: Any,
        perturbed: bool,
        report: Report,
    ) -> Array:
        item, spec = work.item, self.plan.stages[stage]
        moments = self._moments[(work.name, stage, t)]
        tile = self.tiles[(self.plan.copy_of(item.replica), stage, t)]
        samples = item.hi - item.lo
        request = Request(
            params=tile.params["device"],
            x=x,
            versions=self._versions(work, stage, tile, rows, perturbed),
            held=tuple(m.held for m in moments),
            requests=tuple((call.purpose, call.step, work.group.index, r) for r in rows),
            now=np.array([m.now for m in moments], np.float32),
            since=np.array([m.since for m in moments], np.float32),
            first_sample=item.lo,
            samples=samples,
            delta=delta,
        )
        reading = self.devices[(item.replica, stage, t)].execute(request)
        share = Fraction(reading.passes, len(self.plan.stages) * len(spec.tiles))
        report.entries.append(
            Entry(share, reading.calls, reading.writes, exact(reading.seconds), exact(reading.joules))
        )
        return reading.v

    def _learn(self, work: Work, stage: int, signal: Array, peers: list[dict], report: Report) -> dict[int, Array]:
        """Gradients of the tiles of one stage that are here, and {tile: cotangent of what came into the stage}."""
        spec, group = self.plan.stages[stage], work.group
        h_in, parts, v, h = self._traces[(work.name, stage)]
        copy = self.plan.copy_of(work.item.replica)
        x = kernels.encode(spec.encode, h_in) if spec.encode != "none" else h_in
        if v is None:
            everywhere = dict(parts)
            for message in peers:
                everywhere.update(message[work.name].parts)
            v = kernels.join([everywhere[t] for t in sorted(everywhere)], spec.tile_by)
            h = kernels.decode(spec.whole, None, {}, v, None)
        cots: dict[int, Array] = {}
        for t in sorted(parts):
            tile = self.tiles[(copy, stage, t)]
            x_t = kernels.tile_input(spec, t, x)
            x_t = np.broadcast_to(x_t, (v.shape[0], *x_t.shape[1:])) if x_t.shape[0] != v.shape[0] else x_t
            if spec.trained and group.first <= stage <= group.last:
                gradient, cot_x = kernels.learn(
                    group.algorithm,
                    spec,
                    t,
                    len(self.plan.stages),
                    tile.params,
                    self._method_key,
                    Trace(x_t, v, h),
                    signal,
                )
                report.gradients.setdefault(work.name, {})[(stage, t)] = jax.tree.map(np.asarray, gradient)
            else:
                cot_x = kernels.pull(spec, t, tile.params, x_t, v, signal)
            if cot_x is not None:
                cots[t] = kernels.hand_down(spec, t, h_in, cot_x)
        return cots

    def _readout(self, call: Call, work: Work, h: Array, scores: Array | None, report: Report) -> None:
        y = self._targets_of(call, work)
        if call.purpose == keys.TRAIN:
            if work.group.algorithm.signal == "losses":
                report.losses[work.name] = records.loss_sum(task.losses(h, y))
            elif work.group.algorithm.signal == "error":
                self._errors[work.name] = task.error(h, y)
            return
        outputs = np.asarray(h[0] if scores is None else scores.T)
        n = work.item.hi - work.item.lo
        loss = float(records.loss_sum(np.asarray(task.losses(outputs[None], y))[:, :n])[0])
        report.correct[work.name] = int(np.sum(np.argmax(outputs[:n], axis=-1) == y[:n])), loss

    # --- bookkeeping ----------------------------------------------------------------------------------------------

    def _begin(self, call: Call) -> None:
        """Once a call: forget the last step, and let the clock of every hosted chip run through ALL items."""
        token = (call.step, call.purpose)
        if self._scheduled == token:
            return
        self._scheduled = token
        self._traces.clear()
        self._moments.clear()
        self._targets: dict[tuple[int, int], np.ndarray] = {}
        self._errors: dict[tuple[int, int], Array] = {}
        for work in self._all_work(call):
            if work.passes.on == "twin":
                continue
            for (replica, stage, t), clock in self.clocks.items():
                if replica != work.item.replica:
                    continue
                rows, perturbed = self.plan.rows_at(work.group, work.passes, work.item, stage)
                tile = self.tiles[(self.plan.copy_of(replica), stage, t)]
                samples = work.item.hi - work.item.lo
                versions = self._versions(work, stage, tile, rows, perturbed)
                self._moments[(work.name, stage, t)] = [clock.row(v, samples) for v in versions]

    def _all_work(self, call: Call) -> Iterator[Work]:
        plan = self.plan
        if call.purpose == keys.TRAIN:
            for group, items in zip(plan.groups, plan.items, strict=True):
                for item in items:
                    yield Work(group, group.passes, item)
            return
        passes = plan.predicts
        if call.purpose == keys.PROMISE:
            passes = Passes(passes.probe, passes.scale, passes.label, on="twin", noisy=True)
        assert call.samples is not None
        for item in plan.evaluation_items(call.samples):
            yield Work(plan.groups[-1], passes, item)

    def _work(self, call: Call) -> list[Work]:
        """What this lane does."""
        lanes = len(self.layout.lanes)
        return [w for w in self._all_work(call) if w.item.number % lanes == self.lane.index]

    def _versions(self, work: Work, stage: int, tile: Tile, rows: tuple[int, ...], perturbed: bool) -> tuple:
        if perturbed and tile.params["device"]:
            return tuple((tile.changed, work.group.index + 1, r) for r in rows)
        return ((tile.changed, 0, 0),) * len(rows)

    def _delta(self, work: Work, tile: Tile, rows: tuple[int, ...]) -> Delta:
        passes = work.passes
        probe = np.array([passes.probe[r] for r in rows], np.int32)
        scale = np.array([passes.scale[r] for r in rows], np.float32)
        return Delta(Perturbation(work.group.algorithm), tile.context, probe, scale)

    def _joined(self, message: Message, stage: int) -> Array:
        """The input of a stage: what the one below decoded, or its tiles joined and decoded here."""
        if message.h is not None:
            return message.h
        below = self.plan.stages[stage - 1]
        v = kernels.join([message.parts[t] for t in sorted(message.parts)], below.tile_by)
        return kernels.decode(below.whole, None, {}, v, None)

    def _merge(self, work: Work, inbox: tuple[dict, ...]) -> Message:
        messages = [m[work.name] for m in inbox]
        parts = {t: p for m in messages for t, p in m.parts.items()}
        return Message(messages[0].h, parts, messages[0].scores)

    def _targets_of(self, call: Call, work: Work) -> np.ndarray:
        if work.name not in self._targets:
            self._input(call, work)
        return self._targets[work.name]

    @property
    def _method_key(self) -> Any:
        return keys.derive(self.plan.seed, keys.METHOD)

    def _clock(self, name: tuple[int, int, int]) -> Clock:
        model = self.plan.stages[name[1]].tiles[name[2]]
        return Clock(model.costs, bool(model.ports.params))

    def _device(self, replica: int, stage: int, t: int) -> Device:
        plan, spec = self.plan, self.plan.stages[stage]
        model = spec.tiles[t]
        chip = keys.derive(plan.chip_seed, keys.CHIP, replica, stage, t)
        noise = keys.derive(plan.seed, keys.NOISE, replica, stage, t)
        if spec.driven:
            serial = f"chip {replica}.{stage}.{t}"
            return DrivenDevice(SimulatorDriver(model, chip, noise, keys.NOISE_KEYS, serial))
        return SimulatedDevice(model, chip, noise, keys.NOISE_KEYS, plan.run.fleet.real_time)


def _summed(parts: list[dict[int, Array]]) -> Array:
    """Cotangents from the tiles of the stage above, summed in the order of the tiles."""
    everything = {t: c for part in parts for t, c in part.items()}
    return kernels.add([everything[t] for t in sorted(everything)])

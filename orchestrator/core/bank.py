"""Banks: the small chips of a large fleet, many in one compiled call (`network`), with one clock for each chip.

To coordinator and workers a bank is one piece of work whose `parts` are items of the same shape, one for each of its
chips. What is the same for all chips (parameters that they share, directions, inputs) is there once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from orchestrator.core import chain, keys, network, records, spans, task
from orchestrator.core.ledger import Entry
from orchestrator.core.plan import BANK, Plan, StagePlan
from orchestrator.core.shapes import shapes, sides
from orchestrator.core.tile import Tile
from orchestrator.core.work import Call, Report, Work, all_work
from physics.contracts import Refused
from physics.simulated import account, fabricate_all, forbidden

if TYPE_CHECKING:
    from orchestrator.core.passage import Passage

Array = Any
Tree = Any
NEVER = -1  # in place of the numbers of a version: nothing was written yet


def banks(plan: Plan, call: Call) -> list[Work]:
    """The work of a call: the n-th items of all chips of a bank together, as far as they have the same shape."""
    met: Counter[tuple[int, int]] = Counter()
    found: dict[tuple[int, ...], list[Work]] = {}
    for work in all_work(plan, call):
        chip, item = (work.group.index, work.item.replica), work.item
        name = (chip[0], item.replica // BANK, met[chip], len(item.rows), item.hi - item.lo)
        found.setdefault(name, []).append(work)
        met[chip] += 1
    return [_together(works) for works in found.values()]


def _together(works: list[Work]) -> Work:
    """Their rows are those of the first, if they are alike, or one after the other."""
    items = tuple(work.item for work in works)
    rows = items[0].rows
    if any(item.rows != rows for item in items):
        rows = tuple(row for item in items for row in item.rows)
    return works[0]._replace(item=items[0]._replace(rows=rows), parts=items)


class Moments(NamedTuple):
    """Of the rows of a stage, [chips, rows ...]: versions, whether each is a new write, now and since in seconds."""

    versions: np.ndarray
    new: np.ndarray
    now: np.ndarray
    since: np.ndarray


class Banks:
    """All banks of a fleet. Clocks, [stages, chips]: seconds now, the version held, when it was written."""

    def __init__(self, plan: Plan, tiles: dict[tuple[int, int, int], Tile]) -> None:
        self._plan, self._tiles = plan, tiles
        shape = len(plan.stages), plan.replicas
        self._now, self._written = np.zeros(shape), np.zeros(shape)
        self._held = np.full((*shape, 3), NEVER, np.int32)
        self._chips: dict[tuple[int, int], tuple] = {}
        self._moments: dict[tuple[tuple[int, int], int], Moments] = {}
        self._training: list[Work] | None = None

    # --- clocks ---------------------------------------------------------------------------------------------------

    def begin(self, call: Call) -> None:
        """Let the clock of every chip run through all that it does in a call, here or elsewhere."""
        trains = call.purpose == keys.TRAIN
        every = self._training if trains and self._training is not None else banks(self._plan, call)
        if trains:
            self._training = every  # the same in every step
        self._moments.clear()
        for work in every:
            for spec in self._plan.stages:
                if not spec.exact and work.passes.on != "twin":
                    self._moments[(work.name, spec.index)] = self._walk(work, spec)

    def _walk(self, work: Work, spec: StagePlan) -> Moments:
        """As `Clock.row`, for all chips of a bank."""
        chips, costs = _replicas(work), spec.whole.costs
        rows, moved = self._plan.rows_at(work.group, work.passes, work.parts[0], spec.index)
        samples = work.item.hi - work.item.lo
        tile, stage = self._tile(work, spec.index), spec.index
        versions = np.zeros((len(chips), len(rows), 3), np.int32)
        if moved and tile.params["device"]:
            versions[..., 0], versions[..., 1] = tile.step, work.group.index + 1
            versions[..., 2] = [part.rows for part in work.parts]
        else:
            versions[..., 0] = np.reshape(tile.changed, (-1, 1))
        now, held, written = self._now[stage, chips], self._held[stage, chips], self._written[stage, chips]
        found = Moments(versions, *(np.zeros(versions.shape[:2], kind) for kind in (bool, np.float32, np.float32)))
        for r in range(len(rows)):
            if spec.whole.ports.params:
                new = np.any(held != versions[:, r], axis=1)
                now = np.where(new, now + (costs.write_s or 0.0), now)
                held, written = versions[:, r], np.where(new, now, written)
                found.new[:, r] = new
            found.now[:, r], found.since[:, r] = now, now - written
            now = now + samples * (costs.pass_s or 0.0)
        self._now[stage, chips], self._held[stage, chips], self._written[stage, chips] = now, held, written
        return found

    def clocks(self) -> dict[str, tuple]:
        """(now, held, written) of every chip by REPLICA/STAGE/TILE."""
        found: dict[str, tuple] = {}
        for replica in range(self._plan.replicas):
            for s in range(len(self._plan.stages)):
                held = self._held[s, replica].tolist()
                told = None if held[0] == NEVER else tuple(held)
                found[f"{replica}/{s}/0"] = float(self._now[s, replica]), told, float(self._written[s, replica])
        return found

    def restore(self, clocks: dict[str, tuple]) -> None:
        """Stand where `clocks` stood."""
        for replica in range(self._plan.replicas):
            for s in range(len(self._plan.stages)):
                now, held, written = clocks[f"{replica}/{s}/0"]
                self._now[s, replica], self._written[s, replica] = now, written
                self._held[s, replica] = NEVER if held is None else held

    # --- work -----------------------------------------------------------------------------------------------------

    def measure(self, call: Call, work: Work, passage: Passage, report: Report) -> None:
        """What the chips of one piece of work answer, and what that cost, into the report. Raises `Refused`."""
        course, item = self._course(call, work), self._item(call, work, passage)
        stages = [self._stage(work, spec, course) for spec in course.stages]
        turns = len(work.parts) // chain.together(len(work.parts), _bytes(course, work.item.hi - work.item.lo))
        with spans.span(spans.PHYSICS, f"bank of {len(work.parts)} chips"):
            found = spans.ready(network.many(course, turns, passage.key, stages, item))
        for stage, ports in found.extents.items():
            self._check(call, work, stage, ports)
        report.entries += self._entries(work, course)
        if call.purpose != keys.TRAIN:
            n = work.item.hi - work.item.lo
            outputs, y = np.asarray(found.outputs)[:, :n], passage.batch(call, work).y[:n]
            losses = np.asarray(task.losses(outputs, y)).sum(axis=1, dtype=np.float64)
            right = np.sum(task.answers(outputs) == y, axis=1)
            for c, part in enumerate(work.parts):
                report.correct[(work.group.index, part.number)] = right[c].item(), losses[c].item()
        elif found.losses is not None:
            chips, rows, batch = found.losses.shape
            means = records.loss_mean(np.asarray(found.losses).reshape(-1, batch))
            report.losses[work.name] = means.reshape(chips, rows) if self._plan.stacked else means
        else:
            gradients = {(s, 0): jax.tree.map(np.asarray, gradient) for s, gradient in found.gradients.items()}
            report.gradients[work.name] = gradients

    def _course(self, call: Call, work: Work) -> network.Course:
        passes, part = work.passes, work.parts[0]
        ways = [self._plan.rows_at(work.group, passes, part, spec.index) for spec in self._plan.stages]
        length = sides(np.array([passes.probe[r] for r in part.rows], np.int32))
        counts, moved = tuple(len(rows) for rows, _ in ways), tuple(moved for _, moved in ways)
        how = keys.NOISE_KEYS, passes.on, passes.noisy, counts, moved, length, call.purpose == keys.TRAIN
        return network.Course(self._plan.stages, work.group, *how, self._plan.n_classes)

    def _item(self, call: Call, work: Work, passage: Passage) -> network.Item:
        passes, parts, about = work.passes, work.parts, (call.purpose, call.step, work.group.index)
        rows = np.array([part.rows for part in parts], np.int32)
        lo = np.array([part.lo for part in parts], np.int32)
        seen = [(part.lo, *(passes.label[r] for r in part.rows)) for part in parts]
        alone = [work._replace(item=part) for part in (parts if len(set(seen)) > 1 else parts[:1])]
        return network.Item(
            probe=_each(np.array(passes.probe, np.int32)[rows]),
            scale=_each(np.array(passes.scale, np.float32)[rows]),
            requests=_each(_named(about, rows)),
            row=_each(rows),
            words=_each(_named(about, lo)),
            first=_each(lo),
            x=_each(np.stack([passage.inputs(call, one) for one in alone])),
            y=_each(np.stack([passage.batch(call, one).y for one in alone])),
        )

    def _stage(self, work: Work, spec: StagePlan, course: network.Course) -> network.Stage:
        tile, rows = self._tile(work, spec.index), course.rows[spec.index]
        params, context = tile.params, tile.context if course.moved[spec.index] else ()
        if self._plan.stacked:
            params, context = network.Each(params), (*context[:1], *map(network.Each, context[1:]))
        moments = self._moments.get((work.name, spec.index))
        when: tuple = np.zeros((1, 3), np.int32), np.zeros(rows, np.float32), np.zeros(rows, np.float32)
        if moments is not None:  # else nothing is measured
            written = course.moved[spec.index] and bool(tile.params["device"])
            versions = moments.versions if written else moments.versions[:, :1]
            when = network.Each(versions), network.Each(moments.now), network.Each(moments.since)
        chips = (network.Each(tree) for tree in self._made(work, spec))
        return network.Stage(params, context, *chips, *when)

    def _made(self, work: Work, spec: StagePlan) -> tuple[Tree, Array, Array]:
        """The chips of the work, their keys, and those of their twins' noise; made when they are first needed."""
        first, plan = work.item.replica // BANK * BANK, self._plan
        size = min(BANK, plan.replicas - first)
        if (first, spec.index) not in self._chips:
            words = np.array([(replica, spec.index, 0) for replica in range(first, first + size)], np.int32)
            chip_keys = keys.derive_all(plan.chip_seed, keys.CHIP, words)
            noise, twin = (keys.derive_all(plan.seed, purpose, words) for purpose in (keys.NOISE, keys.TWIN))
            self._chips[(first, spec.index)] = fabricate_all(spec.whole, chip_keys), noise, twin
        found = self._chips[(first, spec.index)]
        return found if len(work.parts) == size else jax.tree.map(lambda leaf: leaf[_replicas(work) - first], found)

    def _tile(self, work: Work, stage: int) -> Tile:
        return self._tiles[(self._plan.copy_of(work.item.replica), stage, 0)]

    def _check(self, call: Call, work: Work, stage: int, extents: dict[str, Array]) -> None:
        """Raises `Refused` if a chip was given what its ports do not allow."""
        ports = self._plan.stages[stage].whole.ports
        for name, extent in extents.items():
            port, given = ports.params.get(name, ports.inputs), np.asarray(extent)
            legal = (given[:, 0] >= port.low) & (given[:, 1] <= port.high)  # not if one is NaN
            if not legal.all():
                c = int(np.argmin(legal))
                where = f"network[{stage}], chip {work.parts[c].replica}, step {call.step}"
                what = f"{type(self._plan.stages[stage].whole).__name__}: {forbidden(name, port, given[c])}"
                raise Refused(f"{where}: {what}. Nothing was written. {Refused.remedy}")

    def _entries(self, work: Work, course: network.Course) -> Iterator[Entry]:
        """What a device would account for in each stage, for all chips."""
        chips, samples, stages = len(work.parts), work.item.hi - work.item.lo, len(course.stages)
        for spec, rows in zip(course.stages, course.rows, strict=True):
            if rows == 0 or course.on == "twin":
                return
            passes, none = Fraction(chips * rows * samples, stages), Fraction(0)
            if spec.exact:
                yield Entry(passes, chips * rows, 0, none, none)
                continue
            writes = self._moments[(work.name, spec.index)].new.sum(axis=1).tolist()
            costs = [(n, account(spec.whole.costs, w, rows * samples)) for w, n in Counter(writes).items()]
            seconds = _sum([(n, s) for n, (s, _) in costs])
            yield Entry(passes, chips * rows, sum(writes), seconds, _sum([(n, j) for n, (_, j) in costs]))


def _sum(costs: list[tuple[int, float | None]]) -> Fraction | None:
    """Of n equal costs each, exactly; unknown if one is."""
    known = [n * Fraction(cost) for n, cost in costs if cost is not None]
    return sum(known, Fraction(0)) if len(known) == len(costs) else None


def _replicas(work: Work) -> np.ndarray:
    return np.array([part.replica for part in work.parts])


def _each(values: np.ndarray) -> Any:
    """Values of every chip, [chips or 1, ...]; those that are the same for all are there once."""
    if (values == values[:1]).all():
        return values[0]
    return network.Each(values)


def _named(about: tuple[int, ...], numbers: np.ndarray) -> np.ndarray:
    """int32 [..., words]: each number with the words about it before it."""
    return np.stack(np.broadcast_arrays(*about, numbers), axis=-1).astype(np.int32)


def _bytes(course: network.Course, batch: int) -> int:
    """What one chip leaves in memory at once, about: its cells, or what goes in and out of a stage."""
    found = [0]
    for spec, rows in zip(course.stages, course.rows, strict=True):
        cells = 2 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(spec.whole)))
        found.append(4 * rows * max(cells, batch * (spec.n_in + spec.n_out)))
    return max(found)

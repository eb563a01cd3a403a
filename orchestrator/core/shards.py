"""The shards of a worker: tiles with their devices and their clocks, and how one item is measured on one of them."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from algorithms.contracts import Perturbation
from orchestrator.core import kernels, keys, spans
from orchestrator.core.bank import Banks
from orchestrator.core.clock import Clock, Moment
from orchestrator.core.ledger import Entry, exact
from orchestrator.core.plan import Plan
from orchestrator.core.pulling import Pulled, pieces, pulled
from orchestrator.core.records import Record
from orchestrator.core.shapes import sides
from orchestrator.core.tile import Tile, commit_record, tiles
from orchestrator.core.work import Call, Work, all_work
from orchestrator.core.writes import Writes
from orchestrator.journal import crash
from physics.contracts import Delta, Device, DeviceError, Fitting, Reading, Request
from physics.driven import DrivenDevice
from physics.drivers.simulator import SimulatorDriver
from physics.hosted import Host, Instrument
from physics.simulated import SimulatedDevice

Array = Any


Rows = tuple[int, ...]
_NEVER = np.zeros(0, np.float32)


class Ask(NamedTuple):
    """A request for a device; of: what for, as a profile tells it."""

    device: Device
    request: Request
    of: str


class State(NamedTuple):
    """Flat arrays by COPY/STAGE/TILE/..., and (now, held, written) of the clocks by REPLICA/STAGE/TILE."""

    arrays: dict[str, np.ndarray]
    clocks: dict[str, tuple]


class Shards:
    """Tiles by (copy, stage, tile); devices and clocks by (replica, stage, tile), for the hosted (stage, tile)s."""

    def __init__(self, plan: Plan, hosted: Iterable[tuple[int, int]]) -> None:
        self.plan = plan
        hosted = list(hosted)
        self.tiles = tiles(plan, hosted)
        self.banks = Banks(plan, self.tiles) if plan.banked else None  # or a device and a clock for each chip
        names = [] if plan.banked else [(r, s, t) for r in range(plan.replicas) for s, t in hosted]
        apart = [name for name in names if plan.stages[name[1]].hosted]
        self.host = Host([_instrument(plan, *name) for name in apart], plan.pulls) if apart else None
        self.pulled: Pulled | None = None
        there: dict[tuple, Device] = dict(zip(apart, self.host.devices, strict=True)) if self.host else {}
        self.devices: dict[tuple, Device] = {n: there[n] if n in there else _device(plan, *n) for n in names}
        self._writes = Writes(plan, self.host.memory if self.host else None)
        self._clocks = {name: _clock(plan, name) for name in self.devices}
        self._walked = {n: c for n, c in self._clocks.items() if n not in there}  # instruments have their own
        self._moments: dict[tuple, list[Moment]] = {}
        self._probes: dict[tuple[int, Rows], tuple[np.ndarray, np.ndarray, int]] = {}

    def commit(self, record: Record | None) -> None:
        """Apply a record to every tile, once."""
        if record is None:
            return
        crash.reach("commit.before")
        with spans.span(spans.COMMIT):
            commit_record(self.tiles.values(), record)
        crash.reach("commit.after")

    def state(self) -> State:
        """All that a run has changed here so far."""
        arrays = {f"{_joined(n)}/{k}": v for n, tile in self.tiles.items() for k, v in tile.state().items()}
        clocks = {_joined(n): (c.now, c.held, c.written) for n, c in self._clocks.items()}
        if self.banks:
            clocks = self.banks.clocks()
        return State(arrays, clocks)

    def restore(self, state: State) -> None:
        """Stand where `state` stood; it may hold more than is hosted here. Raises ValueError if it does not fit."""
        by_tile: dict[str, dict[str, np.ndarray]] = {}
        for full, value in state.arrays.items():
            copy, stage, t, rest = full.split("/", 3)
            by_tile.setdefault(f"{copy}/{stage}/{t}", {})[rest] = value
        for name, tile in self.tiles.items():
            tile.restore(by_tile.get(_joined(name), {}))
        for name, clock in self._clocks.items():
            clock.now, held, clock.written = state.clocks[_joined(name)]
            clock.held = None if held is None else (held[0], held[1], held[2])
        if self.banks:
            self.banks.restore(state.clocks)

    def tile(self, work: Work, stage: int, t: int) -> Tile:
        """The tile whose parameters the item's replica holds."""
        return self.tiles[(self.plan.copy_of(work.item.replica), stage, t)]

    def here(self, work: Work, stage: int) -> list[int]:
        """Tiles of a stage that are hosted here."""
        return [t for t in range(len(self.plan.stages[stage].tiles)) if (work.item.replica, stage, t) in self.devices]

    def begin(self, call: Call, mine: list[Work]) -> None:
        """Let the clock of every simulated chip run through ALL items of a call, those of other clones too.

        mine: the items that are done here.
        """
        if self.banks:
            return self.banks.begin(call)
        self._moments.clear()
        self._writes.begin(mine, call.purpose == keys.TRAIN)
        if not self._walked:
            return
        for work in all_work(self.plan, call):
            if work.passes.on == "twin":
                continue
            samples = work.item.hi - work.item.lo
            for (replica, stage, t), clock in self._walked.items():
                if replica == work.item.replica and not self.plan.stages[stage].exact:
                    rows, perturbed = self.plan.rows_at(work.group, work.passes, work.item, stage)
                    versions = _versions(work, self.tile(work, stage, t), rows, perturbed)
                    self._moments[(work.name, stage, t)] = [clock.row(v, samples) for v in versions]

    def delta(self, work: Work, stage: int, t: int, row: int | None = None) -> Delta | None:
        """The perturbations of the rows that an item runs in a stage, or None if it is not perturbed there."""
        rows, perturbed = self.plan.rows_at(work.group, work.passes, work.item, stage)
        rows = rows if row is None else rows[row : row + 1]
        if not perturbed:
            return None
        probe, scale, length = self.probes(work, rows)
        return Delta(Perturbation(work.group.algorithm), self.tile(work, stage, t).context, probe, scale, length)

    def probes(self, work: Work, rows: Rows) -> tuple[np.ndarray, np.ndarray, int]:
        """(probe and scale of each row, how many rows next to each other share a probe); the same in every step."""
        name = work.group.index, rows
        if name not in self._probes:
            probe = np.array([work.passes.probe[r] for r in rows], np.int32)
            self._probes[name] = probe, np.array([work.passes.scale[r] for r in rows], np.float32), sides(probe)
        return self._probes[name]

    def exact_entry(self, work: Work, stage: int, rows: int) -> Entry | None:
        """The account of rows that a digital stage takes as they are; None for the twin's."""
        if work.passes.on == "twin":
            return None
        samples, tiles = rows * (work.item.hi - work.item.lo), len(self.plan.stages[stage].tiles)
        return Entry(Fraction(samples, len(self.plan.stages) * tiles), rows, 0, Fraction(0), Fraction(0))

    def measure(
        self, call: Call, work: Work, stage: int, t: int, x: Array, row: int | None = None
    ) -> Generator[list[Ask], list[Reading], tuple[Array, Entry | None]]:
        """(v [rows, batch, n_out], its account) of one tile for x [1 or rows, batch, n_in]; None for the twin's.

        row: the only one that is measured, of those of the item. A device is asked by what is yielded.
        """
        plan, item = self.plan, work.item
        rows, perturbed = plan.rows_at(work.group, work.passes, item, stage)
        which = slice(None) if row is None else slice(row, row + 1)
        samples, tiles = len(rows[which]) * (item.hi - item.lo), len(plan.stages) * len(plan.stages[stage].tiles)
        if plan.stages[stage].exact:
            return x, self.exact_entry(work, stage, len(rows[which]))
        if work.passes.on == "twin":
            with spans.span(spans.PHYSICS, f"twin of network[{stage}]"):
                return spans.ready(self._respond_twin(call, work, stage, t, x)), None
        make = self._hosted_request if plan.stages[stage].hosted else self._request
        device, request = self._device(work, stage, t), make(call, work, stage, t, x, rows, perturbed, which)
        try:
            (reading,) = yield [Ask(device, request, f"network[{stage}]")]
        except DeviceError as error:
            part = f", tile {t}" if len(plan.stages[stage].tiles) > 1 else ""
            chip = "" if work.parts else f", chip {item.replica}{part}"  # who pulls is told by the error
            where = f"network[{stage}]{chip}, step {call.step}"
            raise type(error)(f"{where}: {error} {error.remedy}") from error
        did = reading.calls, reading.writes, exact(reading.seconds), exact(reading.joules)
        if work.parts:
            self.pulled = pulled(work, reading)
        return reading.v, Entry(Fraction(samples + reading.dropped, tiles), *did)

    def _device(self, work: Work, stage: int, t: int) -> Device:
        if work.parts:
            assert self.host is not None and self.host.queue is not None
            return self.host.queue
        return self.devices[(work.item.replica, stage, t)]

    def _request(
        self, call: Call, work: Work, stage: int, t: int, x: Array, rows: Rows, perturbed: bool, which: slice
    ) -> Request:
        """Of a device in this process; the clock knows when each row is written."""
        tile, moments = self.tile(work, stage, t), self._moments[(work.name, stage, t)]
        return Request(
            params=tile.params["device"],
            x=x,
            versions=_versions(work, tile, rows, perturbed),
            held=tuple(m.held for m in moments),
            requests=_names(call, work, rows),
            now=np.array([m.now for m in moments], np.float32),
            since=np.array([m.since for m in moments], np.float32),
            first_sample=work.item.lo,
            samples=work.item.hi - work.item.lo,
            delta=self.delta(work, stage, t),
        )

    def _hosted_request(
        self, call: Call, work: Work, stage: int, t: int, x: Array, rows: Rows, perturbed: bool, which: slice
    ) -> Request:
        """Of a device elsewhere: it has a clock of its own, and is told what to write."""
        tile = self.tile(work, stage, t)
        written = self._writes.of(work, tile, (stage, t), rows, perturbed)
        return Request(
            params={},
            x=np.asarray(x),
            versions=_versions(work, tile, rows[which], perturbed),
            held=(),
            requests=_names(call, work, rows[which]),
            now=_NEVER,
            since=_NEVER,
            first_sample=work.item.lo,
            samples=work.item.hi - work.item.lo,
            written={k: v[which] if len(v) > 1 else v for k, v in written.items()},
            pieces=pieces(work),
        )

    def _respond_twin(self, call: Call, work: Work, stage: int, t: int, x: Array) -> Array:
        rows, _ = self.plan.rows_at(work.group, work.passes, work.item, stage)
        tile, delta = self.tile(work, stage, t), self.delta(work, stage, t)
        words = np.array([call.purpose, call.step, work.group.index, work.item.lo], np.int32)
        key = keys.derive(self.plan.seed, keys.TWIN, work.item.replica, stage, t)
        row_keys = kernels.twin_keys(key, words, np.array(rows, np.int32))
        device, noisy = tile.params["device"], work.passes.noisy
        return kernels.respond_twin(tile.model, *kernels.split(delta), noisy, device, x, row_keys)

    def prepare(self, work: Work, stage: int) -> None:
        """Make what an item will write to a device of a host."""
        rows, perturbed = self.plan.rows_at(work.group, work.passes, work.item, stage)
        self._writes.of(work, self.tile(work, stage, 0), (stage, 0), rows, perturbed)

    def rest(self) -> None:
        """Bring every device to its rest values; the next request writes anew."""
        for device in self.devices.values():
            device.rest()

    def close(self) -> None:
        """Make every device safe and let it go."""
        for device in self.devices.values():
            device.close()
        if self.host:
            self.host.close()


def _names(call: Call, work: Work, rows: Rows) -> tuple:
    """What each row answers."""
    return tuple((call.purpose, call.step, work.group.index, r) for r in rows)


def _joined(name: tuple[int, int, int]) -> str:
    return "/".join(map(str, name))


def _versions(work: Work, tile: Tile, rows: tuple[int, ...], perturbed: bool) -> tuple:
    """The name of the write of each row: that of the last commit that moved the device, or of the perturbed row."""
    if perturbed and tile.params["device"]:
        return tuple((tile.step, work.group.index + 1, r) for r in rows)
    return ((tile.changed, 0, 0),) * len(rows)


def _clock(plan: Plan, name: tuple[int, int, int]) -> Clock:
    model = plan.stages[name[1]].tiles[name[2]]
    return Clock(model.costs, bool(model.ports.params))


def _instrument(plan: Plan, replica: int, stage: int, t: int) -> Instrument:
    spec, model = plan.stages[stage], plan.stages[stage].tiles[t]
    assert spec.driver is not None
    fitting = Fitting(model.ports, model.n_in, model.n_out, f"chip {replica}.{stage}.{t}")
    return Instrument(spec.driver.name, spec.driver.on(replica), fitting)


def _device(plan: Plan, replica: int, stage: int, t: int) -> Device:
    model = plan.stages[stage].tiles[t]
    chip = keys.derive(plan.chip_seed, keys.CHIP, replica, stage, t)
    noise = keys.derive(plan.seed, keys.NOISE, replica, stage, t)
    if plan.stages[stage].driven:
        serial = f"chip {replica}.{stage}.{t}"
        return DrivenDevice(SimulatorDriver(model, chip, noise, keys.NOISE_KEYS, serial))
    return SimulatedDevice(model, chip, noise, keys.NOISE_KEYS, plan.run.fleet.real_time)

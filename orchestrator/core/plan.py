"""The plan of a run: its stages, groups and items of work. A pure function of the run file; workers do not enter it.

An ITEM is the smallest piece of work: one replica, some rows (settings of the parameters), some samples of the batch.
Its shape is fixed by the run file, so its bits are the same on any worker; workers only divide the items among them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from algorithms import registry as methods
from algorithms.contracts import AS_IS, MIXED, Algorithm, Passes, Place
from orchestrator.core.optimiser import Optimiser
from orchestrator.core.shapes import bundles, shapes, size
from physics import registry as substrates
from physics.contracts import EXACT, Model

if TYPE_CHECKING:
    from orchestrator.spec import Driver, Run, Stage


BANK, FEWEST = 128, 64  # chips that go together; a smaller fleet goes chip by chip
SMALL = 1 << 14  # parameters of a chip that goes with others


class Item(NamedTuple):
    """One replica, some rows of a group's passes, samples lo..hi of the batch."""

    number: int
    replica: int
    rows: tuple[int, ...]
    lo: int
    hi: int


class Instruments(NamedTuple):
    """A driver by name, its options, and those that are others on some chips."""

    name: str
    options: tuple[tuple[str, Any], ...]
    chips: tuple[tuple[int, tuple[tuple[str, Any], ...]], ...]

    def on(self, replica: int) -> dict[str, Any]:
        """The options on one chip."""
        return {**dict(self.options), **dict(dict(self.chips).get(replica, ()))}


@dataclass(frozen=True)
class StagePlan:
    """One stage: `whole` decodes; `tiles` are measured, tile t over `slices[t]` of the outputs or of the inputs."""

    index: int
    n_in: int
    n_out: int
    whole: Model
    tiles: tuple[Model, ...]
    slices: tuple[tuple[int, int], ...]
    tile_by: str
    encode: str
    trained: bool
    driven: bool
    group: int
    driver: Instruments | None = None  # if it needs no JAX

    @property
    def hosted(self) -> bool:
        """Measured in the process of a host, while the worker does other things."""
        return self.driver is not None

    @property
    def exact(self) -> bool:
        """Digital arithmetic without a device: its measurement is its input."""
        return EXACT in self.whole.capabilities and not self.driven


@dataclass(frozen=True)
class Group:
    """Consecutive stages with one method."""

    index: int
    first: int
    last: int  # inclusive
    lowest: int  # the first trained one: what the readout sends goes no further down
    algorithm: Algorithm
    optimiser: Optimiser
    passes: Passes
    size: int  # trained parameters

    @property
    def margin(self) -> float:
        """How far a perturbed write may lie from the parameters: commits keep this distance from the limits."""
        if self.passes.perturbs != "params":
            return 0.0
        return max(map(abs, self.passes.scale)) * self.algorithm.reach()


@dataclass(frozen=True)
class Plan:
    """All that workers and coordinator must agree on, built from a run and the shape of its data."""

    run: Run
    stages: tuple[StagePlan, ...]
    groups: tuple[Group, ...]
    n_features: int
    n_classes: int
    overlay: bool  # whether labels are laid over inputs
    mixes: bool  # whether samples are mixed with others

    @property
    def replicas(self) -> int:
        return self.run.fleet.replicas

    @property
    def seed(self) -> int:
        return self.run.train.seed

    @property
    def chip_seed(self) -> int:
        seed = self.run.fleet.seed
        return self.seed if seed is None else seed

    @cached_property
    def banked(self) -> bool:
        """Whether the chips, small, simulated and many, go through compiled calls together (`core/bank.py`)."""
        train, fleet = self.run.train, self.run.fleet
        if self.pulls or train.placement != "clones" or fleet.real_time or fleet.replicas < FEWEST:
            return False
        if self.trims or any(g.passes.perturbs == "activity" for g in self.groups):
            return False
        sizes = sum(size(shapes(s.whole)) for s in self.stages)
        chips = any(not s.exact for s in self.stages)
        return chips and sizes <= SMALL and all(len(s.tiles) == 1 and not s.driven for s in self.stages)

    @property
    def stacked(self) -> bool:
        """Whether the parameters of the chips of a bank are held and committed together, along a leading axis."""
        return self.banked and self.run.fleet.share == "own"

    def copy_of(self, replica: int) -> int:
        """Which set of parameters a replica holds: its own (the first of its bank), or the one that tied ones share."""
        own = replica // BANK * BANK if self.stacked else replica
        return own if self.run.fleet.share != "tied" else 0

    @property
    def held(self) -> tuple[range, ...]:
        """The copies, as they are held together; each by itself unless they are stacked."""
        step = BANK if self.stacked else 1
        return tuple(range(lo, min(lo + step, self.copies)) for lo in range(0, self.copies, step))

    @property
    def copies(self) -> int:
        return self.replicas if self.run.fleet.share != "tied" else 1

    @property
    def rounds(self) -> int:
        """How many times the passes of a step are made: once for each chip, or divided among the chips."""
        return self.replicas if self.run.fleet.share == "own" else 1

    @property
    def trims(self) -> bool:
        """Whether the parameters of a chip are a base that all share and a trim of its own."""
        return self.run.fleet.share == "base+trim"

    @property
    def pulls(self) -> bool:
        """Whether chips take the items of a step as they become idle, whatever replica an item names."""
        return self.run.train.mode == "fastest"

    @cached_property
    def items(self) -> tuple[tuple[Item, ...], ...]:
        """Training items of each group, in the order in which everything about them is summed."""
        return tuple(self._items(g.passes, g.algorithm.spread) for g in self.groups)

    def _items(self, passes: Passes, spread: str) -> tuple[Item, ...]:
        batch, chunk = self.run.train.batch, min(self.run.train.chunk, self.run.train.batch)
        if spread == "probes":
            parts = [(rows, 0, batch) for rows in bundles(passes.probe, self.run.train.rows)]
        else:
            rows = tuple(range(len(passes)))
            parts = [(rows, lo, lo + chunk) for lo in range(0, batch, chunk)]
        own = self.run.fleet.share == "own"
        found: list[Item] = []
        for replica in range(self.rounds):
            for i, (rows, lo, hi) in enumerate(parts):
                found.append(Item(len(found), replica if own else i % self.replicas, rows, lo, hi))
        return tuple(found)

    def evaluation_items(self, samples: int) -> tuple[Item, ...]:
        """Items of one evaluation of all replicas; the last chunk of each is padded."""
        chunk = self.run.train.evaluate_chunk
        rows = tuple(range(len(self.predicts)))
        spans = [(lo, min(lo + chunk, samples)) for lo in range(0, samples, chunk)]
        return tuple(
            Item(r * len(spans) + i, r, rows, lo, hi) for r in range(self.replicas) for i, (lo, hi) in enumerate(spans)
        )

    @cached_property
    def predicts(self) -> Passes:
        """The passes of one prediction: those of the group that holds the last stage."""
        return self.groups[-1].algorithm.predict(self.n_classes)

    def rows_at(self, group: Group, passes: Passes, item: Item, stage: int) -> tuple[tuple[int, ...], bool]:
        """(rows that a stage runs for an item, whether they are perturbed there); no rows: the stage is not run.

        Below its group all rows are alike unless their labels differ, and run once.
        """
        if group.algorithm.signal == "none" and stage > group.last and passes is group.passes:
            return (), False
        alike = len(set(passes.label)) == 1
        if passes.tangents:
            return item.rows[:1], False
        if alike and (stage < group.first or passes.perturbs == "nothing"):
            return item.rows[:1], False
        if alike and passes.perturbs == "activity" and not any(s.trained for s in self.stages[group.first : stage]):
            return item.rows[:1], False  # what is added to outputs is added after the first stage that learns
        inside = group.first <= stage <= group.last
        return item.rows, passes.perturbs == "params" and inside and self.stages[stage].trained

    def flows(self, group: Group, passes: Passes, item: Item, stage: int) -> bool:
        """Whether every row goes on to the next stage by itself, so that both stages measure at the same time."""
        pair = self.stages[stage : stage + 2]
        if (
            len(pair) < 2
            or passes.on == "twin"
            or passes.perturbs == "activity"
            or not all(s.hosted and len(s.tiles) == 1 for s in pair)
        ):
            return False
        here, above = (self.rows_at(group, passes, item, s.index)[0] for s in pair)
        return here == above

    def chain(self, group: Group, passes: Passes, item: Item) -> int:
        """The first of the digital stages that end the network and go to their losses in one call; else their number.

        They see the same rows, and are in one worker wherever that may be (`orchestrator/core/chain.py`).
        """
        first = len(self.stages)
        if group.algorithm.evidence != "losses" or passes is not group.passes or self.run.train.placement != "clones":
            return first
        for stage in reversed(self.stages):
            alike = self.rows_at(group, passes, item, stage.index)[0] == item.rows
            if not (alike and stage.exact and len(stage.tiles) == 1 and hasattr(stage.whole, "share")):
                break
            first = stage.index
        return first

    @cached_property
    def hosted(self) -> bool:
        return any(stage.hosted for stage in self.stages)

    @property
    def hold(self) -> int:
        """For how many steps a batch stays; the same for all groups."""
        return self.groups[0].algorithm.hold()

    def parameters(self) -> tuple[int, int]:
        """(physical, digital) trained parameters of one copy."""
        trained = [shapes(model) for stage in self.stages if stage.trained for model in stage.tiles]
        return sum(size(tree["device"]) for tree in trained), sum(size(tree["digital"]) for tree in trained)

    def place(self, stage: int, t: int) -> Place:
        """Where the trained parameters of a tile stand among those of its group."""
        group = self.groups[self.stages[stage].group]
        before = [m for s in self.stages[group.first : stage] if s.trained for m in s.tiles]
        return Place(sum(size(shapes(m)) for m in [*before, *self.stages[stage].tiles[:t]]), group.size)


def build(run: Run, n_features: int, n_classes: int) -> Plan:
    """The plan of a valid run."""
    chosen = [stage.method or run.method for stage in run.network]
    bounds: list[list[int]] = []
    for i, method in enumerate(chosen):
        if bounds and chosen[bounds[-1][1]] == method:
            bounds[-1][1] = i
        else:
            bounds.append([i, i])
    algorithms = [methods.load(chosen[first].name)(**chosen[first].options) for first, _ in bounds]
    labels = {label for a in algorithms for label in (*a.passes().label, *a.predict(2).label)}
    overlay = bool(labels - {AS_IS, MIXED})
    group_of = {i: g for g, (first, last) in enumerate(bounds) for i in range(first, last + 1)}
    stages, width = [], n_features + (n_classes if overlay else 0)
    for i, spec in enumerate(run.network):
        stages.append(_stage(run, i, spec, width, group_of[i]))
        width = spec.size
    groups = []
    for g, (first, last) in enumerate(bounds):
        trained = [s for s in stages[first : last + 1] if s.trained]
        n, algorithm = sum(size(shapes(m)) for s in trained for m in s.tiles), algorithms[g]
        lowest = trained[0].index if trained else len(stages)
        optimiser = Optimiser.of(chosen[first], run.train.steps, itself=algorithm.steps == "itself")
        groups.append(Group(g, first, last, lowest, algorithm, optimiser, algorithm.passes(max(n, 1)), n))
    return Plan(run, tuple(stages), tuple(groups), n_features, n_classes, overlay, MIXED in labels)


def _stage(run: Run, i: int, spec: Stage, n_in: int, group: int) -> StagePlan:
    cls = substrates.load(spec.substrate)
    known = {f.name for f in fields(cls)}
    fleet = {k: v for k, v in run.fleet.options.items() if k in known}
    options = {**fleet, **spec.options, "decode_as": spec.decode}

    def model(n_in: int, n_out: int) -> Model:
        return cls(n_in=n_in, n_out=n_out, **options)

    whole = model(n_in, spec.size)
    length = spec.size if spec.tile_by == "outputs" else n_in
    cuts = [length * t // spec.tiles for t in range(spec.tiles + 1)]
    slices = tuple(zip(cuts[:-1], cuts[1:], strict=True))
    tiles: tuple[Model, ...]
    if spec.tiles == 1:
        tiles = (whole,)
    elif spec.tile_by == "outputs":
        tiles = tuple(model(n_in, hi - lo) for lo, hi in slices)
    else:
        tiles = tuple(model(hi - lo, spec.size) for lo, hi in slices)
    driven = spec.device == "driven"
    driver = _instruments(spec.driver) if driven and spec.driver else None
    how = spec.tile_by, spec.encode, spec.trained, driven, group, driver
    return StagePlan(i, n_in, spec.size, whole, tiles, slices, *how)


def _instruments(spec: Driver) -> Instruments:
    chips = tuple((chip.replica, tuple(sorted(chip.options.items()))) for chip in spec.chips)
    return Instruments(spec.name, tuple(sorted(spec.options.items())), chips)

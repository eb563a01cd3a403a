"""The history of a run, as its journal tells it: how far it came, what it cost, and how to stand there again.

Kinds of records, in the order in which a run writes them:
    start      the run that the journal belongs to; from_snapshot: the steps before were in a journal that is damaged
    session    a process began or went on
    step       one step: evidence (arrays) or its digest, loss, account
    point      one evaluation: accuracies, loss, account
    snapshot   the state after so many steps is in a file
    rewind     steps after that snapshot are void: of some of them only a digest is known
    end        the result
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator.core import ledger, records
from orchestrator.core.plan import Plan
from orchestrator.core.records import Record
from orchestrator.journal.frames import Damage, Event


@dataclass(frozen=True)
class Point:
    """One point of the curve: accuracy and loss after `passes` training passes, by replica."""

    step: int
    passes: float
    accuracies: tuple[float, ...]
    loss: float

    def json(self) -> dict[str, Any]:
        """JSON knows no NaN and no infinity."""
        return {**vars(self), "loss": self.loss if math.isfinite(self.loss) else None}


@dataclass
class Told:
    """What has been journalled so far."""

    steps: int = 0
    curve: list[Point] = field(default_factory=list)
    promised: Point | None = None
    ledger: ledger.Ledger = field(default_factory=ledger.Ledger)
    wall_s: float = 0.0

    def json(self) -> dict[str, Any]:
        """For a snapshot, which must be able to stand in for a journal."""
        by_worker = {kind: ledger.write(account) for kind, account in self.ledger.by_worker.items()}
        points = [p.json() for p in self.curve]
        return {
            "steps": self.steps,
            "curve": points,
            "ledger": by_worker,
            "wire_bytes": self.ledger.wire_bytes,
            "wall_s": self.wall_s,
        }

    @classmethod
    def of(cls, told: dict[str, Any]) -> Told:
        found = cls(told["steps"], [_point(p) for p in told["curve"]], wall_s=told["wall_s"])
        for kind, account in told["ledger"].items():
            found.ledger.take(kind, ledger.read(account))
        found.ledger.wire_bytes = told["wire_bytes"]
        return found


class Live(NamedTuple):
    """A record that counts: its kind, the step it names, whether it has only a digest, where it lies."""

    kind: str
    step: int
    digest: bool
    offset: int


class Mark(NamedTuple):
    """What was told at a snapshot, and how many live records there were."""

    live: int
    told: Told
    parameters_sha256: str | None


@dataclass
class History:
    """Everything but the evidence, which is read again where it is needed."""

    start: dict[str, Any] = field(default_factory=dict)
    session: dict[str, Any] | None = None
    told: Told = field(default_factory=Told)
    result: dict[str, Any] | None = None
    live: list[Live] = field(default_factory=list)
    marks: dict[int, Mark] = field(default_factory=dict)
    end: int = 0  # of the last whole record
    hash: bytes = b""
    first: int = 0  # the step before which nothing is in this journal

    def base(self, usable: Iterable[int]) -> int:
        """The step of the newest snapshot among `usable` that the journal knows, or where the journal begins."""
        return max((s for s in usable if s in self.marks), default=self.first)

    def replayable(self, base: int) -> int:
        """The step that replay from a snapshot reaches: before the first of which only a digest is known."""
        after = self.live[self.marks[base].live :]
        return next((e.step for e in after if e.kind == "step" and e.digest), self.told.steps)

    def rewind(self, step: int) -> None:
        """Forget what came after a snapshot."""
        mark = self.marks[step]
        del self.live[mark.live :]
        self.told = copy.deepcopy(mark.told)
        self.marks = {s: m for s, m in self.marks.items() if s <= step}


def read(events: Iterable[Event]) -> History:
    """Raises `Damage` if the records make no sense together."""
    history = History()
    for event in events:
        if not history.start and event.kind != "start":
            raise Damage(event.offset, "the first record is not the start of a run")
        try:
            _take(history, event)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise Damage(event.offset, f"a record of kind {event.kind!r} makes no sense here ({error})") from None
        history.end, history.hash = event.end, event.hash
    return history


def _take(history: History, event: Event) -> None:
    meta, told = event.meta, history.told
    if event.kind == "start":
        history.start = meta
        if meta.get("from_snapshot"):
            history.told = Told.of(meta["from_snapshot"])
        history.first = history.told.steps
        history.marks[history.first] = Mark(0, copy.deepcopy(history.told), None)
    elif event.kind == "session":
        history.session = meta
    elif event.kind == "step":
        if meta["step"] != told.steps:
            raise ValueError(f"step {meta['step']} follows {told.steps - 1}")
        told.steps += 1
        told.ledger.take("train", ledger.read(meta["account"]))
        told.ledger.wire_bytes += meta["wire_bytes"]
        told.wall_s = meta["wall_s"]
        history.live.append(Live("step", meta["step"], "digest" in meta, event.offset))
    elif event.kind == "point":
        told.ledger.take("evaluate", ledger.read(meta["account"]))
        point = _point(meta)
        if meta["purpose"] == "promise":
            told.promised = point
        else:
            told.curve.append(point)
            history.live.append(Live("point", meta["step"], False, event.offset))
    elif event.kind == "snapshot":
        history.marks[meta["step"]] = Mark(len(history.live), copy.deepcopy(told), meta["parameters_sha256"])
    elif event.kind == "rewind":
        history.rewind(meta["step"])
    elif event.kind == "end":
        history.result = meta["result"]
    else:
        raise ValueError("this program does not know it")


def _point(meta: dict[str, Any]) -> Point:
    loss = math.nan if meta["loss"] is None else meta["loss"]
    return Point(meta["step"], meta["passes"], tuple(meta["accuracies"]), loss)


def recorded(
    plan: Plan, history: History, events: Iterable[Event], base: int, until: int
) -> Iterator[tuple[Live, Record | None]]:
    """The live steps and points after the snapshot at `base`, steps before `until`; a step comes with its record.

    Raises `Damage` if the evidence does not fit the plan.
    """
    wanted = {e.offset: e for e in history.live[history.marks[base].live :]}
    for event in events:
        live = wanted.get(event.offset)
        if live is None:
            continue
        if live.kind == "point":
            yield live, None
        elif live.step < until:
            try:
                yield live, Record(live.step, records.unpack(plan, event.arrays()))
            except (KeyError, ValueError) as error:
                raise Damage(event.offset, f"evidence of step {live.step} does not fit the run: {error}") from None
        else:
            return

"""What a journal says to a tracking store: metrics, parameters and tags. Nothing of MLflow is imported.

Times are those of the records, so the same journal always says the same, and what is told twice is one row.
"""

from __future__ import annotations

import json
import math
import re
from collections import deque
from fractions import Fraction
from typing import Any, NamedTuple

from orchestrator.core import ledger
from orchestrator.core.ledger import ZERO, Entry
from orchestrator.journal.frames import Event

MAX_KEY, MAX_PARAM, MAX_TAG = 250, 6000, 8000  # characters that MLflow takes


class Metric(NamedTuple):
    """time: ms since 1970."""

    key: str
    value: float
    time: int
    step: int


class Given(NamedTuple):
    """How far a store has been told: numbers of steps and points, and whether the promise."""

    steps: int = 0
    points: int = 0
    promise: bool = False


class Item(NamedTuple):
    """What one record says, and how far the store is once it has it."""

    given: Given
    metrics: tuple[Metric, ...]


class Totals(NamedTuple):
    """Of training, at some step."""

    steps: int = 0
    points: int = 0
    entry: Entry = ZERO
    wire_bytes: int = 0
    wall_s: float = 0.0


class Projection:
    """Takes the records of a journal from the first on; `ready` holds what lies beyond `given` and is final.

    A step of which only a digest was kept is final once a snapshot covers it: until then a resumed run may repeat it,
    and all that follows it. Steps that were rewound all the same keep what was told first.
    """

    def __init__(self, given: Given = Given()) -> None:  # noqa: B008 (immutable)
        self.given = given
        self.ready: deque[Item] = deque()
        self.start: dict[str, Any] = {}
        self.sessions: list[dict[str, Any]] = []
        self.end: dict[str, Any] | None = None
        self.time = 0  # of the last record
        self._totals = Totals()
        self._marks: dict[int, Totals] = {}
        self._waiting: list[tuple[str, int, tuple[Metric, ...]]] = []
        self._unsure = False

    def take(self, event: Event) -> None:
        """Raises KeyError, ValueError, TypeError or AttributeError if the record makes no sense."""
        meta = event.meta
        self.time = max(self.time, int(meta["time"]))
        if event.kind == "start":
            self.start = meta
            self._go_on_from(meta.get("from_snapshot"), int(meta["time"]))
        elif event.kind == "session":
            self.sessions.append(meta)
        elif event.kind == "step":
            self._step(meta)
        elif event.kind == "point":
            self._point(meta)
        elif event.kind == "snapshot":
            self._marks[meta["step"]] = self._totals
            self._settle()
        elif event.kind == "rewind":
            self._totals = self._marks[meta["step"]]
            self._waiting, self._unsure = [], False
        elif event.kind == "end":
            self.end = meta
            self._settle()

    def _go_on_from(self, told: dict[str, Any] | None, time: int) -> None:
        """The points before a journal that begins with a snapshot; their own times are lost with the damaged one."""
        if told is not None:
            entry = sum_of(told["ledger"].get("train", {}))
            self._totals = Totals(told["steps"], len(told["curve"]), entry, told["wire_bytes"], told["wall_s"])
            for number, point in enumerate(told["curve"], 1):
                metrics = (*_of_point(point), ("passes", point["passes"]))
                self._put("point", number, _metrics(metrics, time, point["step"]))
        self._marks[self._totals.steps] = self._totals

    def _step(self, meta: dict[str, Any]) -> None:
        self._unsure |= "digest" in meta
        before = self._totals
        self._totals = before._replace(
            steps=meta["step"] + 1,
            entry=ledger.add(before.entry, sum_of(meta["account"])),
            wire_bytes=before.wire_bytes + meta["wire_bytes"],
            wall_s=meta["wall_s"],
        )
        steps = self._totals.steps
        self._put("step", steps, _metrics([("loss", meta["loss"])], meta["time"], steps))

    def _point(self, meta: dict[str, Any]) -> None:
        if meta["purpose"] == "promise":
            accuracies = meta["accuracies"]
            metrics = [("accuracy_promised", sum(accuracies) / len(accuracies))]
            self._put("promise", 1, _metrics(metrics, meta["time"], meta["step"]))
            return
        totals = self._totals = self._totals._replace(points=self._totals.points + 1)
        costs = {**ledger.plain(totals.entry), "wire_bytes": totals.wire_bytes, "wall_s": totals.wall_s}
        metrics = [*_of_point(meta), *costs.items()]
        self._put("point", totals.points, _metrics(metrics, meta["time"], meta["step"]))

    def _put(self, kind: str, number: int, metrics: tuple[Metric, ...]) -> None:
        self._waiting.append((kind, number, metrics))
        if not self._unsure:
            self._settle()

    def _settle(self) -> None:
        """All that was taken is final."""
        for kind, number, metrics in self._waiting:
            given = self.given
            if kind == "step":
                given = given._replace(steps=max(number, given.steps))
            elif kind == "point":
                given = given._replace(points=max(number, given.points))
            else:
                given = given._replace(promise=True)
            if given != self.given:
                self.given = given
                self.ready.append(Item(given, metrics))
        self._waiting, self._unsure = [], False


def sum_of(account: dict[str, list]) -> Entry:
    """The total of an account as JSON, over workers."""
    total = ZERO
    for entry in ledger.read(account).values():
        total = ledger.add(total, entry)
    return total


def _of_point(meta: dict[str, Any]) -> list[tuple[str, Any]]:
    accuracies = meta["accuracies"]
    mean = sum(accuracies) / len(accuracies)
    return [("accuracy", mean), ("accuracy_worst", min(accuracies)), ("evaluation_loss", meta["loss"])]


def _metrics(told: Any, time: int, step: int) -> tuple[Metric, ...]:
    """Without what is unknown, and without NaN and infinity: MLflow would write other numbers for them."""
    known = ((key, float(value)) for key, value in told if isinstance(value, (int, float, Fraction)))
    return tuple(Metric(key, value, int(time), int(step)) for key, value in known if math.isfinite(value))


def params(run: dict[str, Any]) -> dict[str, str]:
    """run.json as flat parameters: {"network.0.size": "16", ...}, within the limits of MLflow."""
    flat: dict[str, str] = {}

    def walk(key: str, value: Any) -> None:
        nested = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))
        if nested:
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for name, inner in pairs:
                walk(f"{key}.{name}" if key else str(name), inner)
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            flat[re.sub(r"[^\w.\- :]", "_", key)[:MAX_KEY]] = text[:MAX_PARAM]

    walk("", run)
    return flat


def tags(run: dict[str, Any], start: dict[str, Any], folder: str, comparison: str | None) -> dict[str, str]:
    """What is known of a run when it begins. folder: its absolute path."""
    found = {
        "pnn.run_id": start["run_id"],
        "pnn.directory": folder,
        "pnn.software": start.get("software"),
        "pnn.comparison": comparison,
        "method": (run.get("method") or {}).get("name"),
        "seed": (run.get("train") or {}).get("seed"),
    }
    return {key: str(value)[:MAX_TAG] for key, value in found.items() if value is not None}


def later_tags(projection: Projection) -> dict[str, str]:
    """What is known after a session began, and at the end."""
    found: dict[str, Any] = {}
    if projection.sessions:
        environment = projection.sessions[-1].get("environment") or {}
        commit = environment.get("program_commit") or environment.get("folder_commit") or ""
        found["mlflow.source.git.commit"] = commit.removesuffix("+")
        found["pnn.program_commit"] = environment.get("program_commit")  # ends with "+" if files were changed since
        found["pnn.folder_commit"] = environment.get("folder_commit")
    if projection.end is not None:
        found["parameters_sha256"] = projection.end["result"].get("parameters_sha256")
    return {key: str(value)[:MAX_TAG] for key, value in found.items() if value}

"""Replay and comparison of journals: parameters from records alone, without devices and without data."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.core import history, records, trees
from orchestrator.core.plan import Plan, build
from orchestrator.core.tile import commit_record
from orchestrator.journal import journal
from orchestrator.kept import read_history, read_run, usable_snapshot
from orchestrator.problems import Problem, RunFileError
from orchestrator.runfile import Run


class Replayed(NamedTuple):
    """Parameters after `step` steps, of `steps` that are journalled."""

    step: int
    steps: int
    params: dict[records.Name, Any]
    parameters_sha256: str


def replay(path: Path, until: int | None = None) -> Replayed:
    """Rebuild the parameters of a run after `until` steps (default: all that can be reached).

    Raises `RunFileError` if something is damaged, `until` was not journalled, or a snapshot says otherwise.
    """
    run = read_run(path, _unchecked)
    told = read_history(path)
    last = told.told.steps
    if until is not None and not 0 <= until <= last:
        problem = Problem(("--until",), until, "is not a step of this journal", allowed=f"0 to {last}")
        raise RunFileError([problem], "command line", "")
    plan, want = _plan(path, run, told), last if until is None else until
    mine, base = records.tiles(plan), 0
    whole = not told.first and told.replayable(0) >= want
    if not whole:  # the way from the beginning is not in the journal: begin with a snapshot
        told.marks = {s: m for s, m in told.marks.items() if s <= want}
        base, state = usable_snapshot(path, told)
        if state is not None:
            for name, tile in mine.items():
                prefix = "/".join(map(str, name)) + "/"
                tile.restore({k.removeprefix(prefix): v for k, v in state.arrays.items() if k.startswith(prefix)})
    reach = min(want, told.replayable(base))
    for live, record in history.recorded(plan, told, journal.read(path / journal.NAME), base, reach):
        if record is not None:
            commit_record(mine.values(), record)
            _check(path, told, live.step + 1, mine)
    params = records.parameters(mine)
    return Replayed(reach, last, params, records.parameters_sha256(params))


def _check(path: Path, told: history.History, step: int, mine: dict) -> None:
    """Where a snapshot was taken, its parameters are known: replay must meet them."""
    mark = told.marks.get(step)
    if mark and mark.parameters_sha256 not in (None, records.parameters_sha256(records.parameters(mine))):
        wrong = (
            f"replay does not lead to the parameters that were measured after step {step}: the journal was changed, "
            "or this program computes something else than the one that wrote it"
        )
        raise RunFileError([Problem((journal.NAME,), str(path), wrong, unknown=True)], str(path), "")


def difference(a: Path, b: Path) -> str | None:
    """Where two runs part, in words; None if all that both measured is the same."""
    runs = [json.loads(read_run(p, _unchecked).model_dump_json()) for p in (a, b)]
    fields = [f for f in _fields(*runs) if not f.startswith("journal")]
    because = f" (their run files differ in {', '.join(fields)})" if fields else ""
    told = [read_history(p) for p in (a, b)]
    for one, other in zip_longest(_live(a, told[0]), _live(b, told[1])):
        if one is None or other is None:
            return None if not because else f"they measured the same as far as both go, but{because[2:-1]}"
        if one != other:
            what = "measured something else" if one[:2] == other[:2] else "did something else"
            return f"they part at step {min(one[1], other[1])}: there they {what}{because}"
    return None


def _live(path: Path, told: history.History) -> Any:
    """(kind, step, what was measured) of every record that counts."""
    offsets = {e.offset for e in told.live}
    for event in journal.read(path / journal.NAME):
        if event.offset in offsets:
            if event.kind == "step":
                found = event.meta.get("digest") or trees.sha256(event.arrays())
            else:
                found = (tuple(event.meta["accuracies"]), event.meta["loss"])
            yield event.kind, event.meta["step"], found


def _fields(a: Any, b: Any, where: str = "") -> list[str]:
    """Names of the fields in which two trees differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted({*a, *b})
        return [f for k in keys for f in _fields(a.get(k), b.get(k), f"{where}.{k}" if where else k)]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [f for i, (x, y) in enumerate(zip(a, b, strict=True)) for f in _fields(x, y, f"{where}[{i}]")]
    return [] if a == b else [where]


def _unchecked(run: Any) -> list[Problem]:
    """Replay needs no data, so it does not look for them."""
    return []


def _plan(path: Path, run: Run, told: history.History) -> Plan:
    if told.session is None:
        problem = Problem((journal.NAME,), str(path), "holds no step yet: the run has not begun", unknown=True)
        raise RunFileError([problem], str(path), "")
    return build(run, told.session["n_features"], told.session["n_classes"])

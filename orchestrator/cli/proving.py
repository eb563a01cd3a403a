"""`pnn reference`: go through cases, part by part and seed by seed; every part is told, whatever the others do."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from orchestrator.cli.interrupts import Interrupts
from orchestrator.reference import results, table
from orchestrator.reference.case import Case, Part
from orchestrator.reference.measure import Measured, lacking, measure

console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
WIDTH = 160  # of a table, at least: a row is not to be cut where nobody sees it


class How(NamedTuple):
    """resume: leave out seeds with a result. seeds: at most so many. minutes: of a long case. as_json: to stdout."""

    resume: bool
    seeds: int | None
    minutes: float
    as_json: bool


def say(message: str) -> None:
    """A line for a person, on standard error."""
    console.print(message)


def list_command() -> None:
    """The cases, and their parts with their bars."""
    for case in table.choose([]):
        print(f"{case.name:24} {'long' if case.long else 'quick'}. {case.what}")
        for part in case.parts:
            number = "" if part.published is None else f", published {part.published:.4g}"
            number += " (recalled)" if part.recalled else ""
            print(f"{'':24}   {part.name}: {part.bar or 'reported'} ({part.unit}){number}")


def run_command(words: list[str], quick: bool, how: How, out: str | None) -> None:
    """Measure cases, all of them without words; exit code 1 if a part failed, or misses its bar unexplained.

    out: the folder with a file for each case. Raises `RunFileError` for a word that is no case and no part.
    """
    cases = [case for case in table.choose(words) if not (quick and case.long)]
    folder = Path(out) if out is not None else results.default_folder()
    say(results.machine_line())
    seen = []
    with Interrupts(say):
        for case in cases:
            found = list(parts_of(case, folder, how))
            if not how.as_json:
                screen = Console(highlight=False, markup=False)
                screen.width = max(screen.width, WIDTH)
                screen.print(results.table_of(case, found))
            seen += found
    if skipped := sum(m.skipped is not None for m in seen):
        say(f"{skipped} of {len(seen)} parts are skipped: what they need is not here.")
    if bad := [m for m in seen if not m.met and not m.excused]:
        say(f"{len(bad)} of {len(seen)} parts failed, or miss their bars without a reason.")
        raise SystemExit(1)


def parts_of(case: Case, folder: Path, how: How) -> Iterator[Measured]:
    """The parts of a case, one after the other; those of a long case share its minutes, and what one leaves goes on."""
    missing = {part.name: why for part in case.parts if (why := lacking(part))}
    left, todo = how.minutes, len(case.parts) - len(missing)
    for part in case.parts:
        began = time.perf_counter()
        if part.name in missing:
            m = Measured(part, part.seeds[: how.seeds], skipped=missing[part.name])
        else:
            m = one(case, part, folder, how, left / todo if case.long else None)
            left, todo = left - (time.perf_counter() - began) / 60, todo - 1
        told = results.told_of(case, m)
        if how.as_json:
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
        say(f"{part.name}: {results.verdict(told)}")
        yield m


def one(case: Case, part: Part, folder: Path, how: How, limit_min: float | None) -> Measured:
    """What a part came to; it is kept in the file of its case after each seed."""
    wanted = part.seeds[: how.seeds]
    known = results.known(folder, case, part) if how.resume else []
    m = Measured(part, wanted, tuple(r for r in known if r.seed in wanted))
    if limit_min is not None and any((r.needs_min or 0) > limit_min for r in known):
        return m  # it would be cut short again
    for m in measure(part, wanted, known, limit_min, say):
        if m.reached and not m.failure:
            results.keep(folder, case, m)
    return m

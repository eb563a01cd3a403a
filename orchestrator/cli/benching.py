"""`pnn bench`: measure rows of the table, one after the other; every row prints, whatever happens to the others."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console

from orchestrator.bench import report, sides, table
from orchestrator.bench.measure import Measured, measure
from orchestrator.bench.row import Row
from orchestrator.cli.interrupts import Interrupts

console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
WIDTH = 160  # of a table, at least: a row is not to be cut where nobody sees it


def say(message: str) -> None:
    """A line for a person, on standard error."""
    console.print(message)


def list_command(words: list[str]) -> None:
    """The rows, and their parts with their bars. Raises `RunFileError` for a word that is none."""
    for row in table.choose(words):
        print(f"{row.name:12} {row.what}")
        for part in row.parts:
            against = f" against {part.peer}" if part.peer else ""
            told = "reported" if part.bar is None else report.bar_of(part)
            print(f"{'':12}   {part.name}: {told} ({part.unit}){against}")


def bench_command(words: list[str], quick: bool, as_json: bool, out: str | None, resume: bool) -> None:
    """Measure rows; exit code 1 if a part failed, or misses its bar without a reason recorded beside it.

    out: a folder for what was measured, a file for each row. resume: take rows from there that were measured whole.
    Raises `RunFileError`.
    """
    rows = table.choose(words)
    if quick:
        rows = [Row(r.name, r.what, tuple(s for p in r.parts if (s := p.small()) is not None)) for r in rows]
    pinned = sides.cores()
    about = report.about_machine(pinned)
    say(report.machine_line(about))
    folder = Path(out) if out is not None else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    bad, seen = 0, []
    with Interrupts(say):
        for row in rows:
            found = report.read(folder, row, quick) if folder and resume else None
            if found is None:
                found = list(measure(row.parts, pinned, say))
                if folder:
                    report.write(folder, row, found, about, quick)
            tell(row, found, as_json)
            seen += found
            bad += sum(not m.met and not m.excused for m in found)
    for line in report.version_lines(seen):
        say(line)
    if bad:
        say(f"{bad} of {len(seen)} parts failed, or miss their bars without a reason.")
        raise SystemExit(1)


def tell(row: Row, found: list[Measured], as_json: bool) -> None:
    """One object a part, or a table; why something failed goes to people in both cases."""
    if as_json:
        for m in found:
            sys.stdout.write(json.dumps(m.json()) + "\n")
        sys.stdout.flush()
    elif found:
        out = Console(highlight=False, markup=False)
        out.width = max(out.width, WIDTH)
        out.print(report.table_of(row, found))
    for line in report.remarks(found):
        say(line)

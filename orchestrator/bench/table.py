"""The rows by name: one file each in `rows/`, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from orchestrator.bench.row import Row
from orchestrator.problems import Problem, RunFileError

NAMES = (
    "es-1e5",
    "es-deep",
    "es-2e3",
    "es-ray",
    "step",
    "commit",
    "1e9",
    "device",
    "stragglers",
    "fleet",
    "crossbar",
    "physics",
    "pipeline",
    "start",
    "record",
    "growth",
)


def load(name: str) -> Row:
    """The row of a name in `NAMES`."""
    module = name.replace("-", "_")
    return import_module(f"orchestrator.bench.rows.{'row_' if name[0].isdigit() else ''}{module}").ROW


def choose(words: Sequence[str]) -> list[Row]:
    """Rows by name, in the order of the table; ROW/PART takes one part of a row. No words: all rows.

    Raises `RunFileError` with every word that is neither, and the nearest one that is.
    """
    rows = [load(name) for name in NAMES]
    if not words:
        return rows
    parts = [part.name for row in rows for part in row.parts]
    unknown = [word for word in words if word not in NAMES and word not in parts]
    if unknown:
        raise RunFileError([_problem(word, parts) for word in unknown], "pnn bench", "")
    found = [Row(r.name, r.what, tuple(p for p in r.parts if r.name in words or p.name in words)) for r in rows]
    return [row for row in found if row.parts]


def _problem(word: str, parts: list[str]) -> Problem:
    row = word.partition("/")[0]
    if row in NAMES:
        allowed = [part for part in parts if part.partition("/")[0] == row]
        return Problem(("ROW",), word, "is not a part of this row", allowed=allowed)
    return Problem(("ROW",), word, "is not a row", allowed=list(NAMES))

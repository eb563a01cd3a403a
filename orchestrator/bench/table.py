"""The rows by name: one file each in `rows/`, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from orchestrator import named
from orchestrator.bench.row import Row

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
    """Rows by name, in the order of the table; see `orchestrator.named`. Raises `RunFileError`."""
    return named.choose(words, [load(name) for name in NAMES], "row", "pnn bench")

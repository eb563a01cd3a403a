"""The drivers that a run file can name: one line each. Others come through the entry-point group `pnn.drivers`.

Anything else is named by its place, `package.module:Class`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

GROUP = "pnn.drivers"

DRIVERS = {
    "timed": "physics.drivers.timed:Timed",
    "replay": "physics.drivers.replay:Replay",
}


def names() -> list[str]:
    """Every known name; nothing is imported."""
    return [*DRIVERS, *(e.name for e in entry_points(group=GROUP) if e.name not in DRIVERS)]


def load(name: str) -> Any:
    """The class of a driver. Raises KeyError if the name is unknown, ImportError or AttributeError of a place."""
    module, _, cls = DRIVERS.get(name, name).partition(":")
    if cls:
        return getattr(import_module(module), cls)
    for entry in entry_points(group=GROUP, name=name):
        return entry.load()
    raise KeyError(name)

"""The substrates by name: one line each. Others come through the entry-point group `pnn.substrates`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

GROUP = "pnn.substrates"

SUBSTRATES = {
    "crossbar": "physics.substrates.crossbar:Crossbar",
    "oscillators": "physics.substrates.oscillators:Oscillators",
    "acoustic": "physics.substrates.acoustic:Acoustic",
    "digital": "physics.substrates.digital:Digital",
}


def names() -> list[str]:
    """Every known name; nothing is imported."""
    return [*SUBSTRATES, *(e.name for e in entry_points(group=GROUP) if e.name not in SUBSTRATES)]


@cache
def load(name: str) -> type:
    """The model class of a substrate. Raises KeyError if the name is unknown."""
    if name in SUBSTRATES:
        module, _, cls = SUBSTRATES[name].partition(":")
        return getattr(import_module(module), cls)
    for entry in entry_points(group=GROUP, name=name):
        return entry.load()
    raise KeyError(name)

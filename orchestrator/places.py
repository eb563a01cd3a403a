"""Where in a run file a key would be right: for a key that stands in the wrong table."""

from __future__ import annotations

import typing
from functools import cache

from pydantic import BaseModel

from algorithms import registry as methods
from orchestrator.options import option_names
from orchestrator.spec import Run
from physics import registry as substrates


def elsewhere(key: str) -> list[str]:
    """Every place that takes `key`, as `train.batch`; options of our own substrates and methods with their owner."""
    return _places().get(key, [])


@cache
def _places() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table, info in Run.model_fields.items():
        model = next((m for m in _inside(info.annotation) if issubclass(m, BaseModel)), None)
        inner = f"{table}[i]" if typing.get_origin(info.annotation) is tuple else table
        for key in model.model_fields if model else ():
            found.setdefault(key, []).append(f"{inner}.{key}")
    for registry, own, place in (
        (substrates, substrates.SUBSTRATES, "network[i]"),
        (methods, methods.METHODS, "method"),
    ):
        owners: dict[str, list[str]] = {}
        for name in own:
            for option in option_names(registry.load(name)):
                owners.setdefault(option, []).append(name)
        for option, names in owners.items():
            found.setdefault(option, []).append(f"{place}.{option} ({', '.join(names)})")
    return found


def _inside(annotation: object) -> list[type]:
    """The classes within an annotation, such as Stage in tuple[Stage, ...]."""
    if isinstance(annotation, type):
        return [annotation]
    return [c for part in typing.get_args(annotation) for c in _inside(part)]

"""The options of plug-ins: further keys of a table, checked against the fields of the plug-in's dataclass."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from orchestrator.problems import Problem, from_pydantic

HIDDEN = ("n_in", "n_out", "decode_as", "fitting")  # fields of a model or driver that follow from the network


def options_problems(cls: type, options: dict[str, Any], where: tuple, base: Iterable[str]) -> list[Problem]:
    """What is wrong with `options`, names, types and bounds. They reach the plug-in as they are, so nothing is cast.

    base: the names of the fields that the table has by itself.
    """
    fields = option_names(cls)
    found = []
    for key, value in options.items():
        if key not in fields:
            allowed = [*base, *sorted(fields)]
            found.append(Problem((*where, key), value, "is not a field", allowed=allowed, unknown=True))
            continue
        try:
            TypeAdapter(_hints(cls)[key], config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            found += [from_pydantic(e, prefix=(*where, key)) for e in error.errors()]
    return found


def option_names(cls: Any) -> set[str]:
    """The fields of a plug-in's dataclass that a run file may set."""
    return {f.name for f in dataclasses.fields(cls) if f.init} - set(HIDDEN)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)

"""Things with parts, asked for by name on the command line: rows of the bench, cases of reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from orchestrator.problems import Problem, RunFileError

T = TypeVar("T")


def choose(words: Sequence[str], things: Sequence[T], kind: str, command: str) -> list[T]:
    """Those that are named, in their order; NAME/PART takes one part of a thing. No words: all of them.

    things: dataclasses with `name` and `parts`, whose own names are NAME or NAME/PART. kind: what one is called.
    Raises `RunFileError` with every word that is neither, and the nearest one that is.
    """
    if not words:
        return list(things)
    known: Any = things  # dataclasses, which T cannot say
    names = [thing.name for thing in known]
    parts = [part.name for thing in known for part in thing.parts]

    def problem(word: str) -> Problem:
        name = word.partition("/")[0]
        if name not in names:
            return Problem((kind.upper(),), word, f"is not a {kind}", allowed=names)
        allowed = [part for part in parts if part.partition("/")[0] == name]
        return Problem((kind.upper(),), word, f"is not a part of this {kind}", allowed=allowed)

    unknown = [word for word in words if word not in names and word not in parts]
    if unknown:
        raise RunFileError([problem(word) for word in unknown], command, "")
    found = [replace(t, parts=tuple(p for p in t.parts if t.name in words or p.name in words)) for t in known]
    return [thing for thing in found if thing.parts]

"""The cases by name: one file each in `cases/`, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

from orchestrator.problems import Problem, RunFileError
from orchestrator.reference.case import Case

NAMES = (
    "cosine",
    "dfa-mnist",
    "vowels",
    "iris",
    "parity",
    "node-perturbation-width",
    "phyll-acoustic",
    "mnist-zeroth-order",
    "forward-forward-mnist",
    "mgd-fashion-mnist",
    "sst2-head",
)


def load(name: str) -> Case:
    """The case of a name in `NAMES`."""
    return import_module(f"orchestrator.reference.cases.{name.replace('-', '_')}").CASE


def choose(words: Sequence[str]) -> list[Case]:
    """Cases by name, in the order of the table; CASE/PART takes one part of a case. No words: all cases.

    Raises `RunFileError` with every word that is neither, and the nearest one that is.
    """
    cases = [load(name) for name in NAMES]
    if not words:
        return cases
    parts = [part.name for case in cases for part in case.parts]
    unknown = [word for word in words if word not in NAMES and word not in parts]
    if unknown:
        raise RunFileError([_problem(word, parts) for word in unknown], "pnn reference", "")
    found = [replace(c, parts=tuple(p for p in c.parts if c.name in words or p.name in words)) for c in cases]
    return [case for case in found if case.parts]


def _problem(word: str, parts: list[str]) -> Problem:
    case = word.partition("/")[0]
    if case in NAMES:
        allowed = [part for part in parts if part.partition("/")[0] == case]
        return Problem(("CASE",), word, "is not a part of this case", allowed=allowed)
    return Problem(("CASE",), word, "is not a case", allowed=list(NAMES))

"""The cases by name: one file each in `cases/`, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from orchestrator import named
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
    """Cases by name, in the order of the table; see `orchestrator.named`. Raises `RunFileError`."""
    return named.choose(words, [load(name) for name in NAMES], "case", "pnn reference")

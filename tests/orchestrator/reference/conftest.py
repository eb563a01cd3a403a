"""Cases that train nothing, in place of the program's own."""

import math

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.reference import table
from orchestrator.reference.case import Case, Part


@pytest.fixture
def seen():
    """The seeds of made-up parts, in the order in which they were asked for: [(values, seed), ...]."""
    return []


@pytest.fixture
def part(seen):
    """part(values, **fields): seed n comes to values[n] at 10 n passes; a text is raised, None is no number."""

    def made_up(trial, values):
        seen.append((tuple(values), trial.seed))
        value = values[trial.seed]
        if isinstance(value, str):
            raise ValueError(value)
        trial.passes += 10 * trial.seed
        trial.steps += 1
        return math.nan if value is None else value

    def make(values, name="part", **fields):
        return Part(name, "% correct", made_up, (list(values),), tuple(range(len(values))), **fields)

    return make


@pytest.fixture
def case():
    """case(*parts, **fields) -> Case of the name of its first part"""

    def make(*parts, **fields):
        name = parts[0].name.partition("/")[0]
        return Case(name, f"What {name} is.", "Nobody 2020", "no data", parts, **fields)

    return make


@pytest.fixture
def reference(monkeypatch, tmp_path):
    """reference(cases, *arguments, code) -> what `pnn reference run` printed, with these cases and a new folder."""

    def run(cases, *arguments, code=0):
        monkeypatch.setattr(table, "NAMES", tuple(c.name for c in cases))
        monkeypatch.setattr(table, "load", {c.name: c for c in cases}.__getitem__)
        out = () if "--out" in arguments else ("--out", tmp_path / "out")
        done = CliRunner().invoke(app, ["reference", "run", *map(str, (*arguments, *out))])
        assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
        return done

    return run

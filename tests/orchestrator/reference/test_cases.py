"""The cases: which there are, what is told of them without training, and that their run files are valid."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from orchestrator import Run
from orchestrator.reference import results, table
from orchestrator.reference.measure import lacking
from orchestrator.reference.trial import seeded

HOME = Path(__file__).parents[3]
QUICK = ["cosine", "dfa-mnist", "vowels", "iris", "parity", "node-perturbation-width", "phyll-acoustic"]


def test_the_cases_are_those_of_the_files_and_their_names_are_unique():
    files = {p.stem.replace("_", "-") for p in (HOME / "orchestrator/reference/cases").glob("*.py")}
    assert files - {"--init--"} == set(table.NAMES)
    cases = table.choose([])
    parts = [part for case in cases for part in case.parts]
    assert [case.name for case in cases] == list(table.NAMES) and len({p.name for p in parts}) == len(parts)
    assert [case.name for case in cases if not case.long] == QUICK
    for case in cases:
        assert case.what.endswith(".") and all(p.name.partition("/")[0] == case.name for p in case.parts)
        for part in case.parts:
            assert part.seeds == tuple(range(len(part.seeds))) and results.settings(part)


@pytest.mark.parametrize("name", table.NAMES)
def test_a_case_opens_with_its_source(name):
    told = import_module(f"orchestrator.reference.cases.{name.replace('-', '_')}").__doc__
    assert told.startswith(f"{name}: ")
    assert all(word in told for word in ("Source: ", "Split: ", "Seeds: ", "ublished"))


@pytest.mark.parametrize("name", table.NAMES)
def test_run_files_are_valid(name):
    """Those of which every method, substrate and data set is here."""
    for part in table.load(name).parts:
        if lacking(part) is None:
            for tree in part.trees:
                Run.build(seeded(tree, 1))


def test_parts_are_chosen_by_name():
    (one, two) = table.choose(["iris/pso", "iris/spsa", "dfa-mnist"])
    assert [p.name for p in one.parts] == [p.name for p in table.load("dfa-mnist").parts]
    assert [p.name for p in two.parts] == ["iris/spsa", "iris/pso"], "in the order of the case"


def test_nothing_heavy_is_imported_to_list_the_cases(pnn):
    told = pnn("reference", "list").stdout
    assert all(f"\n{name:24} " in f"\n{told}" for name in table.NAMES)
    assert "iris/spsa: >= 97.4 - 5.3 (% correct), published 97.4" in told
    program = (
        "import sys; from orchestrator.reference import table; table.choose([]);"
        "print(sorted({'jax', 'ray', 'mlflow', 'scipy', 'flax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=HOME)
    assert done.stdout.strip() == "[]"

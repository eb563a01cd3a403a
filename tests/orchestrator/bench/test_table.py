"""The rows: which there are, their bars, and what is told of them without measuring."""

import json
import subprocess
import sys
from dataclasses import replace

from orchestrator.bench import measure, sides, table
from orchestrator.bench.row import Part, ours, peer


def test_the_rows_are_those_of_the_files_and_their_names_are_unique():
    files = {
        p.stem.removeprefix("row_").replace("_", "-") for p in (sides.HOME / "orchestrator/bench/rows").glob("*.py")
    }
    assert files - {"--init--"} == set(table.NAMES)
    rows = table.choose([])
    parts = [part for row in rows for part in row.parts]
    assert [row.name for row in rows] == list(table.NAMES) and len({p.name for p in parts}) == len(parts)
    for row in rows:
        assert row.what.endswith(".") and all(p.name.partition("/")[0] == row.name for p in row.parts)
        assert any(p.bar is not None for p in row.parts) and any(p.quick is not None for p in row.parts)
    for part in parts:
        assert part.how in measure.HOW and (part.theirs is None) <= (part.how == "ours")
        assert part.rounds >= 5
        json.dumps([side.options for side in (part.ours, part.theirs, part.prepare) if side])


def test_the_bars():
    bars = {p.name: (p.better, p.bar) for row in table.choose([]) for p in row.parts if p.bar is not None}
    expected = {
        "es-1e5": ("higher", 20.0),
        "es-deep": ("higher", 3.0),
        "es-2e3": ("higher", 0.9),
        "es-ray": ("higher", 6.0),
        "step/1e7-b512-spsa": ("lower", 1.2),
        "step/1e7-b64-rank-1": ("lower", 1.6),
        "1e9/memory": ("lower", 1.6),
        "1e9/step": ("lower", 1.6),
        "device/8x1ms": ("higher", 0.90),
        "device/32x10ms": ("higher", 0.95),
        "device/8x5ms-pipelined": ("higher", 0.90),
        "stragglers": ("higher", 0.90),
        "fleet/own": ("higher", 50.0),
        "fleet/tied": ("higher", 50.0),
        "crossbar": ("higher", 3.0),
        "pipeline": ("higher", 3.5),
        "start/local": ("lower", 1.5),
        "start/2-workers": ("lower", 1.5),
        "record": ("lower", 1.05),
        "growth/parameters": ("lower", 1.1),
        "growth/devices": ("lower", 0.1),
    }
    assert {name: bars.get(name) for name in expected} == expected
    assert "device/32x1ms" not in bars


def test_quick_parts_are_small_and_have_no_bar():
    part = Part("p", "1/s", ours("a", steps=500, size=3), peer("b", steps=500), bar=2.0, worst=1.0, quick={"steps": 2})
    small = part.small()
    assert small.ours.options == {"steps": 2, "size": 3} and small.theirs.options == {"steps": 2}
    assert small.bar is None and small.worst is None and small.rounds >= 2
    assert replace(part, quick=None).small() is None


def test_nothing_heavy_is_imported_to_choose_rows():
    program = (
        "import sys; from orchestrator.bench import measure, report, table; table.choose([]);"
        "print(sorted({'jax', 'ray', 'mlflow', 'scipy', 'flax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=sides.HOME)
    assert done.stdout.strip() == "[]"


def test_rows_are_listed_without_measuring(pnn):
    told = pnn("bench").stdout
    assert told == pnn("bench", "--list").stdout
    assert all(f"\n{name:12} " in f"\n{told}" for name in table.NAMES) and "device/32x1ms: reported" in told
    assert pnn("bench", "record", "--list").stdout.startswith("record ")


def test_a_row_that_is_none(pnn):
    told = pnn("bench", "es1e5", "device/8x1m", "--json", code=2).stderr
    first, second = told.strip().splitlines()
    assert "'es1e5' is not a row; allowed: es-1e5, es-deep" in first and first.endswith("did you mean es-1e5?")
    assert second.endswith("did you mean device/8x1ms?")


def test_options_that_exclude_each_other(pnn):
    assert "--out" in pnn("bench", "record", "--resume", code=2).stderr
    assert "--all" in pnn("bench", "record", "--all", code=2).stderr

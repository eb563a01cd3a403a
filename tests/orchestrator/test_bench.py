"""`pnn bench`: sides as real processes that take turns on the same cores; what is told of them. No time is asserted."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from orchestrator import data
from orchestrator.bench import measure, sides, table
from orchestrator.bench.row import Part, Row, ours, peer
from orchestrator.cli import app

CORES = sides.cores()
KEYS = {"row", "value", "unit", "bar", "better", "met", "min", "max", "peer", "ours", "theirs"}

# A peer that answers with the numbers that it is given, and can misbehave. It notes what it does in a file.
WITNESS = """
import argparse, json, os, subprocess, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--options", type=json.loads)
o = parser.parse_args().options

def note(what):
    with open(o["log"], "a") as file:
        file.write(json.dumps([o["name"], what]) + "\\n")

note({"pid": os.getpid(), "cores": sorted(os.sched_getaffinity(0)), "environment": dict(os.environ)})
if o.get("child"):
    note({"pid": subprocess.Popen(["sleep", "600"]).pid})
if o.get("fault") == "dies at once":
    sys.exit("no luck today")
if o.get("fault") == "hangs":
    time.sleep(600)
print(json.dumps({"ready": {"versions": {"witness": "1"}, "about": {"name": o["name"]}}}), flush=True)
for i, _ in enumerate(sys.stdin):
    note("round")
    answers = {
        "dies": lambda: sys.exit("it broke in the middle"),
        "kills itself": lambda: os.kill(os.getpid(), 9),
        "rubbish": lambda: "hello",
        "number": lambda: "12",
        "nan": lambda: '{"value": NaN}',
        "no value": lambda: '{"rate": 1}',
        "true": lambda: '{"value": true}',
        "silent": lambda: time.sleep(600),
        "flood": lambda: "x" * (1 << 21),
        None: lambda: json.dumps({"value": o["values"][i], "loss": o.get("losses", o["values"])[i]}),
    }
    print(answers[o.get("fault") if i else None](), flush=True)
note("end")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of peers with the witness in it, under several names, that this Python runs."""
    place = tmp_path / "peers"
    (place / ".venv" / "bin").mkdir(parents=True)
    (place / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for name in ("witness", "other", "aihwkit_tile"):
        (place / f"{name}.py").write_text(WITNESS)
    monkeypatch.setenv("PNN_PEERS", str(place))
    return place


@pytest.fixture
def log(tmp_path):
    """log() -> [[name, what], ...]: what the witnesses noted so far."""
    path = tmp_path / "log"
    path.touch()

    def read():
        return [json.loads(line) for line in path.read_text().splitlines()]

    read.path = str(path)
    return read


@pytest.fixture
def part(folder, log):
    """part(ours, theirs, **fields of the part): two witnesses; a side is the list of its values, or its options."""

    def make(a, b=None, name="pair", **fields):
        def side(script, who, given):
            options = given if isinstance(given, dict) else {"values": given}
            return peer(script, log=log.path, name=who, **options)

        theirs = None if b is None else side("other", "b", b)
        fields = {"rounds": 5, "deadline_s": 30.0, **fields}
        return Part(name, "things/s", side("witness", "a", a), theirs, "the other", **fields)

    return make


def measured(*parts):
    return list(measure.measure(parts, CORES, lambda message: None))


def alive(pid):
    """Whether a process runs; one that is dead and not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(log):
    """Waits until all processes that were noted have ended."""
    pids = [what["pid"] for _, what in log() if isinstance(what, dict)]
    deadline = time.monotonic() + 20
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "a side, or what it started, still runs"
        time.sleep(0.02)
    return pids


# --- two sides --------------------------------------------------------------------------------------------------------


def test_sides_take_turns_and_who_comes_first_alternates(part, log):
    measured(part([1.0] * 5, [2.0] * 5))
    assert "".join(name for name, what in log() if what == "round") == "abbaabbaab"
    assert sorted(name for name, what in log() if what == "end") == ["a", "b"], "the end of input ends them"


def test_both_sides_run_on_the_same_cores_from_the_start(part, log):
    one = CORES[:1]
    list(measure.measure([part([1.0] * 5, [2.0] * 5)], one, lambda message: None))
    assert [what["cores"] for _, what in log() if isinstance(what, dict)] == [one, one]


def test_peers_get_nothing_of_what_this_package_sets_for_itself(part, log, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--a=1 {sides.FLAG} --b=2")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert os.environ["NPROC"] == "1"
    measured(part([1.0] * 5))
    (_, told), *_ = log()
    assert told["environment"]["XLA_FLAGS"] == "--a=1 --b=2"
    assert not {"NPROC", "PYTHONPATH"} & set(told["environment"])
    mine = sides.surroundings("ours")
    assert mine["PYTHONPATH"] == f"{sides.HOME}:/somewhere" and mine["NPROC"] == "1"


def test_the_value_is_the_median_of_the_ratios_of_the_rounds(part):
    a, b = [1.0, 8.0, 9.0, 4.0, 6.0], [2.0, 2.0, 3.0, 4.0, 3.0]
    (m,) = measured(part(a, b, bar=2.0))
    assert (m.value, m.low, m.high) == (2.0, 0.5, 4.0) and m.met
    assert m.json()["ours"] == 6.0 and m.json()["theirs"] == 3.0
    assert m.versions == {"ours": {"witness": "1"}, "theirs": {"witness": "1"}}
    (m,) = measured(part(a, b, how="theirs/ours", bar=0.4, better="lower"))
    assert (m.value, m.low, m.high) == (0.5, 0.25, 2.0) and not m.met
    (m,) = measured(part(a, how="ours"))
    assert (m.value, m.low, m.high) == (6.0, 1.0, 9.0) and m.met and m.json()["theirs"] is None


def test_parts_with_the_same_sides_share_their_rounds(part, log):
    sides_of = {"values": [2.0] * 5, "losses": [1.0, 2.0, 3.0, 4.0, 5.0]}
    first = part(sides_of, [1.0] * 5)
    second = replace(first, name="pair/loss", key="loss", their_key="value")
    a, b = measured(first, second)
    assert a.value == 2.0 and b.value == 3.0 and sum(what == "round" for _, what in log()) == 10


def test_the_upper_end_of_an_interval():
    ratios = [1.01, 1.05, 0.98, 1.02, 1.04]
    logs = np.log(ratios)
    expected = stats.t.interval(0.95, 4, logs.mean(), stats.sem(logs))
    mean, *ends = measure.interval(ratios)
    assert mean == pytest.approx(stats.gmean(ratios)) and ends == pytest.approx(np.exp(expected))
    assert measure.upper_end(ratios, [1.0] * 5) == (pytest.approx(ends[1]), 0.98, 1.05)


def test_how_far_means_are_apart_in_standard_errors():
    a, b = [1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 2.5, 3.0, 5.0, 9.0]
    value, low, high = measure.standard_errors(a, b)
    assert value == pytest.approx(abs(stats.ttest_ind(a, b, equal_var=False).statistic)) and low <= value <= high


def test_a_single_round_may_be_too_bad(part):
    a = [1.2, 1.3, 0.8, 1.2, 1.1]
    (m,) = measured(part(a, [1.0] * 5, bar=1.0, worst=0.9))
    assert m.value >= 1.0 and not m.met
    assert not replace(m, part=replace(m.part, bar=1.5, worst=None)).met
    assert replace(m, part=replace(m.part, worst=0.8)).met


# --- sides that fail --------------------------------------------------------------------------------------------------

FAULTS = {
    "dies at once": "ended with code 1\n  no luck today",
    "dies": "ended with code 1\n  it broke in the middle",
    "kills itself": "was ended by signal 9",
    "rubbish": "printed what is not a JSON object: b'hello'",
    "number": "printed what is not a JSON object: b'12'",
    "nan": "answered without a finite \"value\": {'value': nan}",
    "no value": "answered without a finite \"value\": {'rate': 1}",
    "true": "answered without a finite \"value\": {'value': True}",
    "silent": "said nothing for 3 s",
    "flood": "printed more than 1,048,576 bytes in one answer",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_side_that_fails_is_told_and_the_others_go_on(part, log, fault):
    bad = {"values": [1.0] * 5, "fault": fault, "child": True}
    deadline_s = 3.0 if fault == "silent" else 30.0
    broken = part([1.0] * 5, bad, name="broken", bar=1.0, reason="it is known", deadline_s=deadline_s)
    failed, well = measured(broken, part([1.0] * 5, name="well", how="ours"))
    assert failed.failure == f"other (a peer): {FAULTS[fault]}"
    assert failed.value is None and not failed.met and not failed.excused, "no reason excuses a failure"
    assert well.value == 1.0
    assert len(gone(log)) == 4


def test_a_side_that_hangs_before_it_is_ready(part, log):
    (failed,) = measured(part({"values": [], "fault": "hangs", "child": True}, [1.0] * 5, deadline_s=0.5))
    assert failed.failure == "witness (a peer): said nothing for 0.5 s"
    gone(log)


def test_a_round_without_its_number_fails_alone(part):
    first = part([2.0] * 5, [1.0] * 5)
    good, bad = measured(first, replace(first, name="pair/memory", key="memory"))
    assert good.value == 2.0 and bad.failure.startswith("ours: answered without a finite 'memory'")
    (nothing,) = measured(part([1.0] * 5, [0.0] * 5))
    assert nothing.value is None and "division by zero" in nothing.failure


def test_what_is_not_there_is_told_before_anything_starts(part, log, folder):
    (m,) = measured(replace(part([1.0] * 5), theirs=ours("no_such_side")))
    assert m.failure == "no_such_side (ours): not built yet"
    (m,) = measured(replace(part([1.0] * 5), theirs=peer("absent")))
    assert "absent is not installed" in m.failure and "make bench-peers" in m.failure and "PNN_PEERS" in m.failure
    (folder / ".venv" / "bin" / "python").unlink()
    (m,) = measured(part([1.0] * 5))
    assert "witness is not installed" in m.failure and ".venv/bin/python" in m.failure
    assert log() == []


# --- sides of ours ----------------------------------------------------------------------------------------------------


def test_a_side_of_ours_hands_its_samples_to_peers(tmp_path):
    with sides.started(ours("export", dataset="digits"), CORES, {"scratch": str(tmp_path)}) as process:
        told = process.ready(60)
        answer = process.round(60)
    assert told["about"] == {"dataset": "digits", "shape": [3823, 64]} and told["versions"]["numpy"] == np.__version__
    digits = data.load("digits")
    with np.load(answer["options"]["data"]) as file:
        assert np.array_equal(file["x"], digits.x_train) and np.array_equal(file["y"], digits.y_train)


def test_what_is_prepared_reaches_both_sides(part, log):
    made = replace(part([1.0] * 5, [2.0] * 5), prepare=ours("export", dataset="digits"))
    told = {}

    def remember(side, options):
        told[side.name] = options
        return command(side, options)

    command, sides.command = sides.command, remember
    try:
        (m,) = measured(made)
    finally:
        sides.command = command
    assert m.value == 0.5 and told["witness"]["data"] == told["other"]["data"]
    assert not Path(told["other"]["data"]).exists(), "temporary files end with the part"
    assert "scratch" in told["export"] and "scratch" not in told["other"], "peers know no such option"


def test_what_libraries_print_is_no_answer():
    program = (
        "import os; from orchestrator.bench.serve import serve\n"
        "def setup(options):\n print('chatter'); os.system('echo more of it')\n"
        " return {}, lambda: print('and more') or {'value': 1}\n"
        "serve(setup, {})"
    )
    process = sides.Process([sys.executable, "-c", program], sides.surroundings("ours"), CORES)
    try:
        assert process.ready(60)["about"] == {} and process.round(60) == {"value": 1}
    finally:
        process.close()
    assert process.process.returncode == 0


# --- the rows ---------------------------------------------------------------------------------------------------------


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


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(monkeypatch):
    """bench(rows, *arguments, code) -> what the command printed, with a table of these rows."""

    def run(rows, *arguments, code=0):
        monkeypatch.setattr(table, "NAMES", tuple(row.name for row in rows))
        monkeypatch.setattr(table, "load", {row.name: row for row in rows}.__getitem__)
        done = CliRunner().invoke(app, ["bench", *map(str, arguments)])
        assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
        return done

    return run


def test_one_object_a_part(bench, part):
    pair = part([4.0, 6.0, 8.0, 4.0, 4.0], [2.0] * 5, bar=2.0)
    rows = [Row("pair", "A pair.", (pair, replace(pair, name="pair/reported", bar=None)))]
    met, reported = map(json.loads, bench(rows, "pair", "--json").stdout.splitlines())
    assert met == {
        "row": "pair",
        "value": 2.0,
        "unit": "things/s",
        "bar": 2.0,
        "better": "higher",
        "met": True,
        "min": 2.0,
        "max": 4.0,
        "peer": "the other",
        "ours": 4.0,
        "theirs": 2.0,
    }
    assert reported["bar"] is None and reported["met"] is True


def test_exit_codes_and_every_row_prints(bench, part):
    good, bad = part([2.0] * 5, [1.0] * 5, name="good", bar=2.0), part([1.0] * 5, [1.0] * 5, name="bad", bar=2.0)
    known, dead = replace(bad, name="known", reason="the wall is light"), replace(bad, name="dead", theirs=peer("no"))
    rows = [Row(p.name, "One.", (p,)) for p in (dead, bad, known, good)]
    done = bench(rows, "--all", "--json", code=1)
    told = {told["row"]: told for told in map(json.loads, done.stdout.splitlines())}
    assert [told[p.name]["met"] for p in (good, bad, known, dead)] == [True, False, False, False]
    assert all(set(t) == KEYS for t in told.values()) and told["dead"]["value"] is None
    assert "known misses its bar: the wall is light" in done.stderr
    assert "bad misses its bar: no reason is recorded" in done.stderr
    assert "dead failed: no (a peer): the peer no is not installed" in done.stderr
    assert "2 of 4 parts failed, or miss their bars" in done.stderr
    bench(rows, "good", "known")
    bench(rows, "bad", code=1)
    bench(rows, "dead", code=1)


def test_the_table_for_people(bench, part):
    pair = part([4.0] * 5, [2.0] * 5, bar=3.0, worst=1.0, reason="it is slow")
    done = bench([Row("pair", "What a pair is.", (pair,))], "pair")
    assert "What a pair is." in done.stdout and ">= 3, never 1" in done.stdout and "NO" in done.stdout
    assert "cores for each side" in done.stderr and "load before" in done.stderr
    assert "witness: witness 1" in done.stderr and "other: witness 1" in done.stderr


def test_rows_are_kept_and_those_that_are_whole_are_not_measured_again(bench, part, log, tmp_path):
    good, dead = part([2.0] * 5, [1.0] * 5, name="good", bar=1.0), part([1.0] * 5, name="dead", how="ours")
    rows = [Row("good", "One.", (good,)), Row("dead", "Two.", (replace(dead, theirs=peer("no")),))]
    out = tmp_path / "kept"
    first = bench(rows, "--all", "--json", "--out", out, code=1).stdout
    kept = json.loads((out / "good.json").read_text())
    assert kept["machine"]["pinned"] == CORES and kept["machine"]["cpu"] and kept["quick"] is False
    assert kept["parts"][0]["rounds"] == {"ours": [2.0] * 5, "theirs": [1.0] * 5}
    before = len(log())
    rows[1] = Row("dead", "Two.", (dead,))
    again = bench(rows, "--all", "--json", "--out", out, "--resume").stdout
    assert again.splitlines()[0] == first.splitlines()[0]
    assert [name for name, what in log()[before:] if what == "round"] == ["a"] * 5, "only what had failed"
    stricter = [Row("good", "One.", (replace(good, bar=5.0),))]
    assert not json.loads(bench(stricter, "good", "--json", "--out", out, "--resume", code=1).stdout)["met"]
    (out / "good.json").write_text("{")
    before = len(log())
    bench(rows, "good", "--out", out, "--resume")
    assert len(log()) > before, "a damaged file counts as none"


def test_a_real_row_against_a_peer_of_this_test(pnn, folder, log):
    """The crossbar row as it is: our side is the program's own, the peer's is told to be what it is not."""
    options = {"log": log.path, "name": "peer", "values": [1.0] * 9}
    script = folder / "aihwkit_tile.py"
    script.write_text(WITNESS.replace("o = parser.parse_args().options", f"o = {options!r}"))
    done = pnn("bench", "crossbar", "--quick", "--json", env={"PNN_PEERS": str(folder)})
    assert set(done.last) == KEYS and done.last["row"] == "crossbar" and done.last["theirs"] == 1.0
    assert done.last["value"] == done.last["ours"] > 0 and done.last["bar"] is None


def test_a_row_without_its_peer(pnn, tmp_path):
    done = pnn("bench", "crossbar", "--quick", "--json", code=1, env={"PNN_PEERS": str(tmp_path)})
    told = json.loads(done.stdout)
    assert told["value"] is None and told["met"] is False and "make bench-peers" in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_an_interrupt(start, folder, log, signum):
    script = folder / "aihwkit_tile.py"
    options = {"log": log.path, "name": "peer", "fault": "hangs", "child": True}
    script.write_text(WITNESS.replace("o = parser.parse_args().options", f"o = {options!r}"))
    process = start("bench", "crossbar", "--quick", env={"PNN_PEERS": str(folder)})
    deadline = time.monotonic() + 60
    while len(log()) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signum)
    assert process.wait(30) == 128 + signum
    assert len(gone(log)) == 2

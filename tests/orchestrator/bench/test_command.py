"""`pnn bench`: what it prints, keeps and returns, and that it leaves nothing running."""

import json
import signal
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from orchestrator.bench import sides, table
from orchestrator.bench.row import Row, peer
from orchestrator.cli import app

CORES = sides.cores()
KEYS = {"row", "value", "unit", "bar", "better", "met", "min", "max", "peer", "ours", "theirs"}


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


def test_a_real_row_against_a_peer_of_this_test(pnn, folder, log, program):
    """The crossbar row as it is: our side is the program's own, the peer's is told to be what it is not."""
    options = {"log": log.path, "name": "peer", "values": [1.0] * 9}
    script = folder / "aihwkit_tile.py"
    script.write_text(program(options))
    done = pnn("bench", "crossbar", "--quick", "--json", env={"PNN_PEERS": str(folder)})
    assert set(done.last) == KEYS and done.last["row"] == "crossbar" and done.last["theirs"] == 1.0
    assert done.last["value"] == done.last["ours"] > 0 and done.last["bar"] is None


def test_a_row_without_its_peer(pnn, tmp_path):
    done = pnn("bench", "crossbar", "--quick", "--json", code=1, env={"PNN_PEERS": str(tmp_path)})
    told = json.loads(done.stdout)
    assert told["value"] is None and told["met"] is False and "make bench-peers" in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_an_interrupt(start, folder, log, signum, gone, program):
    script = folder / "aihwkit_tile.py"
    options = {"log": log.path, "name": "peer", "fault": "hangs", "child": True}
    script.write_text(program(options))
    process = start("bench", "crossbar", "--quick", env={"PNN_PEERS": str(folder)})
    deadline = time.monotonic() + 60
    while len(log()) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signum)
    assert process.wait(30) == 128 + signum
    assert gone() == 2

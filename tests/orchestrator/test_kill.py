"""P1 and P2 with real processes: a run that is killed, anywhere, goes on to the bytes of the run that nobody killed."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from algorithms import registry
from orchestrator.core.plan import FEWEST
from orchestrator.journal import crash, journal
from orchestrator.kept import read_history
from orchestrator.replay import replay

RUN = {"train": {"steps": 12, "evaluate_every": 4}, "journal": {"snapshot_every": 5}}
SAME = (
    "parameters_sha256",
    "accuracy",
    "accuracy_promised",
    "loss",
    "passes",
    "calls",
    "writes",
    "joules",
    "wire_bytes",
)
QUICK = {("spsa", "append.durable"), ("dfa", "append.torn"), ("phyll", "snapshot.renamed")}


def answers(told):
    return {k: told[k] for k in SAME}


@pytest.fixture(scope="module")
def reference():
    """{run file: what the run that nobody killed came to}"""
    return {}


def expected(reference, pnn, run, tmp_path):
    key = run.read_text()
    if key not in reference:
        reference[key] = answers(pnn("train", run, "--local", "--json", "--out", tmp_path / "whole").last)
    return reference[key]


def goes_on(pnn, path, wanted, *options):
    """Resume a killed run; its journal is exact, its result the wanted one, and stays so."""
    told = read_history(path)
    if told.session is not None:
        live = replay(path)  # P1: what was committed can be rebuilt
        assert live.step == told.told.steps
    result = pnn("resume", path, *(options or ["--local"]), "--json").last
    assert answers(result) == wanted
    assert replay(path).parameters_sha256 == wanted["parameters_sha256"]
    return result


def points(method):
    return [
        pytest.param(method, p, id=f"{method}, {p}", marks=() if (method, p) in QUICK else pytest.mark.slow)
        for p in crash.POINTS
    ]


@pytest.mark.parametrize(("method", "point"), [case for m in registry.METHODS for case in points(m)])
def test_killed_at_every_point_of_the_commit_path(method, point, run_file, pnn, reference, tmp_path):
    run, path = run_file(method, **RUN), tmp_path / "run"
    wanted = expected(reference, pnn, run, tmp_path)
    for count in (1, 2) if point.startswith(("append", "commit")) else (1,):
        at = f"{point}@{5 * count}" if point.startswith(("append", "commit", "step")) else point
        pnn("train", run, "--local", "--out", path, code=-signal.SIGKILL, env={"PNN_CRASH": at})
        if point == "folder.filled":
            assert not path.exists(), "a folder that exists is complete"
            pnn("train", run, "--local", "--out", path, code=0)
        goes_on(pnn, path, wanted)
        path = tmp_path / "another"


@pytest.mark.parametrize("share", ["own", pytest.param("tied", marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", ["spsa", pytest.param("physics-aware", marks=pytest.mark.slow)])
def test_a_fleet_in_banks_is_killed_in_the_middle_of_a_commit(method, share, run_file, pnn, reference, tmp_path):
    network = [{"substrate": "crossbar", "size": 4, "decode": "tanh"}, {"substrate": "crossbar", "size": 10}]
    run = run_file(method, network=network, fleet={"replicas": FEWEST, "share": share}, **RUN)
    wanted = expected(reference, pnn, run, tmp_path)
    pnn("train", run, "--local", "--out", tmp_path / "run", code=-signal.SIGKILL, env={"PNN_CRASH": "commit.half@15"})
    goes_on(pnn, tmp_path / "run", wanted)


def kill_at_random(process, path, chance, steps):
    """SIGKILL within the start (sometimes), or some milliseconds after a random step was journalled."""
    file = path / journal.NAME
    if chance.random() < 0.2:
        time.sleep(chance.uniform(0, 2))
    else:
        wanted = chance.randrange(steps)
        while process.poll() is None:
            if file.exists() and file.read_bytes().count(b'"kind":"step"') >= wanted:
                break
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.01))
    process.kill()
    return process.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", registry.METHODS)
def test_killed_twenty_times_at_random(method, run_file, pnn, start, reference, tmp_path):
    run = run_file(method, **{**RUN, "train": {"steps": 60, "evaluate_every": 20}})
    wanted = expected(reference, pnn, run, tmp_path)
    chance, equal = random.Random(f"local {method}"), 0
    for number in range(20):
        path = tmp_path / f"run-{number}"
        kill_at_random(start("train", run, "--local", "--out", path), path, chance, 60)
        if not path.exists():  # killed before it had a folder: nothing was begun, nothing is lost
            pnn("train", run, "--local", "--out", path)
        if number % 4 == 0:  # and once more
            kill_at_random(start("resume", path, "--local"), path, chance, 60)
        goes_on(pnn, path, wanted)
        equal += 1
    assert equal == 20


def actors():
    """Processes that hold an actor of this test session, not of others: they inherited the name of its folder."""
    found, ours = set(), os.environ["JAX_COMPILATION_CACHE_DIR"].encode()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::_Actor" in entry.read_bytes() and ours in (entry.parent / "environ").read_bytes():
                found.add(int(entry.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("victim", ["coordinator", "actor"])
@pytest.mark.parametrize("method", registry.METHODS)
def test_killed_ten_times_through_ray(method, victim, run_file, pnn, start, reference, tmp_path, cluster):
    """The coordinator: resumed. An actor: the run itself goes on with new ones, and nobody has to resume it.

    The first run starts a cluster of its own, the others meet that of the session.
    """
    run = run_file(method, **{**RUN, "train": {"steps": 60, "evaluate_every": 20}})
    wanted = expected(reference, pnn, run, tmp_path)
    wanted = {k: v for k, v in wanted.items() if k != "wire_bytes"}  # two workers exchange more than one
    chance = random.Random(f"ray {method} {victim}")
    for number in range(10):
        path, before = tmp_path / f"run-{number}", actors()
        place = ["--address", cluster.met_at] if number else []
        process = start("train", run, "--workers", "2", *place, "--out", path, "--json")
        file, step = path / journal.NAME, chance.randrange(60)
        while process.poll() is None and not (file.exists() and file.read_bytes().count(b'"kind":"step"') >= step):
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.02))
        if victim == "coordinator":
            process.kill()
            process.wait()
            workers = ["--workers", "3", "--address", cluster.met_at] if number % 3 == 1 else ["--local"]
            result = pnn("resume", path, *workers, "--json").last
        else:
            mine = actors() - before
            if mine:
                os.kill(chance.choice(sorted(mine)), signal.SIGKILL)
            assert process.wait(timeout=200) == 0
            result = pnn("resume", path, "--json").last  # finished: told again
        assert {k: result[k] for k in wanted} == wanted
        assert replay(path).parameters_sha256 == wanted["parameters_sha256"]

"""The exporter beside a command, and `pnn track sync`."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.tracking import free_port, wait_for
from orchestrator.cli.tracking import sync_command
from orchestrator.journal import lock
from orchestrator.problems import RunFileError
from orchestrator.tracking.exporter import missing, told
from orchestrator.tracking.tracker import Tracker
from tests.orchestrator.tracking.tracked import ENV, Writer, alive, expected, rows, runs

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's way with SQLAlchemy


# --- the tracker ------------------------------------------------------------------------------------------------------


def test_a_tracker_exports_while_the_run_goes_on_and_finishes(folder, uri):
    writer = Writer(folder)
    with Tracker(folder, uri) as tracker:
        assert tracker.run_id(folder) is None and tracker.missing(folder)
        process = tracker._process
        for number in range(6):
            writer.step()
            if number == 3:
                wait_for(lambda: told(folder, uri).get("steps") == 4)
                assert os.getpriority(os.PRIO_PROCESS, process.pid) >= 10
                assert os.getsid(process.pid) == process.pid, "a Ctrl+C in the terminal would reach it"
        writer.end()
    assert process.returncode == 0
    assert not tracker.missing(folder) and tracker.run_id(folder) == runs(uri)[0].info.run_id
    assert rows(uri) == expected(folder)


def test_a_tracker_without_a_store_does_nothing(folder):
    Writer(folder).run(4)
    before = sorted(folder.iterdir())
    with Tracker(folder, None) as tracker:
        assert tracker._process is None
    assert (tracker.missing(folder), tracker.run_id(folder)) == (False, None) and sorted(folder.iterdir()) == before


def test_a_store_that_is_dead_costs_a_bounded_wait_and_hides_the_password(folder):
    """The run is exported later; an error leaves within 5 s, and no process is left."""
    Writer(folder).run(8).end()
    uri = f"http://me:geheim@127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="mine"), Tracker(folder, uri) as tracker:
        process = tracker._process
        command = Path(f"/proc/{process.pid}/cmdline")
        wait_for(lambda: (folder / "tracking.log").exists())
        assert not command.exists() or b"geheim" not in command.read_bytes()
        began = time.monotonic()
        raise RuntimeError("mine")
    assert time.monotonic() - began < 8 and process.poll() is not None
    assert tracker.missing(folder)
    log = (folder / "tracking.log").read_text()
    assert "geheim" not in log and "does not answer" in log and len(log.splitlines()) == 1
    assert not (folder / "tracking.json").exists()


def test_a_store_that_hangs_is_left_after_the_limit(folder):
    """A server that takes the connection and never answers."""
    Writer(folder).run(8).end()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracker = Tracker(folder, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with tracker:
            process = tracker._process
            silent.settimeout(30)
            held, _ = silent.accept()
            began = time.monotonic()
            tracker.finish(1.0)
            assert time.monotonic() - began < 5 and process.poll() is not None
        held.close()


PARENT = """
import sys
from pathlib import Path
from orchestrator.journal import lock
from orchestrator.tracking.tracker import Tracker
held = lock.Lock(Path(sys.argv[1]))
with Tracker(Path(sys.argv[1]), sys.argv[2]) as tracker:
    print(tracker._process.pid, flush=True)
    sys.stdin.read()
"""


def test_a_coordinator_that_is_killed_leaves_a_killed_run_and_no_process(folder, uri):
    writer = Writer(folder).run(4)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PARENT, folder, uri], env=ENV, **pipes) as parent:
        exporter = int(parent.stdout.readline())
        wait_for(lambda: told(folder, uri).get("status") == "RUNNING")
        writer.step()
        parent.kill()
    wait_for(lambda: not alive(exporter), 25)
    (run,) = runs(uri)
    assert run.info.status == "KILLED" and rows(uri) == expected(folder) and not missing(folder, uri)


# --- pnn track sync ---------------------------------------------------------------------------------------------------


def test_sync_exports_what_is_missing_below_runs(tmp_path, uri, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Writer(tmp_path / "runs" / "one").run(8).end()
    writer = Writer(tmp_path / "runs" / "compare" / "two").run(4)
    held = lock.Lock(writer.folder)
    sync_command([], uri)
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"runs/compare/two: 4 steps and 1 points exported \(4 and 1 of them now\); RUNNING; run \w{32}", first
    )
    assert re.fullmatch(
        r"runs/one: 8 steps and 2 points exported \(8 and 2 of them now\); FINISHED; run \w{32}", second
    )
    held.release()
    sync_command(["runs/compare"], uri)
    (line,) = capsys.readouterr().out.splitlines()
    assert "4 steps and 1 points exported; KILLED" in line
    assert {run.info.status for run in runs(uri)} == {"FINISHED", "KILLED"}
    with pytest.raises(RunFileError, match=r"DIR = 'nothing' holds no run; allowed: runs/one"):
        sync_command(["nothing"], uri)


def test_sync_says_in_one_line_that_the_store_cannot_be_reached(folder, capfd):
    Writer(folder).run(4)
    began = time.monotonic()
    with pytest.raises(SystemExit) as end:
        sync_command([str(folder)], f"http://me:geheim@127.0.0.1:{free_port()}")
    (line,) = capfd.readouterr().err.splitlines()
    assert end.value.code == 1 and time.monotonic() - began < 20
    assert line.startswith("The tracking store http://me:***@127.0.0.1:") and "does not answer" in line


def test_sync_is_ended_when_the_store_hangs(folder):
    """It accepts, and never answers: the command ends after its limit."""
    Writer(folder).run(4)
    program = "import orchestrator.cli.tracking as t, sys; t.OPEN_S = 3.0; t.sync_command([sys.argv[1]], sys.argv[2])"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", program, folder, uri], capture_output=True, text=True, timeout=60, env=ENV
        )
    assert done.returncode == 1 and done.stderr == f"The tracking store {uri} cannot be used: no answer for 3 s\n"

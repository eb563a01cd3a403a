"""`pnn ui`, and stores that fail, with processes of their own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.tracking import answer, free_port, late, locked, server_of, wait_for
from orchestrator.cli.tracking import sync_command, ui_command
from orchestrator.problems import RunFileError
from orchestrator.tracking.exporter import missing, told
from tests.orchestrator.tracking.tracked import (
    ENV,
    Writer,
    alive,
    expected,
    export,
    exporting,
    rows,
    runs,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's way with SQLAlchemy


# --- pnn ui -----------------------------------------------------------------------------------------------------------


def test_ui_names_what_uses_the_port_and_the_next_free_one(uri, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(RunFileError) as refusal:
            ui_command(port, uri)
    said = str(refusal.value)
    assert said.startswith(f"command line: --port = {port} is in use by process {os.getpid()} (")
    free = int(re.search(r"a free port, for example (\d+)$", said)[1])
    assert free > port
    with pytest.raises(RunFileError, match="missing.db' does not exist; allowed: pnn train"):
        ui_command(free, str(tmp_path / "missing.db"))


def test_ui_of_a_server_prints_its_address(capsys):
    ui_command(5000, "http://me:geheim@tracking:5000")
    assert capsys.readouterr().out.startswith("http://me:***@tracking:5000 ")


@pytest.mark.slow
def test_ui_answers_on_this_machine_only_and_leaves_nothing(folder, uri):
    Writer(folder).run(4).end()
    export(folder, uri)
    port = free_port()
    program = "import sys; from orchestrator.cli.tracking import ui_command; ui_command(int(sys.argv[1]), sys.argv[2])"
    with subprocess.Popen([sys.executable, "-c", program, str(port), uri], stdout=subprocess.PIPE, env=ENV) as ui:
        assert ui.stdout.readline().decode().strip() == uri
        assert ui.stdout.readline().decode().startswith(f"http://127.0.0.1:{port} ")
        assert answer(port, "/") == 200 and answer(port, "/", "evil.example") == 403
        for address in {a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None)} - {"127.0.0.1", "::1"}:
            with pytest.raises(OSError):
                socket.create_connection((address, port), 2).close()
        (server,) = [pid for pid in processes() if stat(pid, 1) == str(ui.pid)]
        assert {server} < members(server), "uvicorn is a child of it"
        ui.send_signal(signal.SIGINT)
        assert ui.wait(20) == 0
    assert not members(server)
    with socket.create_server(("127.0.0.1", port)):
        pass


def processes():
    return [int(p.name) for p in Path("/proc").glob("[0-9]*")]


def stat(pid, field):
    """0: state, 1: parent, 2: process group"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[field]
    except OSError:
        return None


def members(group):
    return {pid for pid in processes() if stat(pid, 2) == str(group) and alive(pid)}


# --- stores that fail, with processes of their own --------------------------------------------------------------------


@contextmanager
def steps_of(writer, every_s=0.05):
    """A run that goes on meanwhile."""
    stop = threading.Event()

    def write():
        while not stop.wait(every_s):
            writer.step()
            if writer.steps % 50 == 0:
                writer.point().snapshot()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def complete(folder, uri):
    (run,) = runs(uri)
    return rows(uri) == expected(folder) and run.info.status == "FINISHED"


@pytest.mark.slow
def test_a_store_that_is_locked_for_a_minute(folder, uri):
    writer = Writer(folder).run(4)
    with exporting(folder, uri) as process:
        wait_for(lambda: told(folder, uri).get("steps") == 4)
        with steps_of(writer):
            with locked(uri):
                time.sleep(60)
                assert process.poll() is None and writer.steps > 300
                assert told(folder, uri)["steps"] < writer.steps // 4, "it was not locked at all"
            wait_for(lambda: told(folder, uri)["steps"] > writer.steps - 100, 60)
        writer.end()
        process.stdin.close()
        assert process.wait(25) == 0
    assert "locked" in (folder / "tracking.log").read_text()
    assert complete(folder, uri)


@pytest.mark.slow
def test_a_server_that_is_dead_then_there_then_killed(folder, uri, capsys):
    port, writer = free_port(), Writer(folder).run(20)
    address = f"http://127.0.0.1:{port}"
    with exporting(folder, address) as process:
        wait_for(lambda: (folder / "tracking.log").exists())
        with steps_of(writer):
            with server_of(uri, port):
                wait_for(lambda: told(folder, address).get("steps", 0) > 30, 60)
            time.sleep(3)
        writer.end()
        process.stdin.close()
        process.wait(25)
    assert missing(folder, address) and rows(uri) != expected(folder)
    with server_of(uri, port):
        sync_command([str(folder)], address)
    assert f"{writer.steps} steps" in capsys.readouterr().out
    assert complete(folder, uri) and not missing(folder, address)


@pytest.mark.slow
def test_a_server_that_takes_two_seconds_a_call(folder, uri, capsys):
    port, writer = free_port(), Writer(folder)
    with server_of(uri, port), late(port, 2.0) as address, exporting(folder, address) as process:
        with steps_of(writer):
            wait_for(lambda: told(folder, address).get("steps", 0) > 40, 120)
        writer.end()
        process.stdin.close()
        process.wait(25)
        assert told(folder, address)["steps"] == writer.steps, "the last round comes to the steps first"
        sync_command([str(folder)], address)
        assert "FINISHED" in capsys.readouterr().out
    assert complete(folder, uri) and not missing(folder, address)


TRAIN = """
import json, sys
from pathlib import Path
from orchestrator import Run, api, folder
from orchestrator.tracking.tracker import Tracker
place = Path(sys.argv[1])
if not place.exists():
    folder.make_run(place, "run", Run.build(json.loads(sys.argv[3])), None)
with Tracker(place, sys.argv[2]) as tracker:
    print(tracker._process.pid, flush=True)
    api.resume(place)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed(small_tree, folder, uri):
    """The whole program: SIGKILL in the middle of training, and the rest of it by another process."""
    tree = small_tree("spsa", train={"steps": 400, "evaluate_every": 100})
    command = [sys.executable, "-c", TRAIN, folder, uri, json.dumps(tree)]
    with subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE) as first:
        exporter = int(first.stdout.readline())
        wait_for(lambda: told(folder, uri).get("steps", 0) > 20, 120)
        first.kill()
    wait_for(lambda: not alive(exporter), 25)
    (run,) = runs(uri)
    assert run.info.status == "KILLED" and told(folder, uri)["steps"] < 400
    subprocess.run(command, env=ENV, stdout=subprocess.DEVNULL, timeout=200, check=True)
    assert complete(folder, uri) and len(rows(uri)) > 400

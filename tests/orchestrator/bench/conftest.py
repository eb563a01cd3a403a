"""Witnesses: real sides that note what happens to them."""

import json
import sys
import time
from pathlib import Path

import pytest

from orchestrator.bench import measure, sides
from orchestrator.bench.row import Part, peer

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


@pytest.fixture
def measured():
    """measured(parts...) -> what they came to."""
    return lambda *parts: list(measure.measure(parts, sides.cores(), lambda message: None))


@pytest.fixture
def program():
    """program(options) -> a witness that has these options, whatever it is given."""
    return lambda options: WITNESS.replace("o = parser.parse_args().options", f"o = {options!r}")


def alive(pid):
    """Whether a process runs; one that is dead and not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def gone(log):
    """gone() waits until all processes that were noted have ended; how many there were."""

    def wait():
        pids = [what["pid"] for _, what in log() if isinstance(what, dict)]
        deadline = time.monotonic() + 20
        while any(map(alive, pids)):
            assert time.monotonic() < deadline, "a side, or what it started, still runs"
            time.sleep(0.02)
        return len(pids)

    return wait

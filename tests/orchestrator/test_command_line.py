"""The program as its user types it: options, exit codes, what stands on stdout, what is left in the folder."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.journal import journal
from orchestrator.kept import read_history

ROOT = Path(__file__).parents[2]
PNN = [sys.executable, "-c", "from orchestrator.cli import main; main()"]
TINY = str(ROOT / "examples" / "tiny.toml")
QUICK = ["--set", "train.steps=3", "--set", "train.evaluate_samples=64"]


KEYS = {
    "accuracy", "accuracy_worst", "accuracy_promised", "loss", "steps", "passes", "calls", "writes",
    "passes_per_prediction", "parameters_physical", "parameters_digital", "device_seconds", "joules", "wire_bytes",
    "wall_s", "parameters_sha256", "directory", "method", "seed", "tracking_run_id",
}  # fmt: skip


def test_help_imports_nothing_heavy():
    code = (
        "import sys, typer.testing, orchestrator.cli as c\n"
        "r = typer.testing.CliRunner().invoke(c.app, ['--help'])\n"
        "assert r.exit_code == 0 and 'pnn compare' in r.output, r.output\n"
        "print(sorted({'jax', 'ray', 'numpy', 'pydantic', 'matplotlib'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.strip() == "[]"


COMMANDS = ["train", "resume", "compare", "evaluate", "replay", "diff", "track sync", "ui", "list", "doctor", "schema"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_an_example(command):
    from typer.testing import CliRunner

    from orchestrator.cli import app

    shown = CliRunner().invoke(app, [*command.split(), "--help"])
    assert shown.exit_code == 0 and f"Example: pnn {command}" in shown.output


def test_train_then_evaluate(tmp_path, pnn):
    done = pnn("train", TINY, "--local", "--out", tmp_path / "run", "--json", *QUICK)
    result = done.last
    assert set(result) == KEYS
    assert result["directory"] == str(tmp_path / "run")
    files = ("run.toml", "run.json", "journal.pnn", "parameters.safetensors", "result.json", "curve.csv", "ledger.json")
    for name in (*files, "figure.png"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    assert "step 2/3" not in done.stdout, "progress belongs on stderr"
    again = pnn("evaluate", tmp_path / "run", "--local", "--json").last
    assert set(again) == KEYS
    for key in ("accuracy", "accuracy_worst", "accuracy_promised", "loss", "parameters_sha256"):
        assert again[key] == result[key], key
    refused = pnn("train", TINY, "--local", "--out", tmp_path / "run", *QUICK, code=2)
    assert "is in use" in refused.stderr and "pnn resume" in refused.stderr


@pytest.mark.parametrize("command", ["evaluate", "resume", "replay"])
def test_what_is_no_run_is_refused(command, tmp_path, pnn):
    (tmp_path / "empty").mkdir()
    assert "'journal.pnn' is missing" in pnn(command, tmp_path / "empty", code=2).stderr
    assert "is no folder" in pnn(command, tmp_path / "none", code=2).stderr
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


def test_a_refused_run_leaves_no_folder(tmp_path, pnn):
    """The folder is made before the plan can be checked, and removed again."""
    for out in ([], ["--out", tmp_path / "run"]):
        pnn("train", TINY, "--local", *out, "--set", "network.1.size=11", code=2)
        assert not list(tmp_path.iterdir())


def test_a_finished_run_tells_the_same_again(tmp_path, pnn):
    first = pnn("train", TINY, "--local", "--out", tmp_path / "run", "--json", *QUICK)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != "lock"}
    again = pnn("resume", tmp_path / "run", "--json")
    assert again.stdout == first.stdout
    assert before == {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != "lock"}
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "parameters.safetensors").unlink()
    assert pnn("resume", tmp_path / "run", "--json").stdout == first.stdout
    assert before == {p: p.read_bytes() for p in before}


LONG = ["--set", "train.steps=100000", "--set", "train.evaluate_every=50"]


def wait_for_step(process, path, step=3):
    journal = path / "journal.pnn"
    while not (journal.exists() and journal.read_bytes().count(b'"kind":"step"') >= step):
        assert process.poll() is None
        time.sleep(0.02)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_ends_the_step_and_says_how_to_go_on(signum, code, times, tmp_path, pnn, start):
    path = tmp_path / "run"
    process = start("train", TINY, "--local", "--out", path, *LONG)
    wait_for_step(process, path)
    refused = pnn("resume", path, "--local", code=2).stderr
    assert f"is being written by process {process.pid} " in refused
    for _ in range(times):
        process.send_signal(signum)
        while process.poll() is None and signum.name not in (tmp_path / "0.err").read_text():
            time.sleep(0.01)  # the second while the first is told would end all before it is told
    assert process.wait(timeout=60) == code
    told = (tmp_path / "0.err").read_text()
    assert f"pnn resume {path} --local" in told and "Traceback" not in told
    assert f"{signum.name}: finishing the step" in told
    if times == 1:
        steps = read_history(path).told.steps
        assert f"Stopped after step {steps} of 100000" in told
    assert not list(path.glob("**/.*draft"))


def test_a_run_stopped_by_a_signal_goes_on_to_the_same_bytes(tmp_path, pnn, start):
    steps = ["--set", "train.steps=2000", "--set", "train.evaluate_samples=64"]
    whole = pnn("train", TINY, "--local", "--json", *steps).last
    process = start("train", TINY, "--local", "--out", tmp_path / "run", *steps)
    wait_for_step(process, tmp_path / "run", 10)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    again = pnn("resume", tmp_path / "run", "--local", "--json").last
    varies = {"directory", "wall_s"}
    assert {k: v for k, v in again.items() if k not in varies} == {k: v for k, v in whole.items() if k not in varies}


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk")
@pytest.mark.parametrize("snapshot_every", [5, 1000])
def test_a_full_disk_pauses_training_and_room_lets_it_go_on(snapshot_every, tmp_path, pnn, start, surroundings):
    """A disk of 1 MiB: full at a snapshot, or after some steps; then a file on it is removed."""
    steps = [*STEPS, "--set", f"journal.snapshot_every={snapshot_every}"]
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces are not allowed here")
    disk = tmp_path / "disk"
    disk.mkdir()
    program = shlex.join([*PNN, "train", TINY, "--local", "--json", "--out", str(disk / "run"), *steps])
    script = (
        f"mount -t tmpfs -o size=1m none {disk} && head -c 1015808 /dev/zero > {disk}/ballast && "
        f"({program} > {tmp_path}/out 2> {tmp_path}/err; echo $? > {tmp_path}/code) & "
        f"until grep -q 'is full' {tmp_path}/err; do sleep 0.1; done; sleep 1; "
        f"cp {disk}/run/journal.pnn {tmp_path}/paused.pnn; rm {disk}/ballast; wait; "
        f"cp -r {disk}/run {tmp_path}/run"
    )
    subprocess.run(["unshare", "-rm", "bash", "-c", script], env=surroundings, timeout=60, check=True)
    told = (tmp_path / "err").read_text()
    assert (tmp_path / "code").read_text().strip() == "0", told
    assert "Training pauses with the devices at rest" in told and "Traceback" not in told
    paused = list(journal.read(tmp_path / "paused.pnn"))
    whole = list(journal.read(tmp_path / "run" / "journal.pnn"))
    assert 0 < len(paused) < len(whole)
    assert [e.hash for e in whole[: len(paused)]] == [e.hash for e in paused], "committed steps are intact"
    wanted = pnn("train", TINY, "--local", "--json", *steps).last["parameters_sha256"]
    assert json.loads((tmp_path / "out").read_text())["parameters_sha256"] == wanted


STEPS = ["--set", "train.steps=60", "--set", "train.evaluate_samples=64"]


def test_compare_lays_runs_side_by_side_and_repeats_one_sharded(tmp_path, pnn):
    table = "[compare]\nseeds = [0, 1]\n[compare.dfa]\n[compare.in-silico]\nsteps = 2\n"
    run = tmp_path / "run.toml"
    run.write_text(Path(TINY).read_text() + table)
    done = pnn("compare", run, "--local", "--json", "--out", tmp_path / "out", *QUICK[2:], "--set", "train.chunk=32")
    rows = [json.loads(line) for line in done.stdout.strip().split("\n")]
    assert [(r["method"], r["seed"], r["steps"]) for r in rows] == [
        ("in-silico", 0, 2), ("in-silico", 1, 2), ("dfa", 0, 20), ("dfa", 1, 20),
    ]  # fmt: skip
    assert all(set(r) == KEYS for r in rows)
    assert "the same bytes" in done.stderr and "worker 1:" in done.stderr
    assert (tmp_path / "out" / "figure.png").stat().st_size > 0
    more = pnn("resume", tmp_path / "out", "--local", "--json")
    assert more.stdout == done.stdout, "a finished comparison tells the same again"
    again = pnn("evaluate", tmp_path / "out" / "dfa-1", "--local", "--json").last
    assert again["accuracy"] == rows[-1]["accuracy"]


def test_a_comparison_that_was_killed_goes_on_where_it_was(tmp_path, pnn):
    run = tmp_path / "run.toml"
    run.write_text(Path(TINY).read_text() + "[compare]\nseeds = [0, 1]\n[compare.dfa]\n[compare.spsa]\nprobes = 4\n")
    whole = pnn("compare", run, "--local", "--json", "--out", tmp_path / "whole", *QUICK)
    pnn(
        *("compare", run, "--local", "--out", tmp_path / "out", *QUICK),
        code=-signal.SIGKILL,
        env={"PNN_CRASH": "append.durable@24"},
    )
    done = {p.parent.name for p in (tmp_path / "out").glob("*/result.json")}
    assert 0 < len(done) < 4
    again = pnn("resume", tmp_path / "out", "--local", "--json")
    rows = [[json.loads(line) for line in p.stdout.strip().split("\n")] for p in (whole, again)]
    for one, other in zip(*rows, strict=True):
        varies = {"directory", "wall_s"}
        assert {k: v for k, v in one.items() if k not in varies} == {k: v for k, v in other.items() if k not in varies}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "none.toml"], "does not exist"),
        (["train", TINY, "--lokal"], "--lokal"),
        (["train", TINY, "--local", "--workers", "2"], "leave out --workers"),
        (["train", TINY, "--workers", "0"], "--workers"),
        (["train", TINY, "--set", "train.steps=many"], "train.steps = 'many'"),
        (["compare", TINY], "compare is missing"),
        (["trian", TINY], "trian"),
    ],
)
def test_mistakes_exit_2_without_starting_anything(arguments, told, tmp_path, pnn):
    assert told in pnn(*arguments, code=2, cwd=tmp_path).stderr
    assert not list(tmp_path.iterdir())


NAMESPACE = """
import fcntl, os, socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(s, 0x8914, struct.pack("16sH14s", b"lo", 0x1 | 0x40, b""))  # loopback up; there is no other interface
os.execv(sys.argv[1], sys.argv[1:])
"""


def without_network():
    """A prefix that runs a command in a network namespace without routes, or None where that is not allowed."""
    probe = subprocess.run(["unshare", "--net", "--map-root-user", "true"], capture_output=True, check=False)
    if probe.returncode:
        return None
    return ["unshare", "--net", "--map-root-user", sys.executable, "-c", NAMESPACE]


@pytest.mark.ray
def test_the_network_denied_changes_nothing(pnn):
    prefix = without_network()
    if prefix is None:
        pytest.skip("network namespaces are not allowed here")
    check = [*prefix, sys.executable, "-c", "import socket; socket.create_connection(('10.0.0.1', 80), 2)"]
    assert "unreachable" in subprocess.run(check, capture_output=True, text=True, check=False).stderr
    shas = set()
    for where in (["--local"], ["--workers", "2"]):
        shas.add(pnn("train", TINY, *where, "--json", *QUICK, prefix=prefix).last["parameters_sha256"])
    shas.add(pnn("train", TINY, "--local", "--json", *QUICK).last["parameters_sha256"])
    assert len(shas) == 1

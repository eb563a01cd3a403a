"""The program as its user types it: options, exit codes, what stands on stdout, what is left in the folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = str(ROOT / "examples" / "tiny.toml")
QUICK = ["--set", "train.steps=3", "--set", "train.evaluate_samples=64"]


KEYS = {
    "accuracy", "accuracy_worst", "accuracy_promised", "loss", "steps", "passes", "calls", "writes",
    "passes_per_prediction", "parameters_physical", "parameters_digital", "device_seconds", "joules", "wire_bytes",
    "wall_s", "parameters_sha256", "directory", "method", "seed",
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


@pytest.mark.parametrize("command", ["train", "compare", "evaluate", "list", "doctor", "schema"])
def test_every_help_shows_an_example(command):
    from typer.testing import CliRunner

    from orchestrator.cli import app

    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0 and f"Example: pnn {command}" in shown.output


def test_train_then_evaluate(tmp_path, pnn):
    done = pnn("train", TINY, "--local", "--out", tmp_path / "run", "--json", *QUICK)
    result = done.last
    assert set(result) == KEYS
    assert result["directory"] == str(tmp_path / "run")
    for name in ("run.toml", "run.json", "parameters.npz", "result.json", "figure.png"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    assert "step 2/3" not in done.stdout, "progress belongs on stderr"
    again = pnn("evaluate", tmp_path / "run", "--local", "--json").last
    assert set(again) == KEYS
    for key in ("accuracy", "accuracy_worst", "accuracy_promised", "loss", "parameters_sha256"):
        assert again[key] == result[key], key
    refused = pnn("train", TINY, "--local", "--out", tmp_path / "run", *QUICK, code=2)
    assert "is in use" in refused.stderr


def test_evaluate_refuses_what_is_no_run(tmp_path, pnn):
    assert "is missing" in pnn("evaluate", tmp_path, "--local", code=2).stderr
    pnn("train", TINY, "--local", "--out", tmp_path / "run", *QUICK)
    archive = tmp_path / "run" / "parameters.npz"
    archive.write_bytes(archive.read_bytes()[:-200])
    assert "is damaged" in pnn("evaluate", tmp_path / "run", "--local", code=2).stderr


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
    again = pnn("evaluate", tmp_path / "out" / "dfa-1", "--local", "--json").last
    assert again["accuracy"] == rows[-1]["accuracy"]


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

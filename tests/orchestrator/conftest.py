"""The program as a process."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PNN = [sys.executable, "-c", "from orchestrator.cli import main; main()"]


@pytest.fixture(scope="session")
def surroundings() -> dict[str, str]:
    """The environment of a process: no tracking unless a test asks for it."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PNN_TRACKING": "none"}


@pytest.fixture
def pnn(tmp_path, surroundings):
    """pnn("train", ..., code=0) -> the process that ended, with `.last`: the JSON object that ends its stdout.

    It runs below a temporary folder unless `cwd` is given.
    """

    def run(*arguments, code=0, cwd=tmp_path, env=None, prefix=()):
        environment = {**surroundings, **(env or {})}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), (env or {}).get("PYTHONPATH")]))
        command = [*prefix, *PNN, *map(str, arguments)]
        done: Any = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=280)
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        if "--json" in arguments and code == 0:
            done.last = json.loads(done.stdout.strip().split("\n")[-1])
        return done

    return run


@pytest.fixture
def start(tmp_path, surroundings):
    """start("train", ...) -> a running process, ended with the test if it has not ended by itself."""
    running = []

    def begin(*arguments, env=None):
        files = [open(tmp_path / f"{len(running)}.{name}", "w+") for name in ("out", "err")]
        process = subprocess.Popen(
            [*PNN, *map(str, arguments)],
            stdout=files[0],
            stderr=files[1],
            cwd=tmp_path,
            env={**surroundings, **(env or {})},
            start_new_session=True,
        )
        running.append((process, files))
        return process

    yield begin
    for process, files in running:
        if process.poll() is None:
            process.kill()
            process.wait()
        for file in files:
            file.close()


def toml(tree: Any) -> str:
    """A run file as text: every table inline, which is TOML as well."""

    def value(v: Any) -> str:
        if isinstance(v, dict):
            return "{" + ", ".join(f"{json.dumps(k)} = {value(x)}" for k, x in v.items()) + "}"
        return "[" + ", ".join(map(value, v)) + "]" if isinstance(v, list) else json.dumps(v)

    text = "\n".join(f"{k} = {value(v)}" for k, v in tree.items()) + "\n"
    assert tomllib.loads(text) == tree
    return text


@pytest.fixture
def run_file(small_tree, tmp_path):
    """run_file(method, **changes) -> path of a run file with a small run."""

    def write(method, **changes):
        path = tmp_path / f"{method}.toml"
        path.write_text(toml(small_tree(method, **changes)))
        return path

    return write

"""The program as a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_pnn(*arguments, code=0, cwd=None, env=None, prefix=()):
    """Run `pnn ...`; returns the process, its output as text, and as `.last` the JSON object that ends stdout."""
    command = [*prefix, sys.executable, "-c", "from orchestrator.cli import main; main()", *map(str, arguments)]
    environment = {**os.environ, **(env or {})}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), (env or {}).get("PYTHONPATH")]))
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=280)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    if "--json" in arguments and code == 0:
        done.last = json.loads(done.stdout.strip().split("\n")[-1])
    return done


@pytest.fixture
def pnn(tmp_path):
    """pnn("train", ..., code=0); runs below a temporary folder unless `cwd` is given."""
    return lambda *arguments, **options: run_pnn(*arguments, **{"cwd": tmp_path, **options})

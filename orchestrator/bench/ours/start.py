"""Seconds from the start of a fresh `pnn train` to the end of its first step, which is when its record is on the disk.

What was compiled before comes from a cache on the disk; setting up fills it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator.bench.serve import Round
from orchestrator.journal import frames, journal

POLL_S, LIMIT_S = 0.004, 200.0
COMMAND = [sys.executable, "-c", "from orchestrator.cli import main; main()"]
RUN = """# two crossbars, 2,410 parameters; the steps never end by themselves
network = [{ substrate = "crossbar", size = 32, decode = "tanh" }, { substrate = "crossbar", size = 10 }]
method = { name = "spsa", probes = 8 }
train = { steps = 1_000_000, batch = 64, evaluate_every = 1_000_000 }
"""


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: how (options of `pnn train`, a list of words), scratch (a folder)."""
    scratch = Path(options["scratch"])
    run_file = scratch / "run.toml"
    run_file.write_text(RUN)
    environment = with_cache(dict(os.environ), options["scratch"])
    for name in ("PNN_TRACKING", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)  # tracked in scratch, unless `how` says otherwise

    def measure() -> dict[str, Any]:
        place = Path(tempfile.mkdtemp(dir=scratch)) / "run"
        command = [*COMMAND, "train", str(run_file), "--out", str(place), *options["how"]]
        began = time.perf_counter()
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, stdout=quiet, stderr=sys.stderr, env=environment, cwd=scratch) as process:
            try:
                while not stepped(place):
                    if process.poll() is not None:
                        raise SystemExit(f"pnn train ended with code {process.returncode} before its first step")
                    if time.perf_counter() - began > LIMIT_S:
                        raise SystemExit(f"pnn train made no step within {LIMIT_S:g} s")
                    time.sleep(POLL_S)
                seconds = time.perf_counter() - began
            finally:
                process.send_signal(signal.SIGTERM)  # it ends its step and its cluster
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
        return {"value": seconds}

    measure()
    return {"command": " ".join(["pnn train RUN.toml", *options["how"]])}, measure


def stepped(place: Path) -> bool:
    """Whether the journal of a run has the record of a step."""
    try:
        return any(event.kind == "step" for event in journal.read(place / journal.NAME))
    except (OSError, frames.Damage):
        return False


def with_cache(environment: dict[str, str], scratch: str) -> dict[str, str]:
    """An environment in which JAX keeps in this folder all that it compiles, without a limit.

    Both sides share the folder. A process with a limit keeps nothing beside files of one without: those have no times.
    """
    unlimited = {k: v for k, v in environment.items() if k != "JAX_COMPILATION_CACHE_MAX_SIZE"}
    return {
        **unlimited,
        "JAX_COMPILATION_CACHE_DIR": str(Path(scratch) / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

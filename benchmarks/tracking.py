"""What tracking costs a training loop: pairs of runs, one without it and one with it, in fresh processes.

    python benchmarks/tracking.py --state healthy|locked|slow|dead|killed      the store of MLflow meanwhile
    python benchmarks/tracking.py --what journal     journal, ledger and tracking together, against a run in memory

The number of probes is chosen so that a step takes about --ms. Times are of the steps after the first few, which
compile; what one run does is in orchestrator/bench/ours/record.py. Within a pair the order alternates, so that a
machine that gets slower or faster does not count. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 300.0  # for one run
DELAY_S = 2.0
STATES = ("healthy", "locked", "slow", "dead", "killed")
PACKAGES = ("jax", "numpy", "mlflow", "safetensors")


# --- one run, in a process of its own ---------------------------------------------------------------------------------


def nothing() -> None:
    """What happens meanwhile, if nothing does."""


def train(
    place: Path | None, store: str | None, steps: int, probes: int, meanwhile: Callable[[], None] = nothing
) -> dict[str, Any]:
    """{"value": seconds a step, "exporter_cpu_s"}: one round of the side `record`. place None: in memory.

    meanwhile: is called while it runs.
    """
    from orchestrator.bench import sides
    from orchestrator.bench.row import ours

    kept = {"kept": True, "folder": str(place), "store": store} if place else {"kept": False, "store": None}
    with sides.started(ours("record", steps=steps, probes=probes, **kept), sides.cores()) as process:
        process.ready(LIMIT_S)
        process.ask()
        meanwhile()
        return process.answer(LIMIT_S)


# --- stores -----------------------------------------------------------------------------------------------------------


@contextmanager
def store_of(state: str, uri: str, place: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """(the store of one run, what happens to it meanwhile)"""
    with ExitStack() as stack:
        if state == "healthy":
            yield uri, nothing
        elif state == "locked":
            stack.enter_context(locked(uri))
            yield uri, nothing
        elif state == "dead":
            yield f"http://127.0.0.1:{free_port()}", nothing
        elif state == "slow":
            port = free_port()
            stack.enter_context(server_of(uri, port))
            yield stack.enter_context(late(port, DELAY_S)), nothing
        else:
            port = free_port()
            server = stack.enter_context(server_of(uri, port))
            address = f"http://127.0.0.1:{port}"

            def kill() -> None:
                from orchestrator.tracking.exporter import told

                wait_for(lambda: told(place, address).get("steps", 0) > 0, 60)
                os.killpg(server.pid, signal.SIGKILL)

            yield address, kill


@contextmanager
def locked(uri: str) -> Iterator[None]:
    """A SQLite store that nobody else may write to."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.rollback()


@contextmanager
def server_of(uri: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's own server for a SQLite store, once it answers."""
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--artifacts-destination", f"{uri.removeprefix('sqlite:///')}-artifacts"]
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment, start_new_session=True) as server:
        try:
            wait_for(lambda: answer(port, "/health") == 200, 90)
            yield server
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # the group that it leads; uvicorn is in it


def answer(port: int, path: str, host: str | None = None) -> int | None:
    """The HTTP status; None if nobody answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host} if host else {})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as found:
            return int(found.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


@contextmanager
def late(port: int, delay_s: float) -> Iterator[str]:
    """The address of a server that passes everything on to a port, each piece of a request late."""

    def pump(source: socket.socket, target: socket.socket, wait_s: float) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                time.sleep(wait_s)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", port)) as far:
            back = threading.Thread(target=pump, args=(far, near, 0.0))
            back.start()
            pump(near, far, delay_s)
            back.join()

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(condition: Callable[[], bool], limit_s: float = 40.0) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not happen within {limit_s:g} s")
        time.sleep(0.05)


# --- pairs ------------------------------------------------------------------------------------------------------------


def probes_for(ms: float) -> int:
    """The number of probes with which a step in memory takes about so long on this machine."""
    from orchestrator.bench import sides
    from orchestrator.bench.row import ours

    with sides.started(ours("probes", ms=ms, steps=60), sides.cores()) as process:
        process.ready(LIMIT_S)
        return int(process.round(LIMIT_S)["value"])


def measure(what: str, state: str, pairs: int, steps: int, probes: int, scratch: Path) -> dict[str, Any]:
    """Runs the pairs; ratios are (with tracking) / (without)."""
    from orchestrator.bench.measure import interval
    from orchestrator.tracking.exporter import missing

    without, with_, cpu, lacking = [], [], [], 0
    uri = f"sqlite:///{scratch / 'mlflow.db'}"
    make_store(uri)
    for number in range(pairs):
        for which in ("AB", "BA")[number % 2]:
            place = scratch / f"{number}{which}"
            if which == "A":
                kept = place if what == "tracking" else None
                without.append(train(kept, None, steps, probes)["value"])
                continue
            with store_of(state, uri, place) as (store, meanwhile):
                found = train(place, store, steps, probes, meanwhile)
            with_.append(found["value"])
            cpu.append(found["exporter_cpu_s"])
            lacking += missing(place, store)
        print(f"{number + 1}/{pairs}: {1e3 * without[-1]:.2f} ms a step, {1e3 * with_[-1]:.2f} with", file=sys.stderr)
    ratios = [b / a for a, b in zip(without, with_, strict=True)]
    mean, *interval_95 = interval(ratios)
    return {
        "what": what,
        "state": state,
        "pairs": pairs,
        "steps": steps,
        "probes": probes,
        "median_ratio": statistics.median(ratios),
        "mean_ratio": mean,
        "interval_95": interval_95 if pairs > 1 else None,
        "median_step_s": statistics.median(without),
        "exporter_cpu_s": statistics.median(cpu),
        "runs_that_a_sync_must_complete": lacking,
        "ratios": ratios,
    }


def make_store(uri: str) -> None:
    """Made before the first pair, as it is after a user's first run."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = "import sys; from orchestrator.tracking.store import Store; Store(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, uri], check=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", choices=STATES, default="healthy")
    parser.add_argument("--what", choices=("tracking", "journal"), default="tracking")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--ms", type=float, default=20.0, help="of a step, about")
    parser.add_argument("--probes", type=int, help="instead of what takes --ms")
    parser.add_argument("--out", type=Path, help="default: docs/results/tracking-STATE.json")
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        probes = given.probes or probes_for(given.ms)
        found = measure(given.what, given.state, given.pairs, given.steps, probes, Path(scratch))
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    found |= {"cores": os.cpu_count(), "load_before": load, "python": platform.python_version(), "versions": versions}
    name = given.state if given.what == "tracking" else f"journal-{given.state}"
    out = given.out or ROOT / "docs" / "results" / f"tracking-{name}.json"
    out.write_text(json.dumps(found, indent=1) + "\n")
    low, high = found["interval_95"] or (math.nan, math.nan)
    print(
        f"{given.what}, store {given.state}: median ratio {found['median_ratio']:.4f}, mean {found['mean_ratio']:.4f} "
        f"(95 % {low:.4f} to {high:.4f}), {given.pairs} pairs of {1e3 * found['median_step_s']:.1f} ms a step; "
        f"exporter {found['exporter_cpu_s']:.1f} CPU seconds; {out}"
    )


if __name__ == "__main__":
    main()

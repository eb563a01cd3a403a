"""MLflow's own server in the foreground, for this machine alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from orchestrator.problems import Problem, RunFileError
from orchestrator.public import public
from orchestrator.tracking import sqlite_path

HOST = "127.0.0.1"
START_S = 90.0


def serve(uri: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve a database store until Ctrl+C. Raises `RunFileError` if that cannot be, OSError if the server fails."""
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        problem = Problem(("--tracking",), str(path), "does not exist", allowed="pnn train and pnn track sync make it")
        raise RunFileError([problem], "command line", "")
    _check(port)
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--allowed-hosts", f"localhost:{port},{HOST}:{port}"]
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,  # not on the command line: it may hold a password
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a scheduler and its processes, for what we do not use
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    if path is not None:
        environment["MLFLOW_ARTIFACTS_DESTINATION"] = str(path.parent / f"{path.stem}-artifacts")
    handlers = {s: signal.signal(s, _interrupt) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with tempfile.TemporaryFile() as said:
        # a session of its own, so that its children can be ended with it, and nothing else
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment, start_new_session=True
        )
        try:
            _until_it_answers(server, port)
            tell(f"{public(uri)}\nhttp://{HOST}:{port}  (this machine only; Ctrl+C ends it)")
            server.wait()
        except KeyboardInterrupt:
            return
        finally:
            _end(server)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        said.seek(0)
        lines = public(said.read().decode(errors="replace")).strip().splitlines()
    raise OSError(f"MLflow's server ended with code {server.returncode}: {lines[-1] if lines else 'it said nothing'}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _until_it_answers(server: subprocess.Popen[bytes], port: int) -> None:
    """Returns once it does, or has ended."""
    deadline = time.monotonic() + START_S
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None:
        try:
            with direct.open(f"http://{HOST}:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            pass
        if time.monotonic() > deadline:
            raise OSError(f"MLflow's server did not answer on port {port} within {START_S:g} s")
        time.sleep(0.2)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End it and its children; nobody else is in its process group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # another Ctrl+C would leave them
    for number, wait_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 1.0)):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            break  # none is left
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and _any_left(server):
            time.sleep(0.05)
    server.wait()


def _any_left(server: subprocess.Popen[bytes]) -> bool:
    server.poll()
    try:
        os.killpg(server.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _check(port: int) -> None:
    """Raises `RunFileError` if the port is in use."""
    if _free(port):
        return
    user = _user_of(port)
    following = next((p for p in range(port + 1, min(port + 100, 65536)) if _free(p)), None)
    allowed = f"a free port, for example {following}" if following else "a free port"
    wrong = f"is in use by {user}" if user else "is in use, or may not be used"
    raise RunFileError([Problem(("--port",), port, wrong, allowed=allowed)], "command line", "")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except (OSError, OverflowError):
            return False
    return True


def _user_of(port: int) -> str | None:
    """The process that listens there, as far as Linux lets us see it."""
    try:
        rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    except OSError:
        return None
    inodes = {f"socket:[{r[9]}]" for r in rows if r[1].endswith(f":{port:04X}") and r[3] == "0A"}
    for handle in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(handle) in inodes:
                words = (handle.parents[1] / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                return f"process {handle.parents[1].name} ({public(words.strip())[:200]})"
        except OSError:
            continue
    return None

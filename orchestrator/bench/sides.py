"""Sides as processes: started on pinned cores, asked for rounds, and ended whatever happens.

A side leads a process group of its own, so that what it starts ends with it. It has the protocol of `serve`; when it
dies, is silent for too long or says anything else, `Failed` tells what it last wrote to standard error.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator import cache
from orchestrator.bench.row import Side

HOME = Path(__file__).resolve().parents[2]
CORES = 2  # that both sides of a comparison run on: what the table was written for
TAIL = 12  # lines of standard error that are told
LOOK_S = 0.2  # between two looks whether a silent side lives
LONGEST = 1 << 20  # bytes of an answer
PATIENCE_S, HURRY_S = 30.0, 3.0  # for a side to end by itself: after its rounds, or when something went wrong
FLAG = "--xla_backend_optimization_level=1"  # ours: see orchestrator/__init__.py
# The affinity is set in the child before it becomes the side: no thread of it can have started elsewhere.
PIN = """import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [int(core) for core in sys.argv[1].split(",")])
os.execv(sys.argv[2], sys.argv[2:])"""


class Failed(RuntimeError):
    """A side cannot be measured; the message says why."""


def cores() -> list[int]:
    """The cores that both sides are pinned to: the first ones that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))[:CORES]
    return list(range(min(CORES, os.cpu_count() or 1)))


def peers() -> Path:
    """The folder of the peers: PNN_PEERS, or that of the checkout."""
    return Path(os.environ.get("PNN_PEERS") or HOME / "benchmarks" / "peers")


def command(side: Side, options: dict[str, Any]) -> list[str]:
    """The command line of a side. Raises `Failed` if it is not there, with what to do."""
    words = ["--options", json.dumps(options)]
    if side.kind == "ours":
        if importlib.util.find_spec(f"orchestrator.bench.ours.{side.name}") is None:
            raise Failed("not built yet")
        return [sys.executable, "-P", "-m", "orchestrator.bench.ours", side.name, *words]
    script, python = peers() / f"{side.name}.py", peers() / ".venv" / "bin" / "python"
    for path in (script, python):
        if not path.exists():
            raise Failed(
                f"the peer {side.name} is not installed, for there is no {path}. In a checkout, make bench-peers "
                "installs all peers; elsewhere PNN_PEERS names their folder"
            )
    return [str(python), str(script), *words]


def surroundings(kind: str) -> dict[str, str]:
    """The environment of a side. A peer gets nothing of what this package sets for itself (threads, flags of XLA)."""
    found = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}  # both sides hold the same GPU, if there is one
    if kind == "ours":
        if "site-packages" not in HOME.parts:
            found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HOME), found.get("PYTHONPATH")]))
        return found
    for name in ("PYTHONPATH", "NPROC"):
        found.pop(name, None)
    found["XLA_FLAGS"] = " ".join(flag for flag in found.get("XLA_FLAGS", "").split() if flag != FLAG)
    return cache.without(found)


class Process:
    """A side that runs. Raises `Failed` from every method but `close`."""

    def __init__(self, words: Sequence[str], environment: dict[str, str], pinned: Sequence[int]) -> None:
        self._errors = tempfile.TemporaryFile()
        self._read = b""
        pin = [sys.executable, "-I", "-S", "-c", PIN, ",".join(map(str, pinned))]
        self.process = subprocess.Popen(
            [*pin, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,  # a group of its own; a Ctrl+C in the terminal is for the command alone
        )

    def ready(self, deadline_s: float) -> dict[str, Any]:
        """{"versions": ..., "about": ...}, once it is warm."""
        told = self._object(deadline_s).get("ready")
        if not isinstance(told, dict):
            raise self._failed('did not begin with {"ready": ...}')
        return {"versions": {}, "about": {}, **told}

    def ask(self) -> None:
        """Let it begin a round."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        except OSError:
            raise self._failed(self._end()) from None

    def answer(self, deadline_s: float) -> dict[str, Any]:
        """{"value": a finite number, ...} of the round that it was asked for."""
        told = self._object(deadline_s)
        if not number(told.get("value")):
            raise self._failed(f'answered without a finite "value": {str(told)[:200]}')
        return told

    def round(self, deadline_s: float) -> dict[str, Any]:
        self.ask()
        return self.answer(deadline_s)

    def close(self, patience_s: float = PATIENCE_S) -> None:
        """End of its input; if it does not end then, SIGTERM and at last SIGKILL to its group, which is all ours."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            with suppress(OSError):
                self.process.stdin.close()
            for signum, wait_s in ((None, patience_s), (signal.SIGTERM, HURRY_S)):
                if signum is not None:
                    self._signal(signum)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(wait_s)
                    break
        finally:
            self._signal(signal.SIGKILL)  # what it started and left behind
            self.process.wait()
            self.process.stdout.close()
            self._errors.close()

    def _signal(self, signum: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signum)

    def _object(self, deadline_s: float) -> dict[str, Any]:
        line = self._line(deadline_s)
        try:
            told = json.loads(line)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise self._failed(f"printed what is not a JSON object: {line[:200]!r}")
        return told

    def _line(self, deadline_s: float) -> bytes:
        assert self.process.stdout is not None
        end = time.monotonic() + deadline_s
        while b"\n" not in self._read:
            dead = self.process.poll() is not None  # and what it started may still hold its output open
            if not select.select([self.process.stdout], [], [], 0 if dead else LOOK_S)[0]:
                if dead:
                    raise self._failed(self._end())
                if time.monotonic() > end:
                    raise self._failed(f"said nothing for {deadline_s:g} s")
                continue
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            if not more:
                raise self._failed(self._end())
            self._read += more
            if len(self._read) > LONGEST:
                raise self._failed(f"printed more than {LONGEST:,} bytes in one answer")
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _end(self) -> str:
        """How it ended."""
        try:
            code = self.process.wait(HURRY_S)
        except subprocess.TimeoutExpired:
            return "closed its output"
        return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"

    def _failed(self, what: str) -> Failed:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()[-TAIL:]
        return Failed("\n  ".join([what, *lines]))


def number(value: Any) -> bool:
    """Whether a value of an answer is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@contextmanager
def started(side: Side, pinned: Sequence[int], more: dict[str, Any] | None = None) -> Iterator[Process]:
    """A side that is starting, ended at the end of the block. more: further options.

    Raises `Failed` if it is not there.
    """
    process = Process(command(side, {**side.options, **(more or {})}), surroundings(side.kind), pinned)
    patience_s = HURRY_S
    try:
        yield process
        patience_s = PATIENCE_S
    finally:
        process.close(patience_s)

"""One writer of a folder at a time: a lock of the operating system that names its holder and dies with it."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from orchestrator.public import public

NAME = "lock"


class Held(RuntimeError):
    """Another process writes to the folder; the message names it."""


class Lock:
    """Held until `release`, or the end of the process however it comes. Raises `Held`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._handle: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        for again in reversed(range(10)):  # `holder` locks it for some microseconds
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if again:
                    time.sleep(0.02)
                    continue
                told = _told(self._path)
                os.close(self._handle)
                self._handle = None
                raise Held(told) from None
        me = {
            "process": os.getpid(),
            "host": platform.node(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "command": public(" ".join(sys.argv))[:500],
        }
        os.ftruncate(self._handle, 0)
        try:
            os.pwrite(self._handle, json.dumps(me).encode(), 0)
        except OSError:
            pass  # a full disk: the lock holds without naming us

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def holder(folder: Path) -> str | None:
    """Who writes to the folder now, in words; None if nobody does."""
    try:
        handle = os.open(folder / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _told(folder / NAME)
    finally:
        os.close(handle)
    return None


def _told(path: Path) -> str:
    try:
        me: dict[str, Any] = json.loads(path.read_text())
        return f"process {me['process']} on {me['host']} since {me['since']} ({me['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that did not say its name"

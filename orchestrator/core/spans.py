"""What a process did when: spans of time by kind, kept only while somebody asked for them (`pnn train --profile`).

While they are kept, what is compiled is waited for where it is called, so that its time is told where it belongs.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

# Kinds. What is in none of them is orchestration.
STEP, PHYSICS, DIGITAL, COMMIT, JOURNAL, WAITING = "step", "physics", "digital", "commit", "journal", "waiting"
T = TypeVar("T")


class Span(NamedTuple):
    """kind, what it was of, when it began (ns since 1970), how long it took (ns), in which process and thread."""

    kind: str
    of: str
    began: int
    took: int
    process: int
    thread: int


_kept: list[Span] | None = None


def keep(wanted: bool) -> list[Span]:
    """Keep spans from now on, or no more; those that were kept so far."""
    global _kept
    found, _kept = _kept or [], [] if wanted else None
    return found


@contextmanager
def span(kind: str, of: str = "") -> Iterator[None]:
    """The time that the block takes."""
    if _kept is None:
        yield
        return
    began = time.time_ns()
    try:
        yield
    finally:
        if _kept is not None:
            _kept.append(Span(kind, of, began, time.time_ns() - began, os.getpid(), threading.get_ident()))


def ready(value: T) -> T:
    """The value, computed if spans are kept."""
    if _kept is None:
        return value
    import jax

    done: Any = jax.block_until_ready(value)
    return done

"""Garbage collection of a process that starts.

Imports make half a million objects that stay, and Python looks through all of them again and again: a sixth of the time
until the first step. `rarely` at the start, `as_usual` when all is imported; who forgets the second collects rarely.
"""

from __future__ import annotations

import gc

USUAL = gc.get_threshold()
RARELY = (200_000, *USUAL[1:])


def rarely() -> None:
    """Collect after many more new objects than usual."""
    gc.set_threshold(*RARELY)


def as_usual() -> None:
    """From now on as Python does, but what is there now stays, and is never looked through again."""
    gc.freeze()
    gc.set_threshold(*USUAL)

"""The places where a process may die with the most to lose, by name: tests kill it at each of them.

PNN_CRASH=NAME@N ends the process by SIGKILL the N-th time that it reaches NAME (N = 1 if left out).
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "folder.filled",  # complete, but under its other name
    "folder.made",
    "step.measured",  # what was measured is known, and nowhere else
    "append.before",
    "append.torn",  # half of the record is in the file
    "append.unsynced",
    "append.durable",  # journalled, not applied
    "commit.before",  # in a worker
    "commit.half",  # in a worker: one tile is changed, the next is not
    "commit.after",
    "evaluation.measured",
    "snapshot.written",  # complete, but under its other name
    "snapshot.renamed",  # there, but not in the journal
    "snapshot.recorded",  # older ones not removed yet
    "end.measured",
    "end.recorded",  # finished, but its files are not written
    "end.written",
)

_name, _, _count = os.environ.get("PNN_CRASH", "").partition("@")
_left = int(_count or 1)


def armed(name: str) -> bool:
    """Whether the next `reach` of this name ends the process."""
    return name == _name and _left == 1


def reach(name: str) -> None:
    """Die here if that is wanted."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

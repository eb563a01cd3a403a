"""Files that are whole or not there, and a disk that may be full."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

T = TypeVar("T")
Full = Callable[[str, bool], None]
"""Told that the disk is full, and whether for the first time; it may raise to give up."""

FULL = (errno.ENOSPC, errno.EDQUOT)
AGAIN_S = 0.5


def sync_folder(path: Path) -> None:
    """Make names in a folder durable: a file that was renamed may otherwise be lost."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, write: Callable[[Path], None], before: Callable[[], None] = lambda: None) -> None:
    """Let `write` fill another name, make it durable, rename it to `path`. `before`: called before the rename."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        write(draft)
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        before()
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """A whole text file."""
    write_whole(path, lambda draft: _write(draft, text))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def save_arrays(path: Path, arrays: dict[str, np.ndarray], about: dict[str, str]) -> None:
    """A safetensors file. Raises OSError; the library's own error would not show that the disk is full."""
    in_order = {k: np.asarray(v, order="C") for k, v in arrays.items()}  # it writes the memory as it lies
    try:
        safetensors.save_file(in_order, path, about)
    except SafetensorError as error:
        if found := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from None
        raise


def when_there_is_room(action: Callable[[], T], place: Path, full: Full) -> T:
    """Do it; while the disk is full, tell `full` and try again, for as long as that returns."""
    first = True
    while True:
        try:
            return action()
        except OSError as error:
            if error.errno not in FULL:
                raise
            full(f"The disk of {place} is full: {os.strerror(error.errno)}.", first)
            first = False
            time.sleep(AGAIN_S)

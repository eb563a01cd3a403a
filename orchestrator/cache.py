"""Where what JAX compiles is kept between processes: a folder of the user, bounded in size.

JAX reads the settings from the environment, so they are made before it is imported; what the user set stays. No folder
is made before there is something to keep, and one that cannot be written is none.
"""

from __future__ import annotations

import os
from pathlib import Path

LIMIT = 1 << 30  # bytes
SETTINGS = {  # a start loads dozens of small programs
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(LIMIT),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def default() -> Path:
    """The folder if the user names none."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "pnn" / "compiled"


def settle() -> None:
    """Tell JAX, unless the user did: a folder, or that there shall be none."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or _off():
        return
    try:
        folder = default()
    except RuntimeError:  # no home
        return
    if not writable(folder):
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def without(environment: dict[str, str]) -> dict[str, str]:
    """An environment as it was before `settle`."""
    if environment.get("JAX_COMPILATION_CACHE_DIR") != str(default()):
        return environment
    mine = {"JAX_COMPILATION_CACHE_DIR": str(default()), **SETTINGS}
    return {name: value for name, value in environment.items() if mine.get(name) != value}


def folder() -> Path | None:
    """The folder in use; None: nothing is kept."""
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    return Path(named) if named and "://" not in named and not _off() else None


def writable(path: Path) -> bool:
    """Whether a folder can be written, or made."""
    there = next(p for p in [path, *path.parents] if p.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def size(path: Path) -> int:
    """Bytes of all files of a folder."""
    found = 0
    for file in path.rglob("*"):
        try:
            found += file.stat().st_size if file.is_file() else 0
        except OSError:  # another process has removed it
            continue
    return found


def _off() -> bool:
    return os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "").lower() in ("0", "false", "off", "no", "f", "n")

"""The folder of a run, before anything heavy is imported: made whole or not at all, found again, and locked.

    run.toml      as given                     journal.pnn   the journal; from it everything else can be made again
    run.json      as used                      snapshots/    the state after some steps
    lock          who writes here now          tracking.json what the tracking store has been given

A finished run has parameters.safetensors, result.json, curve.csv, ledger.json and figure.png as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from orchestrator import __version__
from orchestrator.journal import crash, journal
from orchestrator.journal.files import sync_folder, write_text
from orchestrator.problems import Problem, RunFileError
from orchestrator.spec import Run

COMPARISON = "comparison.json"


def identity(path: Path) -> str:
    """sha256 of run.json: a run is its bytes, for later versions of this program may know more fields."""
    return hashlib.sha256((path / "run.json").read_bytes()).hexdigest()


def make_run(out: str | Path | None, stem: str, run: Run, text: str | None) -> Path:
    """A new folder with run file and empty journal: `out`, or runs/STEM-DATE-TIME. Raises `RunFileError`.

    text: of the run file, if there is one.
    """

    def fill(draft: Path) -> None:
        if text is not None:
            write_text(draft / "run.toml", text)
        write_text(draft / "run.json", run.model_dump_json(exclude_none=True, exclude={"compare"}, indent=1) + "\n")
        about = {"run_id": uuid.uuid4().hex, "run": identity(draft), "software": __version__}
        journal.create(draft / journal.NAME, about)

    return _make(out, stem, fill)


def make_comparison(out: str | None, stem: str, text: str, sets: list[str]) -> Path:
    """A new folder for the runs of a comparison. Raises `RunFileError`."""

    def fill(draft: Path) -> None:
        write_text(draft / "run.toml", text)
        write_text(draft / COMPARISON, json.dumps({"stem": stem, "sets": sets}) + "\n")

    return _make(out, f"compare-{stem}", fill)


def _make(out: str | Path | None, stem: str, fill: Callable[[Path], None]) -> Path:
    """Filled under another name, then renamed: a folder that exists is complete."""
    wanted = Path(out) if out is not None else Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    check(wanted)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    draft = wanted.with_name(f".{wanted.name}.{os.getpid()}.draft")
    draft.mkdir()
    try:
        fill(draft)
        crash.reach("folder.filled")
        path, number = wanted, 1
        while True:
            try:
                os.rename(draft, path)  # onto a name that is free, or an empty folder
                break
            except OSError:
                if out is not None:
                    check(path)
                    raise
                number += 1
                path = wanted.with_name(f"{wanted.name}-{number}")
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_folder(path.parent)
    crash.reach("folder.made")
    return path


def discard(path: Path) -> None:
    """Remove a folder that was made for a run that is refused."""
    shutil.rmtree(path)
    if path.parent == Path("runs") and not any(path.parent.iterdir()):
        path.parent.rmdir()


def check(path: Path) -> None:
    """Raises `RunFileError` if a run cannot be written to `path`."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        allowed = "a folder that is new or empty"
        if (path / journal.NAME).exists():
            allowed += f"; pnn resume {path} goes on with the run that is there"
        raise RunFileError([Problem(("--out",), str(path), "is in use", allowed=allowed)], "command line", "")
    parent = next(p for p in [path, *path.absolute().parents] if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        problem = Problem(("--out",), str(path), f"cannot be made: {parent} is not a folder that can be written")
        raise RunFileError([problem], "command line", "")


def require(path: Path, *names: str) -> None:
    """Raises `RunFileError` if `path` is not a folder with these files."""
    missing = [n for n in names if not (path / n).is_file()]
    if not missing:
        return
    if not path.is_dir():
        near = sorted(str(p.parent) for p in path.parent.glob(f"*/{journal.NAME}")) if path.parent.is_dir() else []
        problem = Problem(("DIR",), str(path), "is no folder", allowed=near or "the folder of a run")
        raise RunFileError([problem], "command line", "")
    found = [Problem((n,), str(path), "is missing: not the folder of a run", unknown=True) for n in missing]
    raise RunFileError(found, str(path), "")

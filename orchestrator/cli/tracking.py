"""`pnn track sync` and `pnn ui`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.journal import frames, journal
from orchestrator.problems import Problem, RunFileError
from orchestrator.public import public
from orchestrator.tracking import resolve
from orchestrator.tracking.follow import folders

if TYPE_CHECKING:
    from orchestrator.tracking.store import Store

OPEN_S = 45.0
FOLDER_S = 300.0


def sync_command(directories: list[str], tracking: str | None) -> None:
    """Export what the store lacks, one line for each run. Exit code 1 if not all of it could be."""
    uri = _store(tracking)
    todo = _all(directories)
    if not todo:
        print("No run folder below runs: nothing to export.")
        return
    from orchestrator.tracking.exporter import Busy, Exporter

    wrong = 0
    with _limit(OPEN_S, uri):
        store = _open(uri)
    for folder in todo:
        exporter = None
        try:
            exporter = Exporter(folder, uri, lambda: store)
            with _limit(FOLDER_S, uri):
                exporter.round(probe=True)
        except Busy as busy:
            print(f"{busy}")
        except (frames.Damage, OSError) as error:
            wrong += 1
            print(f"{folder}: {error}", file=sys.stderr)
        except Exception as error:
            if not hasattr(error, "kind"):
                raise
            wrong += 1
            print(f"{folder}: {error}", file=sys.stderr)
            if error.kind != "deleted":
                _give_up(uri, str(error))
        else:
            print(_line(folder, exporter.mark, exporter.new))
        finally:
            if exporter is not None:
                exporter.close()
    if wrong:
        raise SystemExit(1)


def ui_command(port: int, tracking: str | None) -> None:
    """Show the store in a browser: MLflow's own pages, for this machine alone, until Ctrl+C."""
    uri = _store(tracking)
    if uri.startswith(("http:", "https:", "databricks")):
        print(f"{public(uri)}  (a server of its own: open it in a browser)")
        return
    from orchestrator.tracking import server

    server.serve(uri, port, lambda text: print(text, flush=True))


def _store(tracking: str | None) -> str:
    uri = resolve(tracking)
    if uri is None:
        problem = Problem(("--tracking",), "none", "is no store", allowed="a store, or leave the option out")
        raise RunFileError([problem], "command line", "")
    return uri


def _all(directories: list[str]) -> list[Path]:
    """The folders of runs in these folders, or below runs. Raises `RunFileError` if one holds none."""
    if not directories:
        places = [Path("runs"), *(p for p in Path("runs").glob("*") if p.is_dir() and not p.name.startswith("."))]
        return sorted({run for place in places for run in folders(place)})
    found = {name: folders(Path(name)) for name in directories}
    near = sorted(str(p.parent) for p in Path("runs").glob(f"*/{journal.NAME}"))
    problems = [
        Problem(("DIR",), name, "holds no run", allowed=near or "the folder of a run, or of a comparison")
        for name, runs in found.items()
        if not runs
    ]
    if problems:
        raise RunFileError(problems, "command line", "")
    return list(dict.fromkeys(run for runs in found.values() for run in runs))


def _open(uri: str) -> Store:
    """The store, or exit code 1."""
    from orchestrator.tracking.store import Store, StoreError

    try:
        return Store(uri)
    except StoreError as error:
        _give_up(uri, str(error))


def _give_up(uri: str, why: str) -> NoReturn:
    print(f"The tracking store {public(uri)} cannot be used: {why}", file=sys.stderr)
    raise SystemExit(1)


@contextmanager
def _limit(limit_s: float, uri: str) -> Iterator[None]:
    """Exit code 1 if it takes longer, whatever call it hangs in."""

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.write(f"The tracking store {public(uri)} cannot be used: no answer for {limit_s:g} s\n")
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _line(folder: Path, mark: dict[str, Any], new: dict[str, int]) -> str:
    if not mark:
        return f"{folder}: its journal is empty"
    told = f"{mark['steps']} steps and {mark['points']} points exported"
    if any(new.values()):
        told += f" ({new['steps']} and {new['points']} of them now)"
    return f"{folder}: {told}; {mark['status']}; run {mark['run_id']}"

"""Exports one folder of a run: reads its journal as it grows, and gives the store what it has not been given yet.

How far each store has been given a run stands in tracking.json of its folder. It is written after the store has what it
says; what a crash between the two repeats has the same times and values, and is the same rows in the store.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.journal import frames, journal, lock
from orchestrator.journal.files import write_text
from orchestrator.public import public
from orchestrator.tracking.projection import Given, Item, Projection, later_tags, params, tags

if TYPE_CHECKING:
    from orchestrator.tracking.store import Store

NAME = "tracking.json"
LOCK = ".tracking.lock"
BATCH = 900  # metrics a call
BACKLOG = 5000  # records that wait for the store; more stay in the journal
AT_START = ("run.toml", "run.json")
AT_END = ("result.json", "ledger.json", "curve.csv", "figure.png", "parameters.safetensors")
LARGE = 256_000_000  # bytes
LIVE = "RUNNING"


class Busy(RuntimeError):
    """Another process exports this folder."""


def told(folder: Path, uri: str) -> dict[str, Any]:
    """What tracking.json says of a store: {} if nothing, or if it cannot be read."""
    try:
        found = json.loads((folder / NAME).read_text())["stores"][public(uri)]
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def missing(folder: Path, uri: str) -> bool:
    """Whether the store has not been given all that the folder holds."""
    mark = told(folder, uri)
    try:
        size = (folder / journal.NAME).stat().st_size
    except OSError:
        return False
    if mark.get("bytes", 0) < size or mark.get("status") is None:
        return True
    names = (*AT_START, *(AT_END if mark["status"] == "FINISHED" else ()))
    if any((folder / name).is_file() and name not in mark.get("artifacts", ()) for name in names):
        return True
    return mark["status"] == LIVE and lock.holder(folder) is None


class Exporter:
    """One folder and one store. Raises `Busy` if another process has it, OSError.

    `open_store` is called when there is something to say.
    """

    def __init__(self, folder: Path, uri: str, open_store: Callable[[], Store]) -> None:
        self.folder, self.uri, self._open_store = folder, uri, open_store
        self._handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            raise Busy(f"{folder} is being exported by another process") from None
        self.mark: dict[str, Any] = told(folder, uri)
        self.new: dict[str, int] = {"steps": 0, "points": 0}  # exported by this object
        self._known = False  # that the store has the run of the mark
        self._unsaved = False
        self._from_start()

    def close(self) -> None:
        os.close(self._handle)

    # --- the journal ----------------------------------------------------------------------------------------------

    def _from_start(self) -> None:
        mark = self.mark
        given = Given(mark.get("steps", 0), mark.get("points", 0), mark.get("promise", False))
        self.projection = Projection(given)
        self._offset, self._previous = len(frames.MAGIC), frames.START
        self._file: tuple[int, int] | None = None

    def read(self) -> bool:
        """Take what the journal has grown by; whether there may be more. Raises `frames.Damage`, OSError."""
        with open(self.folder / journal.NAME, "rb") as file:
            about = os.fstat(file.fileno())
            this = (about.st_dev, about.st_ino)
            if self._file is not None and (this != self._file or about.st_size < self._offset):
                self._from_start()  # another journal was put in its place
            if self._file is None:
                frames.check_magic(file)
            self._file = this
            if len(self.projection.ready) >= BACKLOG:
                return True
            for event in frames.read(file, self._offset, self._previous):
                try:
                    self.projection.take(event)
                except (KeyError, ValueError, TypeError, AttributeError) as error:
                    raise frames.Damage(event.offset, f"this record makes no sense here ({error!r})") from None
                self._offset, self._previous = event.end, event.hash
                if len(self.projection.ready) >= BACKLOG:
                    return True
        return False

    # --- the store ------------------------------------------------------------------------------------------------

    def round(self, probe: bool) -> None:
        """Give the store what is new. probe: find out whether the run is live; else it is if its journal has grown.

        Raises `store.StoreError`, `frames.Damage`, OSError.
        """
        if self.mark and not self._known:
            self._known = self._open_store().has(self.mark["run_id"])
            if not self._known:
                self.mark = {}  # the store was made anew, and gets all of it
                self._from_start()
        more = True
        while more:
            more = self.read()
            if not self.projection.start:
                return
            if not self.mark:
                self._begin()
            self._records()
        self._status(probe)
        self._artifacts()
        self._save(bytes=self._offset)

    def _begin(self) -> None:
        """Find or make the run in the store: a crash before the mark is written makes no second one."""
        store, run, folder = self._open_store(), self._json("run.json"), self.folder.absolute()
        comparison = folder.parent.name if (folder.parent / "comparison.json").exists() else None
        said = tags(run, self.projection.start, str(folder), comparison)
        run_id = store.run(folder.name, int(self.projection.start["time"]), said)
        store.log(run_id, [], params(run))
        self._known = True
        told = {"experiment": store.experiment, "run_id": run_id, **Given()._asdict()}
        self._save(**told, artifacts=[], status=None, tags={}, bytes=0)

    def _records(self) -> None:
        """Give what is ready, in batches, and remember each."""
        store, ready = self._open_store(), self.projection.ready
        while ready:
            batch: list[Item] = []
            size = 0
            for item in ready:
                if batch and size + len(item.metrics) > BATCH:
                    break
                batch.append(item)
                size += len(item.metrics)
            store.log(self.mark["run_id"], [m for item in batch for m in item.metrics])
            given = batch[-1].given
            self.new["steps"] += given.steps - self.mark["steps"]
            self.new["points"] += given.points - self.mark["points"]
            for _ in batch:
                ready.popleft()
            self._save(**given._asdict())

    def _status(self, probe: bool) -> None:
        if self.projection.end is not None:
            status = "FINISHED"
        elif probe:
            status = LIVE if lock.holder(self.folder) else "KILLED"
        else:
            status = LIVE if self._offset > self.mark["bytes"] else self.mark["status"] or LIVE
        store, said = self._open_store(), later_tags(self.projection)
        if said != self.mark["tags"]:
            store.log(self.mark["run_id"], [], None, said)
            self._save(tags=said)
        if status != self.mark["status"]:
            store.status(self.mark["run_id"], status, self.projection.time)
            self._save(status=status)

    def _artifacts(self) -> None:
        """Files as far as they are there, each once."""
        store, run_id = self._open_store(), self.mark["run_id"]
        for name in (*AT_START, *(AT_END if self.projection.end is not None else ())):
            path = self.folder / name
            if name in self.mark["artifacts"] or not path.is_file():
                continue
            if path.stat().st_size > LARGE:
                store.log(run_id, [], None, {f"pnn.left_out.{name}": f"{path.stat().st_size} bytes: see pnn.directory"})
            elif name == "result.json":
                text = json.dumps({**self._json(name), "tracking_run_id": run_id}, indent=1)
                store.text(run_id, name, text + "\n")
            else:
                store.file(run_id, path)
            self._save(artifacts=[*self.mark["artifacts"], name])
        for number, session in enumerate(self.projection.sessions, 1):
            name = "environment.json" if number == 1 else f"environment-{number}.json"
            if name not in self.mark["artifacts"]:
                store.text(run_id, name, json.dumps(session, indent=1) + "\n")
                self._save(artifacts=[*self.mark["artifacts"], name])

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _save(self, **changes: Any) -> None:
        """Write the mark if it changed. If it cannot be written, it still holds for this object; OSError is raised."""
        if not self._unsaved and all(key in self.mark and self.mark[key] == value for key, value in changes.items()):
            return
        self.mark |= changes
        self._unsaved = True
        try:
            stores = dict(json.loads((self.folder / NAME).read_text())["stores"])
        except (OSError, ValueError, KeyError, TypeError):
            stores = {}
        stores[public(self.uri)] = self.mark
        write_text(self.folder / NAME, json.dumps({"stores": stores}, indent=1) + "\n")
        self._unsaved = False

"""A run that is kept in a folder: opened by one process at a time, gone on with, and finished.

`Kept` is the log of a coordinator: what it appends is durable before the coordinator applies it.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from orchestrator import __version__, checks, folder
from orchestrator.core import history, spans, trees
from orchestrator.core.coordinator import Coordinator, Stopped
from orchestrator.core.history import History, Told
from orchestrator.core.shards import State
from orchestrator.journal import crash, frames, journal, lock, snapshots
from orchestrator.journal.files import sync_folder, when_there_is_room
from orchestrator.problems import Problem, RunFileError, validate
from orchestrator.runfile import Run

Tell = Callable[[str], None]
T = TypeVar("T")


def silent(message: str) -> None:
    """Tell nobody."""


def read_run(path: Path, more: Callable[[Any], list[Problem]] = checks.problems) -> Run:
    """The run of a folder, checked with its data unless `more` is another check. Raises `RunFileError`."""
    folder.require(path, "run.json", journal.NAME)
    file = path / "run.json"
    try:
        tree = json.loads(file.read_text())
    except ValueError as error:
        raise RunFileError([Problem(("run.json",), str(file), f"is not JSON: {error}")], str(file), "") from None
    return validate(Run, tree, str(file), "", more=more)


def read_history(path: Path) -> History:
    """The history of a folder, perhaps one that is being written. Raises `RunFileError` where it is damaged."""
    file = path / journal.NAME
    try:
        found = history.read(journal.read(file))
        if not found.start:
            raise frames.Damage(len(frames.MAGIC), "the start of the run is damaged, or was cut off")
        if found.start.get("run") != folder.identity(path):
            told = "is not the run of this journal: it was changed. pnn train it as a run of its own, or bring it back"
            raise RunFileError([Problem(("run.json",), str(path), told, unknown=True)], str(path / "run.json"), "")
        return found
    except frames.Damage as damage:
        problem = Problem((journal.NAME,), None, f"is damaged at byte {damage.offset}: {damage.what}", _way_out(path))
        raise RunFileError([problem], str(file), "") from None


def _way_out(path: Path) -> str:
    for step in snapshots.steps(path):
        try:
            snapshots.load(path, step)
            return f"pnn resume {path} --from-snapshot goes on from the snapshot after step {step}"
        except snapshots.Unusable:
            continue
    return f"no snapshot of it is whole: pnn train {path / 'run.toml'} begins again"


class Kept:
    """The run in a folder, locked for writing. `tell` is given what a person should know; `close` unlocks.

    Raises `RunFileError` if the folder holds no run, another process writes to it, or something in it is damaged.
    `from_snapshot`: give up a journal that is damaged and go on from the newest snapshot that is whole.
    """

    def __init__(self, path: Path, tell: Tell = silent, from_snapshot: bool = False) -> None:
        folder.require(path, "run.json", journal.NAME)
        self.path, self.tell = path, tell
        self.pause: Callable[[], None] = lambda: None  # what to do while the disk is full
        self.stop: Callable[[], bool] = lambda: False  # whether to give up then
        try:
            self._lock = lock.Lock(path)
        except lock.Held as held:
            problem = Problem(("DIR",), str(path), f"is being written by {held}", "wait for it, or stop it first")
            raise RunFileError([problem], "command line", "") from None
        try:
            self.run = read_run(path)
            if from_snapshot:
                self._begin_from_snapshot()
            self.history = read_history(path)
            self.steps = self.history.told.steps  # that are durable
            self._started: str | None = None  # the kind of record that is on its way
            self._limit = self.run.journal.whole_kB * 1000
            end, last = self.history.end, self.history.hash
            self._journal, torn = journal.append_to(path / journal.NAME, end, last, self._full)
            if torn:
                tell(
                    f"{path / journal.NAME}: the last {torn} bytes, from byte {end} on, are a record that was not "
                    f"finished; they are cut off. {self.history.told.steps} steps are whole."
                )
        except BaseException:
            self._lock.release()
            raise

    @property
    def run_id(self) -> str:
        """Which run this is, wherever its folder lies."""
        return self.history.start["run_id"]

    # --- what a coordinator calls ---------------------------------------------------------------------------------

    def append(self, kind: str, meta: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
        """Durable when it returns."""
        self.start(kind, meta, arrays)
        self.settle()

    def start(self, kind: str, meta: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
        """Durable after `settle`. Of arrays above the limit of the run, only the digest is kept."""
        self.settle()
        if arrays and sum(a.nbytes for a in arrays.values()) > self._limit:
            meta, arrays = {**meta, "digest": trees.sha256(arrays)}, None
        self._journal.start(kind, meta, arrays)
        self._started = kind

    def settle(self) -> None:
        """Wait until what was started is durable."""
        kind, self._started = self._started, None
        if kind is not None:
            with spans.span(spans.JOURNAL, kind):
                self._journal.settle()
            self.steps += kind == "step"

    def snapshot(self, told: Told, state: State, parameters_sha256: str) -> None:
        """Keep the state after `told.steps` steps; older snapshots but one are removed."""
        meta = {"run": folder.identity(self.path), "told": told.json(), "clocks": state.clocks}
        found = self.in_room(lambda: snapshots.save(self.path, told.steps, meta, state.arrays))
        self.append("snapshot", {"step": told.steps, "parameters_sha256": parameters_sha256, "sha256": found})
        crash.reach("snapshot.recorded")
        snapshots.prune(self.path)

    def in_room(self, action: Callable[[], T]) -> T:
        """Do what writes to the folder; while its disk is full, pause."""
        return when_there_is_room(action, self.path, self._full)

    # --- going on -------------------------------------------------------------------------------------------------

    def stand(self, coordinator: Coordinator, evaluated: bool = True) -> None:
        """Bring a coordinator to where the journal ends; not `evaluated`: to before the last step was evaluated.

        Raises `RunFileError` if that cannot be reached.
        """
        self.history = read_history(self.path)
        base, state = usable_snapshot(self.path, self.history)
        reach = self.history.replayable(base)
        if reach < self.history.told.steps:
            self.tell(
                f"Of the steps after {base} the journal holds only digests: {self.history.told.steps - base} steps "
                "are run again, to the same bytes in simulation, with new noise on instruments."
            )
            self.append("rewind", {"step": base})
            self.history.rewind(base)
            self.steps = base
        events = journal.read(self.path / journal.NAME)
        since = history.recorded(coordinator.plan, self.history, events, base, self.history.told.steps)
        if not evaluated:
            since = (s for s in since if s[0].kind == "step" or s[0].step < self.history.told.steps)
        coordinator.stand(copy.deepcopy(self.history.told), base, state, since)

    def _begin_from_snapshot(self) -> None:
        """Put a new journal, which begins with the newest whole snapshot, in the place of a damaged one."""
        try:
            read_history(self.path)
            problem = Problem(("--from-snapshot",), str(self.path), "is not needed: the journal is whole")
            raise RunFileError([problem], "command line", "")
        except RunFileError as error:
            if not any(p.where == (journal.NAME,) for p in error.problems):
                raise
        for step in snapshots.steps(self.path):
            try:
                meta, _ = snapshots.load(self.path, step)
            except snapshots.Unusable as error:
                self.tell(str(error))
                continue
            if meta["run"] == folder.identity(self.path):
                self._replace_journal(meta["told"], step)
                return
        problem = Problem(
            ("--from-snapshot",), str(self.path), "has no whole snapshot of this run", _way_out(self.path)
        )
        raise RunFileError([problem], "command line", "")

    def _replace_journal(self, told: dict[str, Any], step: int) -> None:
        file = self.path / journal.NAME
        number = 1 + len(list(self.path.glob("journal.damaged-*.pnn")))
        damaged, draft = self.path / f"journal.damaged-{number}.pnn", self.path / f".{journal.NAME}.draft"
        draft.unlink(missing_ok=True)
        start = {"run": folder.identity(self.path), "run_id": _run_id(self.path), "software": __version__}
        journal.create(draft, {**start, "from_snapshot": told})
        os.link(file, damaged)
        os.replace(draft, file)
        sync_folder(self.path)
        self.tell(f"Going on from the snapshot after step {step}; the damaged journal is kept as {damaged}.")

    def _full(self, message: str, first: bool) -> None:
        if first:
            self.tell(
                f"{message} Training pauses with the devices at rest; what was committed stands, and it goes on when "
                f"there is room. Ctrl+C stops; pnn resume {self.path} goes on then."
            )
            self.pause()
        if self.stop():
            raise Stopped(self.steps)

    def close(self) -> None:
        self._journal.close()
        self._lock.release()


def usable_snapshot(path: Path, told: History) -> tuple[int, State | None]:
    """(step, state) of the newest whole snapshot that the journal knows; (0, None): the beginning.

    Raises `RunFileError` if the journal begins with a snapshot that is not whole.
    """
    for step in sorted(told.marks, reverse=True):
        if step == 0:
            return 0, None
        try:
            meta, arrays = snapshots.load(path, step)
            return step, State(arrays, {name: tuple(clock) for name, clock in meta["clocks"].items()})
        except snapshots.Unusable:
            if step == told.first:
                break
    problem = Problem(
        (snapshots.FOLDER,), str(path), f"the one after step {told.first} is damaged or missing", unknown=True
    )
    raise RunFileError([problem], str(path), "")


def _run_id(path: Path) -> str:
    """The name of the run in a journal whose later part is damaged, or one made from the run."""
    try:
        return next(iter(journal.read(path / journal.NAME))).meta["run_id"]
    except (frames.Damage, StopIteration, KeyError, OSError):
        return folder.identity(path)[:32]

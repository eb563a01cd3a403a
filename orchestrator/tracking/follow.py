"""Follows the run folders below one root until it is told to stop, whatever the store does meanwhile."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.journal import frames, journal
from orchestrator.tracking.exporter import Busy, Exporter

if TYPE_CHECKING:
    from orchestrator.tracking.store import Store

EVERY_S = 5.0
LONGEST_S = 30.0  # between two attempts at a store that fails
LAST_S = 20.0  # for the last round
LOG = "tracking.log"
MAX_LOG = 64_000  # bytes
MAX_KINDS = 50  # of errors, a process


def folders(root: Path) -> list[Path]:
    """`root` if it is the folder of a run, else the folders of runs directly below it."""
    if (root / journal.NAME).is_file():
        return [root]
    return sorted(p.parent for p in root.glob(f"*/{journal.NAME}") if not p.parent.name.startswith("."))


def watchdog(limit_s: float) -> None:
    """End this process after so long, whatever call it hangs in."""

    def end() -> None:
        time.sleep(limit_s)
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


class Follower:
    """Exports what lies below `root`; errors are waited out, and each kind is told once in its tracking.log."""

    def __init__(self, root: Path, uri: str) -> None:
        self.root, self.uri = root, uri
        self._store: Store | None = None
        self._exporters: dict[Path, Exporter] = {}
        self._told: set[str] = set()

    def follow(self, closing: threading.Event) -> None:
        """Rounds until `closing` is set, and one after that."""
        failures = 0
        while True:
            last = closing.is_set()
            failures = 0 if self.round(last) else failures + 1
            if last:
                return
            closing.wait(min(2.0**failures, LONGEST_S) if failures else EVERY_S)

    def round(self, last: bool) -> bool:
        """Whether the store did all that it was asked."""
        for folder in folders(self.root):
            try:
                if folder not in self._exporters:
                    self._exporters[folder] = Exporter(folder, self.uri, self._open)
                self._exporters[folder].round(probe=last)
            except Busy as busy:
                self._tell(str(busy), str(busy))
            except (frames.Damage, OSError) as error:
                # damage may be no more than a record whose end was not there yet: the next round looks again
                self._tell(f"{folder} {type(error).__name__}", f"{folder}: {error}")
            except Exception as error:
                kind = getattr(error, "kind", type(error).__name__)
                self._tell(kind, f"{folder}: {error}")
                if kind != "deleted":  # one run that someone deleted is no reason to wait
                    return False
        return True

    def _open(self) -> Store:
        if self._store is None:
            from orchestrator.tracking.store import Store

            self._store = Store(self.uri)
        return self._store

    def _tell(self, kind: str, text: str) -> None:
        if kind in self._told or len(self._told) >= MAX_KINDS:
            return
        self._told.add(kind)
        path = self.root / LOG
        try:
            if not path.exists() or path.stat().st_size < MAX_LOG:
                with open(path, "a", encoding="utf-8") as file:
                    file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(text.split())[:500]}\n")
        except OSError:
            pass  # the folder is gone, or the disk is full

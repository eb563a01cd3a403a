"""The exporter of a command: started beside it, told when it is done, and ended if it takes too long."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.tracking import exporter

PRIORITY = 10  # of its process, from its first instruction on: training goes first
FINISH_S = 20.0
LEAVE_S = 5.0  # after an error, or Ctrl+C


class Tracker:
    """Exports the run (or comparison) in the folder `root` to a store, from a process of its own; store None: nothing.

    later: when `begin` is called, at the latest when it shall finish, for importing MLflow takes a core for seconds.
    Close the run, so that its folder is unlocked, and write its files before `finish`: the last round sets the status.
    """

    def __init__(self, root: Path, store: str | None, later: bool = False) -> None:
        self.root, self.store, self._later = root, store, later
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = False

    def __enter__(self) -> Self:
        if not self._later:
            self.begin()
        return self

    def begin(self) -> None:
        """Start the process, once."""
        if self.store is None or self._begun:
            return
        self._begun = True
        # the URI may hold a password, and others can read a command line; -P: no module of this folder is imported
        environment = {**os.environ, "PNN_TRACKING": self.store, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        home = Path(__file__).parents[2]
        if "site-packages" not in home.parts:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(home), os.environ.get("PYTHONPATH")]))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "orchestrator.tracking", str(self.root.absolute())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # a Ctrl+C in the terminal is for the command alone
            )
            os.setpriority(os.PRIO_PROCESS, self._process.pid, PRIORITY)
        except OSError:
            pass  # `missing` will say so

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(FINISH_S if kind is None else LEAVE_S)

    def finish(self, limit_s: float = FINISH_S) -> None:
        """Let it do its last round, at most so long."""
        self.begin()
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        try:
            process.stdin.close()
        except OSError:
            pass
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:  # too slow, or Ctrl+C again
                process.terminate()
                try:
                    process.wait(2)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def run_id(self, folder: Path) -> str | None:
        """The run in the store, once it is there."""
        return exporter.told(folder, self.store).get("run_id") if self.store is not None else None

    def missing(self, folder: Path) -> bool:
        """Whether the store lacks something of this folder: `pnn track sync` exports it."""
        return self.store is not None and exporter.missing(folder, self.store)

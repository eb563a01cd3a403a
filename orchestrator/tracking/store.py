"""An MLflow store, through MLflow's client alone: no active run, no thread. The only module that imports MLflow.

Whatever goes wrong is a `StoreError` of one line.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from orchestrator.public import public
from orchestrator.tracking import sqlite_path
from orchestrator.tracking.projection import Metric

# Before MLflow is imported. Its defaults try a server that is down for some four minutes a call.
for _name, _value in {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}.items():
    os.environ.setdefault(_name, _value)

import mlflow.entities as entities  # noqa: E402
from mlflow import MlflowClient  # noqa: E402

for _name in ("mlflow", "alembic", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # they print tracebacks of what `StoreError` says in a line

EXPERIMENT = "pnn"
BUSY_S = 5.0  # how long a SQLite file may be locked when it is opened; MLflow itself waits 20 s for each call
CREATE_S = 60.0


class StoreError(Exception):
    """The store did not do what it was asked. kind: the same for errors of one kind."""

    def __init__(self, kind: str, told: str) -> None:
        super().__init__(f"{kind}: {told}" if told else kind)
        self.kind = kind


class Gone(StoreError):
    """Someone deleted the run, or the experiment, in the store."""


@contextmanager
def _calls() -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        kind = getattr(error, "error_code", None) or type(error).__name__
        text = public(str(error))
        network = re.search(r"Caused by (\w+)", text)
        lines = text.strip().splitlines() or [""]
        raise StoreError(kind, f"it does not answer ({network[1]})" if network else lines[0][:300]) from error


class Store:
    """An open store and its experiment (MLFLOW_EXPERIMENT_NAME, or "pnn"); both are made if need be."""

    def __init__(self, uri: str) -> None:
        self.experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        path = sqlite_path(uri)
        with _calls():
            if path is None:
                self._open(uri, None)
                return
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _alone(path):
                _make(path)
                with closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")  # readers and a writer do not wait for each other
                    connection.execute("BEGIN IMMEDIATE")  # MLflow would try a locked file ten times over
                    connection.rollback()
                self._open(uri, (path.parent / f"{path.stem}-artifacts").as_uri())

    def _open(self, uri: str, artifacts: str | None) -> None:
        self._client = MlflowClient(uri)
        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                self._experiment_id = self._client.create_experiment(self.experiment, artifacts)
                return
            except Exception:
                found = self._client.get_experiment_by_name(self.experiment)  # made by another process meanwhile?
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise Gone("deleted", f"the experiment {self.experiment!r} was deleted in the store; restore it there")
        self._experiment_id = found.experiment_id

    def has(self, run_id: str) -> bool:
        """Whether there is such a run. Raises `Gone` if it was deleted."""
        with _calls():
            try:
                return self._active(self._client.get_run(run_id))
            except Exception as error:
                if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
                    return False
                raise

    def run(self, name: str, start_time: int, tags: dict[str, str]) -> str:
        """The id of the run with this tag pnn.run_id; it is made if there is none."""
        with _calls():
            wanted = f"tags.`pnn.run_id` = '{tags['pnn.run_id']}'"
            found = self._client.search_runs(
                [self._experiment_id], wanted, entities.ViewType.ALL, 1, ["attributes.start_time ASC"]
            )
            if found:
                self._active(found[0])
                return str(found[0].info.run_id)
            made = self._client.create_run(self._experiment_id, start_time, tags, run_name=name)
            return str(made.info.run_id)

    def _active(self, run: entities.Run) -> bool:
        if run.info.lifecycle_stage != "active":
            raise Gone("deleted", f"the run {run.info.run_id} was deleted in the store; restore it there")
        return True

    def log(
        self,
        run_id: str,
        metrics: list[Metric],
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """At most 1000 metrics."""
        with _calls():
            self._client.log_batch(
                run_id,
                [entities.Metric(*m) for m in metrics],
                [entities.Param(*p) for p in (params or {}).items()],
                [entities.RunTag(*t) for t in (tags or {}).items()],
            )

    def file(self, run_id: str, path: Path) -> None:
        """An artifact."""
        with _calls():
            self._client.log_artifact(run_id, str(path))

    def text(self, run_id: str, name: str, text: str) -> None:
        """An artifact of that name."""
        with _calls():
            self._client.log_text(run_id, text, name)

    def status(self, run_id: str, status: str, end_time: int) -> None:
        """RUNNING, FINISHED or KILLED."""
        with _calls():
            if status == "RUNNING":
                self._client.update_run(run_id, status)
            else:
                self._client.set_terminated(run_id, status, end_time)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time: MLflow's first opening of a file fails if two do it at once. Raises `StoreError`."""
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + CREATE_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreError("busy", f"other processes have been opening {path} for {CREATE_S:g} s") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def _make(path: Path) -> None:
    """A new database under another name, then renamed: MLflow cannot go on with one that was left half made."""
    if path.exists() and path.stat().st_size:
        return
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    draft.with_name(f"{draft.name}-journal").unlink(missing_ok=True)
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    MlflowClient(f"sqlite:///{draft}").search_experiments(max_results=1)
    os.replace(draft, path)

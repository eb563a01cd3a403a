"""Tracking is a projection of the journal: nothing is missing in the store, nothing is there twice, nothing is ours."""

import ast
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tracking import answer, free_port, late, locked, server_of, wait_for
from orchestrator.cli.tracking import sync_command, ui_command
from orchestrator.core import history
from orchestrator.core.ledger import plain
from orchestrator.journal import frames, journal, lock
from orchestrator.problems import RunFileError
from orchestrator.public import public
from orchestrator.tracking import resolve
from orchestrator.tracking.exporter import BATCH, Busy, Exporter, missing, told
from orchestrator.tracking.follow import Follower
from orchestrator.tracking.projection import Projection, params
from orchestrator.tracking.tracker import Tracker

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what MLflow imports
    from orchestrator.tracking import store as stores

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's way with SQLAlchemy
ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
ENVIRONMENT = {"program_commit": "a" * 40 + "+", "folder_commit": None}
RUN = {
    "data": {"name": "digits", "size": [8, 8]},
    "network": [{"substrate": "crossbar", "size": 16}, {"substrate": "crossbar", "size": 10, "decode": "tanh"}],
    "method": {"name": "spsa", "probes": 8},
    "train": {"steps": 8, "seed": 3},
}


OPEN = []


@pytest.fixture(autouse=True)
def close_journals():
    yield
    while OPEN:
        OPEN.pop().close()


class Writer:
    """Writes a journal as a coordinator does, with times of its own (ms)."""

    def __init__(self, folder, new=True):
        self.folder, self.time, self.steps = folder, 1_700_000_000_000, 0
        if new:
            folder.mkdir(parents=True)
            (folder / "run.json").write_text(json.dumps(RUN))
            (folder / "run.toml").write_text("# as given")
            about = {"run_id": folder.name * 4, "run": "0" * 64, "software": "0.1.0"}
            journal.create(folder / journal.NAME, {"time": self.time, **about})
            self.open()
            self.append("session", {"workers": 1, "environment": ENVIRONMENT})

    def open(self):
        events = list(journal.read(self.folder / journal.NAME))
        self.time = max(e.meta["time"] for e in events)
        self.steps = history.read(events).told.steps
        end, last = events[-1].end, events[-1].hash
        self.journal, _ = journal.append_to(self.folder / journal.NAME, end, last, lambda text, first: None)
        OPEN.append(self.journal)
        return self

    def append(self, kind, meta):
        self.time += 7
        self.journal.append(kind, {"time": self.time, **meta})

    def step(self, loss=None, digest=False, joules="1/3"):
        account = {"0": ["64", 2, 1, "1/7", joules], "1": ["1/3", 1, 0, "1/9", "0"]}
        loss = 1 / (self.steps + 2) if loss is None else loss
        meta = {"step": self.steps, "loss": loss, "wall_s": self.steps * 0.5, "wire_bytes": 100 + self.steps}
        self.append("step", {**meta, "account": account, **({"digest": "0"} if digest else {})})
        self.steps += 1
        return self

    def point(self, purpose="evaluate", accuracies=(0.5, 0.25), loss=1.5):
        account = {"0": ["1000", 9, 9, "1", "1"]}
        meta = {"purpose": purpose, "step": self.steps, "passes": 1.0, "accuracies": accuracies, "loss": loss}
        self.append("point", {**meta, "account": account})
        return self

    def snapshot(self):
        self.append("snapshot", {"step": self.steps, "parameters_sha256": "0", "sha256": "0"})
        return self

    def rewind(self, step):
        self.append("rewind", {"step": step})
        self.steps = step
        return self

    def end(self):
        self.point("promise")
        self.append("end", {"result": {"parameters_sha256": "5" * 64, "steps": self.steps}})
        return self

    def run(self, steps=8, every=4):
        while self.steps < steps:
            self.step()
            if self.steps % every == 0:
                self.point().snapshot()
        return self


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """An empty MLflow database: making one takes longer than most of these tests."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stores._make(path)
    return path


@pytest.fixture
def uri(template, tmp_path):
    """A store of this test."""
    (tmp_path / "runs").mkdir(exist_ok=True)
    shutil.copy(template, tmp_path / "runs" / "mlflow.db")
    return f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "digits"


@contextmanager
def exporter_of(folder, uri):
    exporter = Exporter(folder, uri, lambda: stores.Store(uri))
    try:
        yield exporter
    finally:
        exporter.close()


def export(folder, uri, probe=True):
    with exporter_of(folder, uri) as exporter:
        exporter.round(probe)
        return exporter


def rows(uri):
    """All metrics of a SQLite store, as they lie in the database: (key, step, time, value), sorted."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        found = connection.execute("SELECT key, step, timestamp, value FROM metrics WHERE is_nan = 0")
        return sorted(found.fetchall())


def runs(uri):
    client = stores.MlflowClient(uri)
    return client.search_runs([client.get_experiment_by_name("pnn").experiment_id], run_view_type=3)


def through_client(uri, run_id):
    """The same by MLflow's client."""
    client = stores.MlflowClient(uri)
    keys = client.get_run(run_id).data.metrics
    return sorted((m.key, m.step, m.timestamp, m.value) for key in keys for m in client.get_metric_history(run_id, key))


def expected(folder):
    """What the journal says, worked out by the program's own history of it, record by record."""
    found = {}
    events = list(journal.read(folder / journal.NAME))
    for count, event in enumerate(events, 1):
        meta = event.meta
        if event.kind == "step" and meta["loss"] is not None:
            found[("loss", meta["step"] + 1)] = (meta["time"], meta["loss"])
        elif event.kind == "point" and meta["purpose"] == "promise":
            found[("accuracy_promised", meta["step"])] = (meta["time"], np.mean(meta["accuracies"]))
        elif event.kind == "point":
            told = history.read(events[:count]).told
            values = {
                "accuracy": np.mean(meta["accuracies"]),
                "accuracy_worst": min(meta["accuracies"]),
                "evaluation_loss": meta["loss"],
                **plain(told.ledger.total()),
                "wire_bytes": told.ledger.wire_bytes,
                "wall_s": told.wall_s,
            }
            found |= {(key, meta["step"]): (meta["time"], v) for key, v in values.items() if v is not None}
    return sorted((key, step, when, pytest.approx(value)) for (key, step), (when, value) in found.items())


# --- a run that was trained -------------------------------------------------------------------------------------------


def test_a_trained_run_is_exported_whole_and_once(small, tmp_path, uri):
    """Metrics, times, parameters, tags, files and status, against the journal; a second export changes nothing."""
    from orchestrator import train

    folder = tmp_path / "runs" / "trained"
    result = train(small("spsa", train={"steps": 5}), directory=folder)
    for name in ("ledger.json", "curve.csv", "figure.png", "parameters.safetensors"):
        (folder / name).write_text(name)
    (folder / "result.json").write_text(json.dumps(result.json()))
    mark = export(folder, uri).mark
    wanted = expected(folder)
    assert [row[:3] for row in rows(uri)] == [row[:3] for row in wanted]
    assert rows(uri) == wanted == through_client(uri, mark["run_id"])
    assert {key for key, *_ in wanted} >= {"loss", "accuracy", "passes", "device_seconds", "accuracy_promised"}

    (run,) = runs(uri)
    events = list(journal.read(folder / journal.NAME))
    assert (run.info.run_id, run.info.run_name, run.info.status) == (mark["run_id"], "trained", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (events[0].meta["time"], events[-1].meta["time"])
    tags, environment = run.data.tags, events[1].meta["environment"]
    assert tags["pnn.run_id"] == events[0].meta["run_id"] and tags["pnn.directory"] == str(folder)
    assert (tags["method"], tags["seed"], tags["parameters_sha256"]) == ("spsa", "0", result.parameters_sha256)
    if environment["program_commit"]:
        assert tags["mlflow.source.git.commit"] == environment["program_commit"].rstrip("+")
    assert run.data.params["network.0.size"] == "16" and run.data.params["method.probes"] == "8"

    client = stores.MlflowClient(uri)
    files = {f.path for f in client.list_artifacts(run.info.run_id)}
    given = {"run.json", "ledger.json", "curve.csv", "figure.png", "parameters.safetensors", "result.json"}
    assert files == {*given, "environment.json"}
    here = Path(run.info.artifact_uri.removeprefix("file://"))
    assert here.is_relative_to(tmp_path / "runs")
    assert json.loads((here / "result.json").read_text()) == {**result.json(), "tracking_run_id": run.info.run_id}
    assert (here / "run.json").read_bytes() == (folder / "run.json").read_bytes()

    before = (folder / "tracking.json").read_bytes()
    assert not missing(folder, uri)
    export(folder, uri)
    assert rows(uri) == wanted and len(runs(uri)) == 1 and (folder / "tracking.json").read_bytes() == before


# --- the projection ---------------------------------------------------------------------------------------------------


def test_a_growing_journal_says_the_same_as_a_whole_one(folder, uri):
    """One round after each record, with a new process now and then, against one export of all."""
    writer = Writer(folder)
    exporter = Exporter(folder, uri, lambda: stores.Store(uri))
    for number in range(12):
        writer.step()
        exporter.round(False)
        if number % 3 == 2:
            writer.point()
            if number % 2:
                exporter.close()
                exporter = Exporter(folder, uri, lambda: stores.Store(uri))
            exporter.round(False)
    writer.end()
    exporter.round(True)
    exporter.close()
    assert rows(uri) == expected(folder) and len(rows(uri)) == 12 + 4 * 10 + 1
    assert exporter.mark["steps"] == 12 and exporter.mark["points"] == 4 and exporter.mark["promise"]


def test_steps_with_digests_wait_for_a_snapshot_and_rewound_ones_are_told_once(folder, uri):
    writer = Writer(folder).run(4)
    for _ in range(3):
        writer.step(loss=9.0, digest=True)
    writer.point(accuracies=(0.1, 0.1))
    with exporter_of(folder, uri) as exporter:
        exporter.round(False)
        assert exporter.mark["steps"] == 4 and exporter.mark["points"] == 1
        writer.rewind(4)
        for _ in range(4):
            writer.step(digest=True)
        exporter.round(False)
        assert exporter.mark["steps"] == 4
        writer.point().snapshot()
        exporter.round(False)
        assert exporter.mark["steps"] == 8 and exporter.mark["points"] == 2
    found = {(key, step): value for key, step, _, value in rows(uri)}
    assert len(found) == len(rows(uri)), "a step was told twice"
    assert found[("loss", 5)] == 1 / 6, "what was rewound was told"
    assert found[("wire_bytes", 8)] == sum(100 + n for n in range(8)), "what was rewound was counted"
    assert found[("passes", 8)] == pytest.approx(8 * (64 + 1 / 3)), "evaluation was counted as training"
    assert rows(uri) == [row for row in expected(folder) if row[:2] in found]


def test_steps_that_were_told_and_then_rewound_are_not_told_again(folder, uri):
    """Whether the store followed the run or was given the whole journal later, it holds the same."""
    writer = Writer(folder).run(4)
    writer.step().step()
    export(folder, uri)
    first = rows(uri)
    writer.step(digest=True).rewind(4).step(loss=5.0).step(loss=5.0).step().point().end()
    export(folder, uri)
    followed = rows(uri)
    assert [row for row in followed if row in first] == first
    assert len({row[:2] for row in followed}) == len(followed)
    other = uri.replace("mlflow.db", "other.db")
    export(folder, other)
    assert rows(other) == followed


def test_what_is_unknown_is_left_out(folder, uri):
    writer = Writer(folder)
    writer.step(joules=None).step()
    writer.append("step", {"step": 2, "loss": None, "wall_s": 1.0, "wire_bytes": 1, "account": {}})
    writer.steps += 1
    writer.point(loss=None).end()
    export(folder, uri)
    keys = {(key, step) for key, step, *_ in rows(uri)}
    assert ("device_seconds", 3) in keys and ("loss", 2) in keys
    assert not keys & {("joules", 3), ("evaluation_loss", 3), ("loss", 3)}
    assert told(folder, uri)["steps"] == 3 and not missing(folder, uri)


def test_a_journal_that_begins_with_a_snapshot_tells_its_points(folder, uri):
    """Another journal in the place of a damaged one, while it is followed."""
    writer = Writer(folder).run(8)
    with exporter_of(folder, uri) as exporter:
        exporter.round(False)
        before = rows(uri)
        told_ = history.read(journal.read(folder / journal.NAME)).told.json()
        draft = folder / "draft"
        journal.create(draft, {"time": 1_700_000_900_000, "run_id": "digits" * 4, "run": "0", "from_snapshot": told_})
        os.replace(draft, folder / journal.NAME)
        writer.open().run(12).end()
        exporter.round(True)
    after = rows(uri)
    assert before == [row for row in after if row[1] <= 8], "the first part was told again"
    costs = {key: value for key, step, _, value in after if step == 12}
    assert costs["wire_bytes"] == sum(100 + n for n in range(12)) and costs["passes"] == pytest.approx(12 * 193 / 3)
    other = uri.replace("mlflow.db", "other.db")
    export(folder, other)
    assert {row[:2] for row in rows(other)} == {row[:2] for row in after if row[0] == "loss" and row[1] > 8} | {
        (key, step)
        for key, step, *_ in after
        if step == 12 or (step in (4, 8) and key in ("accuracy", "accuracy_worst", "evaluation_loss", "passes"))
    }


def test_what_is_not_finite_is_left_out():
    """A journal holds none, but a fraction may be too large for a float to tell from infinity."""
    projection = Projection()
    meta = {"time": 5, "step": 0, "wall_s": float("inf"), "wire_bytes": 7, "account": {}, "accuracies": [0.5]}
    for kind in ("step", "point"):
        projection.take(frames.Event(kind, {**meta, "purpose": "evaluate", "loss": float("nan")}, 0, 0, b"", b""))
    keys = {m.key for item in projection.ready for m in item.metrics}
    assert "wire_bytes" in keys and not keys & {"loss", "evaluation_loss", "wall_s"}


def test_more_than_one_batch(folder, uri, monkeypatch):
    """No call has more metrics than MLflow takes, and no record is left behind where batches meet."""
    monkeypatch.setattr("orchestrator.tracking.exporter.BACKLOG", 2000)
    writer = Writer(folder)
    writer.journal.close()
    account = {"0": ["1", 1, 1, "1", "1"]}
    events, previous = [], list(journal.read(folder / journal.NAME))[-1].hash
    for step in range(2500):
        meta = {"time": writer.time + step, "step": step, "loss": step / 7, "wall_s": 0.0, "wire_bytes": 1}
        record, previous = frames.encode(previous, "step", {**meta, "account": account}, {})
        events.append(record)
    with open(folder / journal.NAME, "ab") as file:
        file.write(b"".join(events))
    sizes = []
    log = stores.Store.log
    monkeypatch.setattr(
        stores.Store, "log", lambda self, run_id, m, *more: (sizes.append(len(m)), log(self, run_id, m, *more))
    )
    export(folder, uri)
    assert rows(uri) == expected(folder) and len(rows(uri)) == 2500
    assert BATCH // 2 < max(sizes) <= 1000 and sum(sizes) == 2500


def test_params_are_flat_and_within_limits():
    flat = params({"a": {"b c": [1, 2.5], "d": [{"e": "x" * 9000}, {"e": None}], "?": True}, "long" * 100: 1})
    assert flat.pop(("long" * 100)[:250]) == "1"
    assert flat == {"a.b c": "[1, 2.5]", "a.d.0.e": "x" * 6000, "a.d.1.e": "null", "a._": "true"}


# --- crashes ----------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("call", range(1, 9))
def test_a_crash_before_any_mark_is_written_makes_nothing_twice(folder, uri, monkeypatch, call):
    """The exporter dies after the store has something and before tracking.json says so, at each of these places."""
    (Writer(folder).run(8).end().folder / "result.json").write_text("{}")
    left = call

    def write(path, text):
        nonlocal left
        left -= 1
        if left == 0:
            raise Crash
        path.write_text(text)

    monkeypatch.setattr("orchestrator.tracking.exporter.write_text", write)
    with pytest.raises(Crash):
        export(folder, uri)
    if call == 1:
        assert len(runs(uri)) == 1 and not (folder / "tracking.json").exists()
    assert missing(folder, uri)
    export(folder, uri)
    assert rows(uri) == expected(folder) and not missing(folder, uri)
    (run,) = runs(uri)
    assert run.info.status == "FINISHED" and run.info.run_id == told(folder, uri)["run_id"]


def test_the_store_itself_takes_one_batch_twice_as_once(uri):
    """What a crash relies on: MLflow's primary key, through MLflow's own client."""
    client, store = stores.MlflowClient(uri), stores.Store(uri)
    run_id = store.run("name", 1000, {"pnn.run_id": "x"})
    batch = [stores.entities.Metric("loss", step / 3, 1000 + step, step) for step in range(40)]
    client.log_batch(run_id, batch[:30])
    client.log_batch(run_id, batch)
    assert rows(uri) == [("loss", step, 1000 + step, step / 3) for step in range(40)]


@pytest.mark.parametrize("last", [False, True])
def test_a_disk_without_room_for_the_mark_does_not_stop_the_export(folder, uri, monkeypatch, last):
    """last: there is room until the last mark of all."""
    Writer(folder).run(8).end()
    follower = Follower(folder, uri)
    size = (folder / journal.NAME).stat().st_size

    def full(path, text):
        if not last or f'"bytes": {size}' in text:
            raise OSError(28, "No space left on device")
        path.write_text(text)

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.tracking.exporter.write_text", full)
        follower.round(False)
        assert "No space left" in (folder / "tracking.log").read_text() and missing(folder, uri)
    assert follower.round(True)
    assert rows(uri) == expected(folder) and not missing(folder, uri)


# --- status -----------------------------------------------------------------------------------------------------------


def test_the_status_follows_the_lock_of_the_folder_and_the_end(folder, uri):
    writer = Writer(folder).run(4)
    held = lock.Lock(folder)
    assert export(folder, uri).mark["status"] == "RUNNING"
    held.release()
    assert missing(folder, uri), "it is told to be running, and is not"
    assert export(folder, uri).mark["status"] == "KILLED"
    (run,) = runs(uri)
    assert (run.info.status, run.info.end_time) == ("KILLED", writer.time)
    assert not missing(folder, uri)

    with exporter_of(folder, uri) as exporter:
        exporter.round(False)
        assert runs(uri)[0].info.status == "KILLED", "nothing goes on yet"
        writer.append("session", {"workers": 1, "environment": ENVIRONMENT})
        exporter.round(False)
        assert runs(uri)[0].info.status == "RUNNING"
        writer.run(8).end()
        exporter.round(True)
    (run,) = runs(uri)
    assert (run.info.status, run.info.end_time) == ("FINISHED", writer.time)
    names = {f.path for f in stores.MlflowClient(uri).list_artifacts(run.info.run_id)}
    assert {"environment.json", "environment-2.json"} <= names


def test_a_run_that_someone_deleted_in_the_store_stays_deleted(folder, uri):
    writer = Writer(folder).run(4)
    mark = export(folder, uri).mark
    stores.MlflowClient(uri).delete_run(mark["run_id"])
    writer.run(8)
    follower = Follower(folder, uri)
    assert follower.round(True), "there is no reason to wait"
    (run,) = runs(uri)
    assert run.info.lifecycle_stage == "deleted" and "was deleted" in (folder / "tracking.log").read_text()
    stores.MlflowClient(uri).restore_run(mark["run_id"])
    assert follower.round(True) and rows(uri) == expected(folder)


def test_a_store_that_was_made_anew_gets_all_of_it(folder, uri, template):
    Writer(folder).run(8).end()
    export(folder, uri)
    stores.MlflowClient(uri)
    other = uri.replace("mlflow.db", "moved.db")  # MLflow keeps files open: another name for the same tracking.json
    text = (folder / "tracking.json").read_text()
    shutil.copy(template, other.removeprefix("sqlite:///"))
    (folder / "tracking.json").write_text(text.replace("mlflow.db", "moved.db"))
    export(folder, other)
    assert rows(other) == expected(folder) and not missing(folder, other)


def test_one_exporter_a_folder(folder, uri):
    Writer(folder).run(4)
    with exporter_of(folder, uri), pytest.raises(Busy):
        Exporter(folder, uri, lambda: stores.Store(uri))
    export(folder, uri)


# --- following --------------------------------------------------------------------------------------------------------


def test_a_comparison_is_followed_with_runs_that_come_later(tmp_path, uri):
    root = tmp_path / "runs" / "compare"
    root.mkdir(parents=True)
    (root / "comparison.json").write_text("{}")
    follower = Follower(root, uri)
    assert follower.round(False)
    Writer(root / "spsa-0").run(4)
    Writer(root / ".spsa-2.1.draft").run(4)
    assert follower.round(False)
    Writer(root / "spsa-1").run(8).end()
    assert follower.round(True)
    found = {run.info.run_name: run for run in runs(uri)}
    assert {name: run.info.status for name, run in found.items()} == {"spsa-0": "KILLED", "spsa-1": "FINISHED"}
    assert {run.data.tags["pnn.comparison"] for run in found.values()} == {"compare"}


def test_a_damaged_journal_holds_nobody_up(tmp_path, uri):
    """What is whole before the damage is exported, and so are the other runs; the log has one line."""
    root = tmp_path / "runs" / "compare"
    bad, good = Writer(root / "a").run(8).folder, Writer(root / "b").run(8).end().folder
    events = list(journal.read(bad / journal.NAME))
    data = bytearray((bad / journal.NAME).read_bytes())
    data[events[-2].offset + 50] ^= 1
    (bad / journal.NAME).write_bytes(data)
    follower = Follower(root, uri)
    for _ in range(3):
        follower.round(False)
    assert told(good, uri)["status"] == "FINISHED"
    lines = (root / "tracking.log").read_text().splitlines()
    assert len(lines) == 1 and "damaged" in lines[0] and str(bad) in lines[0]


def test_a_torn_tail_is_left_alone(folder, uri):
    writer = Writer(folder).run(4)
    whole = (folder / journal.NAME).read_bytes()
    writer.step()
    grown = (folder / journal.NAME).read_bytes()
    (folder / journal.NAME).write_bytes(grown[: len(whole) + 30])
    with exporter_of(folder, uri) as exporter:
        exporter.round(False)
        assert exporter.mark["steps"] == 4
        (folder / journal.NAME).write_bytes(grown)
        exporter.round(False)
        assert exporter.mark["steps"] == 5
    assert rows(uri) == expected(folder)


def test_a_locked_store_is_waited_for(folder, uri, monkeypatch):
    """The round fails, says so once, and the next one after the lock is gone completes it."""
    monkeypatch.setattr(stores, "BUSY_S", 0.1)
    Writer(folder).run(8).end()
    follower = Follower(folder, uri)
    with locked(uri):
        assert not follower.round(False) and not follower.round(False)
        assert missing(folder, uri)
    lines = (folder / "tracking.log").read_text().splitlines()
    assert len(lines) == 1 and "locked" in lines[0]
    assert follower.round(True) and rows(uri) == expected(folder)


@pytest.mark.slow
def test_several_processes_may_make_the_store_at_once(tmp_path):
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    folders = [Writer(tmp_path / f"run{n}").run(4).end().folder for n in range(2)]
    started = [exporting(f, uri, stdin=subprocess.DEVNULL) for f in folders]
    assert [p.wait(100) for p in started] == [0, 0]
    assert len(runs(uri)) == 2 and not any(missing(f, uri) for f in folders)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "mlflow.db").stat().st_mode & 0o077 == 0


def exporting(root, uri, stdin=subprocess.PIPE):
    """python -m orchestrator.tracking ROOT --store URI"""
    command = [sys.executable, "-P", "-m", "orchestrator.tracking", str(root), "--store", uri]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, stdin=stdin, env=ENV, **quiet)


# --- the tracker ------------------------------------------------------------------------------------------------------


def test_a_tracker_exports_while_the_run_goes_on_and_finishes(folder, uri):
    writer = Writer(folder)
    with Tracker(folder, uri) as tracker:
        assert tracker.run_id(folder) is None and tracker.missing(folder)
        process = tracker._process
        for number in range(6):
            writer.step()
            if number == 3:
                wait_for(lambda: told(folder, uri).get("steps") == 4)
                assert os.getpriority(os.PRIO_PROCESS, process.pid) >= 10
                assert os.getsid(process.pid) == process.pid, "a Ctrl+C in the terminal would reach it"
        writer.end()
    assert process.returncode == 0
    assert not tracker.missing(folder) and tracker.run_id(folder) == runs(uri)[0].info.run_id
    assert rows(uri) == expected(folder)


def test_a_tracker_without_a_store_does_nothing(folder):
    Writer(folder).run(4)
    before = sorted(folder.iterdir())
    with Tracker(folder, None) as tracker:
        assert tracker._process is None
    assert (tracker.missing(folder), tracker.run_id(folder)) == (False, None) and sorted(folder.iterdir()) == before


def test_a_store_that_is_dead_costs_a_bounded_wait_and_hides_the_password(folder):
    """The run is exported later; an error leaves within 5 s, and no process is left."""
    Writer(folder).run(8).end()
    uri = f"http://me:geheim@127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="mine"), Tracker(folder, uri) as tracker:
        process = tracker._process
        command = Path(f"/proc/{process.pid}/cmdline")
        wait_for(lambda: (folder / "tracking.log").exists())
        assert not command.exists() or b"geheim" not in command.read_bytes()
        began = time.monotonic()
        raise RuntimeError("mine")
    assert time.monotonic() - began < 8 and process.poll() is not None
    assert tracker.missing(folder)
    log = (folder / "tracking.log").read_text()
    assert "geheim" not in log and "does not answer" in log and len(log.splitlines()) == 1
    assert not (folder / "tracking.json").exists()


def test_a_store_that_hangs_is_left_after_the_limit(folder):
    """A server that takes the connection and never answers."""
    Writer(folder).run(8).end()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracker = Tracker(folder, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with tracker:
            process = tracker._process
            silent.settimeout(30)
            held, _ = silent.accept()
            began = time.monotonic()
            tracker.finish(1.0)
            assert time.monotonic() - began < 5 and process.poll() is not None
        held.close()


PARENT = """
import sys
from pathlib import Path
from orchestrator.journal import lock
from orchestrator.tracking.tracker import Tracker
held = lock.Lock(Path(sys.argv[1]))
with Tracker(Path(sys.argv[1]), sys.argv[2]) as tracker:
    print(tracker._process.pid, flush=True)
    sys.stdin.read()
"""


def test_a_coordinator_that_is_killed_leaves_a_killed_run_and_no_process(folder, uri):
    writer = Writer(folder).run(4)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PARENT, folder, uri], env=ENV, **pipes) as parent:
        exporter = int(parent.stdout.readline())
        wait_for(lambda: told(folder, uri).get("status") == "RUNNING")
        writer.step()
        parent.kill()
    wait_for(lambda: not alive(exporter), 25)
    (run,) = runs(uri)
    assert run.info.status == "KILLED" and rows(uri) == expected(folder) and not missing(folder, uri)


def alive(pid):
    """Not even a zombie that nobody waited for yet counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- pnn track sync ---------------------------------------------------------------------------------------------------


def test_sync_exports_what_is_missing_below_runs(tmp_path, uri, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Writer(tmp_path / "runs" / "one").run(8).end()
    writer = Writer(tmp_path / "runs" / "compare" / "two").run(4)
    held = lock.Lock(writer.folder)
    sync_command([], uri)
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"runs/compare/two: 4 steps and 1 points exported \(4 and 1 of them now\); RUNNING; run \w{32}", first
    )
    assert re.fullmatch(
        r"runs/one: 8 steps and 2 points exported \(8 and 2 of them now\); FINISHED; run \w{32}", second
    )
    held.release()
    sync_command(["runs/compare"], uri)
    (line,) = capsys.readouterr().out.splitlines()
    assert "4 steps and 1 points exported; KILLED" in line
    assert {run.info.status for run in runs(uri)} == {"FINISHED", "KILLED"}
    with pytest.raises(RunFileError, match=r"DIR = 'nothing' holds no run; allowed: runs/one"):
        sync_command(["nothing"], uri)


def test_sync_says_in_one_line_that_the_store_cannot_be_reached(folder, capfd):
    Writer(folder).run(4)
    began = time.monotonic()
    with pytest.raises(SystemExit) as end:
        sync_command([str(folder)], f"http://me:geheim@127.0.0.1:{free_port()}")
    (line,) = capfd.readouterr().err.splitlines()
    assert end.value.code == 1 and time.monotonic() - began < 20
    assert line.startswith("The tracking store http://me:***@127.0.0.1:") and "does not answer" in line


def test_sync_is_ended_when_the_store_hangs(folder):
    """It accepts, and never answers: the command ends after its limit."""
    Writer(folder).run(4)
    program = "import orchestrator.cli.tracking as t, sys; t.OPEN_S = 3.0; t.sync_command([sys.argv[1]], sys.argv[2])"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", program, folder, uri], capture_output=True, text=True, timeout=60, env=ENV
        )
    assert done.returncode == 1 and done.stderr == f"The tracking store {uri} cannot be used: no answer for 3 s\n"


# --- which store ------------------------------------------------------------------------------------------------------


def test_resolve_takes_the_option_then_the_environment_then_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PNN_TRACKING", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve(None) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://a:1")
    assert resolve(None) == "http://a:1"
    monkeypatch.setenv("PNN_TRACKING", "http://b:1")
    assert resolve(None) == "http://b:1"
    assert resolve("http://c:1") == "http://c:1"
    assert resolve("none") is None
    monkeypatch.setenv("PNN_TRACKING", "none")
    assert resolve(None) is None
    monkeypatch.setenv("PNN_TRACKING", "b.sqlite")
    with pytest.raises(RunFileError, match="^environment: PNN_TRACKING = 'b.sqlite' is no tracking store"):
        resolve(None)


def test_resolve_accepts_what_mlflow_can_use(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for told_ in (
        "https://h/x",
        "databricks",
        "databricks://p",
        "postgresql+psycopg2://u:p@h/d",
        "mysql://h/d",
        "mssql://h/d",
    ):
        assert resolve(told_) == told_
    for told_ in ("a.db", "./a.db", "sqlite:///a.db", f"sqlite:///{tmp_path}/a.db", f"{tmp_path}/a.db"):
        assert resolve(told_) == f"sqlite:///{tmp_path}/a.db"


@pytest.mark.parametrize(
    ("told_", "near"),
    [
        ("file:./mlruns", "sqlite:///mlruns/mlflow.db"),
        ("file:///a/mlruns", "sqlite:////a/mlruns/mlflow.db"),
        ("./mlruns", "sqlite:///mlruns/mlflow.db"),
        ("postgres://u:geheim@h/d", "postgresql://u:***@h/d"),
        ("localhost:5000", "http://localhost:5000"),
        ("htp://h:1", "http://h:1"),
        ("databrick", "databricks"),
        ("sqlite://", "sqlite:///runs/mlflow.db"),
        ("sqlite:///:memory:", "sqlite:///runs/mlflow.db"),
        ("http:", "http://HOST:PORT"),
        ("a?b.db", None),
        ("", None),
        ("xyz", None),
    ],
)
def test_resolve_refuses_the_rest_and_names_the_nearest_form(told_, near):
    with pytest.raises(RunFileError) as refusal:
        resolve(told_)
    said = str(refusal.value)
    assert (
        said.startswith("command line: --tracking = ") and "allowed: sqlite:///FILE.db" in said and "geheim" not in said
    )
    assert (f"did you mean {near}?" in said) if near else ("did you mean" not in said)


def test_public_hides_passwords():
    assert public("postgresql://u:p@w@h/d") == "postgresql://u:***@h/d"
    assert public("mssql://h/d?Password=abc&x=1") == "mssql://h/d?Password=***&x=1"
    with pytest.raises(stores.StoreError, match="^OSError: no route to http://u:.{3}@h$"), stores._calls():
        raise OSError("no route to http://u:geheim@h")
    assert public("sqlite:////a/b.db") == "sqlite:////a/b.db" and public("http://h:5000/x") == "http://h:5000/x"


# --- what is imported -------------------------------------------------------------------------------------------------


def test_only_the_store_imports_mlflow():
    found = set()
    for package in ("orchestrator", "algorithms", "physics"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                if any(name.partition(".")[0] == "mlflow" for name in names):
                    found.add(str(path.relative_to(ROOT)))
    assert found == {"orchestrator/tracking/store.py"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("orchestrator.tracking", ("numpy", "jax", "ray", "mlflow")),
        ("orchestrator.tracking.tracker", ("jax", "ray", "mlflow")),
        ("orchestrator.cli.tracking", ("jax", "ray", "mlflow")),
        ("orchestrator.tracking.__main__", ("jax", "ray", "mlflow")),
        ("orchestrator.tracking.store", ("jax", "ray")),
    ],
)
def test_nothing_heavy_is_imported(module, heavy):
    program = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENV, timeout=60)
    assert done.stdout == "[]\n", done.stderr


# --- pnn ui -----------------------------------------------------------------------------------------------------------


def test_ui_names_what_uses_the_port_and_the_next_free_one(uri, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(RunFileError) as refusal:
            ui_command(port, uri)
    said = str(refusal.value)
    assert said.startswith(f"command line: --port = {port} is in use by process {os.getpid()} (")
    free = int(re.search(r"a free port, for example (\d+)$", said)[1])
    assert free > port
    with pytest.raises(RunFileError, match="missing.db' does not exist; allowed: pnn train"):
        ui_command(free, str(tmp_path / "missing.db"))


def test_ui_of_a_server_prints_its_address(capsys):
    ui_command(5000, "http://me:geheim@tracking:5000")
    assert capsys.readouterr().out.startswith("http://me:***@tracking:5000 ")


@pytest.mark.slow
def test_ui_answers_on_this_machine_only_and_leaves_nothing(folder, uri):
    Writer(folder).run(4).end()
    export(folder, uri)
    port = free_port()
    program = "import sys; from orchestrator.cli.tracking import ui_command; ui_command(int(sys.argv[1]), sys.argv[2])"
    with subprocess.Popen([sys.executable, "-c", program, str(port), uri], stdout=subprocess.PIPE, env=ENV) as ui:
        assert ui.stdout.readline().decode().strip() == uri
        assert ui.stdout.readline().decode().startswith(f"http://127.0.0.1:{port} ")
        assert answer(port, "/") == 200 and answer(port, "/", "evil.example") == 403
        for address in {a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None)} - {"127.0.0.1", "::1"}:
            with pytest.raises(OSError):
                socket.create_connection((address, port), 2).close()
        (server,) = [pid for pid in processes() if stat(pid, 1) == str(ui.pid)]
        assert {server} < members(server), "uvicorn is a child of it"
        ui.send_signal(signal.SIGINT)
        assert ui.wait(20) == 0
    assert not members(server)
    with socket.create_server(("127.0.0.1", port)):
        pass


def processes():
    return [int(p.name) for p in Path("/proc").glob("[0-9]*")]


def stat(pid, field):
    """0: state, 1: parent, 2: process group"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[field]
    except OSError:
        return None


def members(group):
    return {pid for pid in processes() if stat(pid, 2) == str(group) and alive(pid)}


# --- stores that fail, with processes of their own --------------------------------------------------------------------


@contextmanager
def steps_of(writer, every_s=0.05):
    """A run that goes on meanwhile."""
    stop = threading.Event()

    def write():
        while not stop.wait(every_s):
            writer.step()
            if writer.steps % 50 == 0:
                writer.point().snapshot()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def complete(folder, uri):
    (run,) = runs(uri)
    return rows(uri) == expected(folder) and run.info.status == "FINISHED"


@pytest.mark.slow
def test_a_store_that_is_locked_for_a_minute(folder, uri):
    writer = Writer(folder).run(4)
    with exporting(folder, uri) as process:
        wait_for(lambda: told(folder, uri).get("steps") == 4)
        with steps_of(writer):
            with locked(uri):
                time.sleep(60)
                assert process.poll() is None and writer.steps > 300
                assert told(folder, uri)["steps"] < writer.steps // 4, "it was not locked at all"
            wait_for(lambda: told(folder, uri)["steps"] > writer.steps - 100, 60)
        writer.end()
        process.stdin.close()
        assert process.wait(25) == 0
    assert "locked" in (folder / "tracking.log").read_text()
    assert complete(folder, uri)


@pytest.mark.slow
def test_a_server_that_is_dead_then_there_then_killed(folder, uri, capsys):
    port, writer = free_port(), Writer(folder).run(20)
    address = f"http://127.0.0.1:{port}"
    with exporting(folder, address) as process:
        wait_for(lambda: (folder / "tracking.log").exists())
        with steps_of(writer):
            with server_of(uri, port):
                wait_for(lambda: told(folder, address).get("steps", 0) > 30, 60)
            time.sleep(3)
        writer.end()
        process.stdin.close()
        process.wait(25)
    assert missing(folder, address) and rows(uri) != expected(folder)
    with server_of(uri, port):
        sync_command([str(folder)], address)
    assert f"{writer.steps} steps" in capsys.readouterr().out
    assert complete(folder, uri) and not missing(folder, address)


@pytest.mark.slow
def test_a_server_that_takes_two_seconds_a_call(folder, uri, capsys):
    port, writer = free_port(), Writer(folder)
    with server_of(uri, port), late(port, 2.0) as address, exporting(folder, address) as process:
        with steps_of(writer):
            wait_for(lambda: told(folder, address).get("steps", 0) > 40, 120)
        writer.end()
        process.stdin.close()
        process.wait(25)
        assert told(folder, address)["steps"] == writer.steps, "the last round comes to the steps first"
        sync_command([str(folder)], address)
        assert "FINISHED" in capsys.readouterr().out
    assert complete(folder, uri) and not missing(folder, address)


TRAIN = """
import json, sys
from pathlib import Path
from orchestrator import Run, api, folder
from orchestrator.tracking.tracker import Tracker
place = Path(sys.argv[1])
if not place.exists():
    folder.make_run(place, "run", Run.build(json.loads(sys.argv[3])), None)
with Tracker(place, sys.argv[2]) as tracker:
    print(tracker._process.pid, flush=True)
    api.resume(place)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed(small_tree, folder, uri):
    """The whole program: SIGKILL in the middle of training, and the rest of it by another process."""
    tree = small_tree("spsa", train={"steps": 400, "evaluate_every": 100})
    command = [sys.executable, "-c", TRAIN, folder, uri, json.dumps(tree)]
    with subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE) as first:
        exporter = int(first.stdout.readline())
        wait_for(lambda: told(folder, uri).get("steps", 0) > 20, 120)
        first.kill()
    wait_for(lambda: not alive(exporter), 25)
    (run,) = runs(uri)
    assert run.info.status == "KILLED" and told(folder, uri)["steps"] < 400
    subprocess.run(command, env=ENV, stdout=subprocess.DEVNULL, timeout=200, check=True)
    assert complete(folder, uri) and len(rows(uri)) > 400

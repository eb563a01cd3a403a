"""Exporting through crashes, locks and changes of status; following several runs."""

import shutil
import subprocess

import pytest

from benchmarks.tracking import locked
from orchestrator.journal import journal, lock
from orchestrator.tracking.exporter import Busy, Exporter, missing, told
from orchestrator.tracking.follow import Follower
from tests.orchestrator.tracking.tracked import (
    ENVIRONMENT,
    Writer,
    expected,
    export,
    exporter_of,
    exporting,
    rows,
    runs,
    stores,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's way with SQLAlchemy


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

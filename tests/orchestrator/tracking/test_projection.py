"""Tracking is a projection of the journal: nothing is missing in the store, nothing is there twice."""

import json
import os
from pathlib import Path

import pytest

from orchestrator.core import history
from orchestrator.journal import frames, journal
from orchestrator.tracking.exporter import BATCH, Exporter, missing, told
from orchestrator.tracking.projection import Projection, params
from tests.orchestrator.tracking.tracked import (
    Writer,
    expected,
    export,
    exporter_of,
    rows,
    runs,
    stores,
    through_client,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's way with SQLAlchemy


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

"""Journals as a coordinator writes them, and what a store says of them."""

import json
import os
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from orchestrator.core import history
from orchestrator.core.ledger import plain
from orchestrator.journal import journal
from orchestrator.tracking.exporter import Exporter

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what MLflow imports

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what MLflow imports
    from orchestrator.tracking import store as stores

ROOT = Path(__file__).parents[3]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
ENVIRONMENT = {"program_commit": "a" * 40 + "+", "folder_commit": None}
RUN = {
    "data": {"name": "digits", "size": [8, 8]},
    "network": [{"substrate": "crossbar", "size": 16}, {"substrate": "crossbar", "size": 10, "decode": "tanh"}],
    "method": {"name": "spsa", "probes": 8},
    "train": {"steps": 8, "seed": 3},
}


OPEN = []


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


def exporting(root, uri, stdin=subprocess.PIPE):
    """python -m orchestrator.tracking ROOT --store URI"""
    command = [sys.executable, "-P", "-m", "orchestrator.tracking", str(root), "--store", uri]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, stdin=stdin, env=ENV, **quiet)


def alive(pid):
    """Not even a zombie that nobody waited for yet counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

"""Mode fastest: idle chips take what is to be done, the record says who did it, and a slow chip holds nobody up."""

import time

import numpy as np
import pytest

from orchestrator import Run, train
from orchestrator.api import resume
from orchestrator.core import ledger
from orchestrator.core.coordinator import Coordinator
from orchestrator.journal import journal
from orchestrator.kept import Kept
from orchestrator.pools.in_process import InProcessPool
from orchestrator.problems import RunFileError
from orchestrator.replay import replay
from physics.contracts import DeviceError

GATED = """
import os, time
from dataclasses import dataclass
from physics.drivers.timed import Timed

@dataclass
class Gated(Timed):
    closed: str = ""  # while there is this file, a measurement does not end
    jams: str = ""  # if there is this file, it fails
    log: str = ""

    def measure(self, x, **about):
        while self.closed and os.path.exists(self.closed):
            time.sleep(0.001)
        if self.jams and os.path.exists(self.jams):
            raise ValueError("the shutter jams")
        return super().measure(x, **about)

    def safe(self):
        if self.log:
            with open(self.log, "a") as file:
                file.write(self.fitting.serial + "\\n")
        super().safe()
"""
ROWS = 16  # 8 probes of SPSA, in items of 2 rows: 8 items


class Log:
    """What a coordinator journals of its steps, in memory."""

    def __init__(self):
        self.steps = []

    def start(self, kind, meta, arrays=None):
        self.steps.append((meta, arrays))

    append = start

    def settle(self):
        pass


@pytest.fixture
def gated(tmp_path, monkeypatch):
    """A driver that can be held up and made to fail; the name of a file that does it."""
    (tmp_path / "gates.py").write_text(GATED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "closed"


def tree(mode="fastest", driver=None, chips=(), replicas=4, stages=(), **more):
    driver = {"name": "timed", "measure_s": 0.0005, **(driver or {}), "chips": list(chips)}
    about = {"batch": 2, "chunk": 2, "rows": 2, "steps": 4, "evaluate_samples": 4, "evaluate_chunk": 4, **more}
    stage = {"substrate": "crossbar", "size": 10, "gain": 0.5, "device": "driven", "driver": driver}
    return {
        "data": {"name": "digits"},
        "network": [*stages, stage],
        "fleet": {"replicas": replicas, "share": "tied"},
        "method": {"name": "spsa", "probes": ROWS // 2},
        "train": {"mode": mode, **about},
    }


def stepping(run, workers=1):
    """(coordinator, its log, its pool)"""
    pool, log = InProcessPool(run, workers), Log()
    return Coordinator(run, pool, log), log, pool


def test_replay_is_the_live_run_and_the_record_says_who_answered(tmp_path):
    chips = [{"replica": 0, "measure_s": 0.01}]
    result = train(Run.build(tree(chips=chips)), directory=tmp_path / "run")
    assert replay(tmp_path / "run").parameters_sha256 == result.parameters_sha256
    steps = [e for e in journal.read(tmp_path / "run" / journal.NAME) if e.kind == "step"]
    assert len(steps) == 4
    for event in steps:
        who = event.arrays()["who"]
        assert who.shape == (ROWS // 2,) and set(who.tolist()) <= {0, 1, 2, 3} and event.meta["dropped"] >= 0


def test_a_run_goes_on_from_its_journal(tmp_path):
    from orchestrator.api import go_on
    from orchestrator.core.coordinator import Stopped
    from orchestrator.folder import make_run

    run = Run.build(tree())
    path = make_run(tmp_path / "run", "run", run, None)
    kept, pool = Kept(path), InProcessPool(run)
    kept.stop = lambda: kept.steps >= 2
    with pytest.raises(Stopped):
        go_on(kept, pool)
    kept.close()
    pool.close()
    result = resume(path)
    assert result.steps == 4 and replay(path).parameters_sha256 == result.parameters_sha256


@pytest.mark.parametrize("workers", [1, 2])
def test_the_mode_does_not_change_what_is_measured(workers):
    """Chips that are alike: the losses of each row are those of the plan, whoever measures it."""
    losses = {}
    for mode in ("deterministic", "fastest"):
        coordinator, log, pool = stepping(Run.build(tree(mode)), workers)
        for step in range(3):
            coordinator.step(step)
        losses[mode] = [arrays["losses/0/0"] for _, arrays in log.steps]
        assert all(("who" in arrays) == (mode == "fastest") for _, arrays in log.steps)
        assert all(-1 not in arrays.get("who", ()) for _, arrays in log.steps), "each item has an answer"
        pool.close()
    np.testing.assert_allclose(losses["fastest"], losses["deterministic"], rtol=1e-5)


def test_a_slow_chip_holds_nobody_up_and_what_comes_too_late_is_counted_and_dropped(gated):
    chips = [{"replica": 1, "closed": str(gated)}]
    coordinator, log, pool = stepping(Run.build(tree(driver={"name": "gates:Gated"}, chips=chips)))
    plain, want, other = stepping(Run.build(tree("deterministic")))
    gated.touch()
    for step in range(3):
        coordinator.step(step)
    assert all(1 not in arrays["who"] for _, arrays in log.steps), "it has answered nothing"
    assert all(meta["dropped"] == 0 for meta, _ in log.steps), "and nothing of it is counted yet"
    gated.unlink()
    for step in range(3, 300):
        coordinator.step(step)
        if 1 in log.steps[-1][1]["who"]:
            break
        time.sleep(0.002)
    assert 1 in log.steps[-1][1]["who"], "now it takes part again"
    for step in range(len(log.steps)):
        plain.step(step)
    for (meta, arrays), (_, right) in zip(log.steps, want.steps, strict=True):
        np.testing.assert_allclose(arrays["losses/0/0"], right["losses/0/0"], rtol=1e-5)  # nothing stale is used
        (made,) = ledger.read(meta["account"]).values()
        assert made.passes == 2 * ROWS + meta["dropped"] and made.calls == ROWS + meta["dropped"] // 2
        assert made.writes >= made.calls
    assert log.steps[2][0]["dropped"] == 0 and sum(meta["dropped"] for meta, _ in log.steps) >= 4
    pool.close()
    other.close()


def test_an_evaluation_waits_for_every_chip(gated):
    chips = [{"replica": 1, "closed": str(gated)}]
    run = Run.build(tree(driver={"name": "gates:Gated"}, chips=chips))
    coordinator, log, pool = stepping(run)
    gated.touch()
    coordinator.step(0)
    gated.unlink()
    assert len(coordinator.evaluate(1).accuracies) == 4
    coordinator.step(1)
    pool.close()


@pytest.mark.parametrize("dies", [False, True])
def test_the_host_ends_while_a_chip_is_busy_with_what_nobody_needs(gated, dies):
    log = gated.with_name("log")
    driver = {"name": "gates:Gated", "log": str(log)}
    coordinator, _, pool = stepping(Run.build(tree(driver=driver, chips=[{"replica": 3, "measure_s": 0.5}])))
    coordinator.step(0)
    host = pool._workers[0].shards.host
    if dies:  # what a host sees of the death of its worker
        host.close()
    else:
        pool.close()
    assert host._process.wait(10) == 0
    assert set(log.read_text().split("\n")) >= {f"chip {i}.0.0" for i in range(4)}


def test_an_error_has_its_place_and_leaves_the_others_safe(gated):
    jams, log = gated.with_name("jams"), gated.with_name("log")
    driver = {"name": "gates:Gated", "log": str(log)}
    run = Run.build(tree(driver=driver, chips=[{"replica": 2, "jams": str(jams), "closed": str(gated)}]))
    coordinator, _, pool = stepping(run)
    jams.touch()
    with pytest.raises(DeviceError, match=r"network\[0\], step 0: chip 2\.0\.0: the driver failed with .*jams"):
        coordinator.step(0)
    pool.close()
    assert set(log.read_text().split("\n")) >= {f"chip {i}.0.0" for i in range(4)}
    jams.unlink()
    coordinator, _, pool = stepping(run)
    gated.touch()
    coordinator.step(0)  # while it is busy with what another one has done
    jams.touch()
    gated.unlink()
    with pytest.raises(DeviceError, match=r"chip 2\.0\.0: the driver failed"):
        for step in range(1, 300):
            coordinator.step(step)
            time.sleep(0.002)
    pool.close()


def test_chips_that_are_driven_otherwise():
    chips = [{"replica": 1, "measure_s": 0.004}]
    coordinator, log, pool = stepping(Run.build(tree("deterministic", driver={"measure_s": 0.001}, chips=chips)))
    coordinator.step(0)
    (made,) = ledger.read(log.steps[0][0]["account"]).values()
    assert float(made.seconds) == pytest.approx(2 * ROWS * (3 * 0.001 + 0.004) / 4)
    pool.close()


def changed(**more):
    made = tree()
    for where, value in more.items():
        table, key = where.split("_", 1)
        part = made["network"][0] if table == "stage" else made[table]
        part[key] = value
    return made


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (changed(fleet_share="own"), r"fleet.share = 'own' cannot be trained in mode fastest.*allowed: tied"),
        (changed(method_name="dfa", method_probes=...), "method = 'dfa' cannot be in mode fastest.*allowed: spsa, es"),
        (changed(stage_tiles=2), r"network\[0\].tiles = 2 cannot be in mode fastest"),
        (tree(stages=[{"substrate": "crossbar", "size": 12}]), r"network\[0\].device = 'simulated' cannot be.*driven"),
        (tree(stages=[tree()["network"][0]]), r"network\[1\].driver cannot be in mode fastest: its stages would"),
        (
            tree(stages=[{"substrate": "digital", "size": 12, "method": {"name": "es"}}]),
            r"network\[1\].method cannot be in mode fastest: its groups",
        ),
        (changed(train_mode="fast"), r"train.mode = 'fast' is not allowed; allowed: deterministic, fastest"),
        (changed(stage_driver=...), r"network\[0\].driver cannot be in mode fastest.*allowed: a driver"),
        (tree(chips=[{"replica": 4}]), r"chips\[0\].replica = 4 is no chip of the fleet; allowed: 0 to 3"),
        (tree(chips=[{"replica": 1}, {"replica": 1}]), r"chips\[1\].replica = 1 is told twice"),
        (tree(chips=[{"replica": 1, "measure": 1.0}]), r"chips\[0\].measure.* is not a field.*measure_s"),
    ],
)
def test_what_cannot_be_is_refused(made, told):
    drop = [made["method"], made["network"][0]]
    for part in drop:
        for key in [k for k, v in part.items() if v is ...]:
            del part[key]
    with pytest.raises(RunFileError, match=told):
        Run.build(made)


def test_all_digital_networks_have_nothing_that_pulls():
    made = tree()
    made["network"] = [{"substrate": "digital", "size": 10}]
    with pytest.raises(RunFileError, match=r"train.mode = 'fastest' is for instruments"):
        Run.build(made)


def test_a_digital_stage_beside_the_instruments():
    made = tree(stages=[{"substrate": "digital", "size": 12, "decode": "tanh"}])
    made["network"][1]["encode"] = "clip"
    coordinator, log, pool = stepping(Run.build(made))
    for step in range(2):
        coordinator.step(step)
    assert len(log.steps[1][1]["who"]) == ROWS // 2
    pool.close()

"""Instruments of a host in training: the same bytes for any placement, side by side, errors with their place."""

import numpy as np
import pytest

from orchestrator import Run, train
from orchestrator.core import worker as workers
from orchestrator.core.coordinator import Coordinator
from orchestrator.core.waves import WAVES, waves
from orchestrator.pools.in_process import InProcessPool
from orchestrator.problems import RunFileError
from orchestrator.replay import replay
from physics import hosted
from physics.contracts import DeviceError
from tests.conftest import some_slow

JAMS = """
from dataclasses import dataclass
from physics.drivers.timed import Timed

@dataclass
class Jams(Timed):
    log: str = ""
    at: int = 5

    def write(self, device, version):
        if version[1] and version[2] == self.at and self.fitting.serial.endswith(".1.0"):
            raise ValueError("the shutter jams")
        return super().write(device, version)

    def safe(self):
        with open(self.log, "a") as file:
            file.write(self.fitting.serial + "\\n")
        super().safe()
"""
KINDS = {"spsa": {"name": "spsa", "probes": 4}, "es": {"name": "es", "probes": 4}, "dfa": {"name": "dfa"}}
KINDS |= {"rank": {"name": "low-rank-es", "probes": 4}, "physics-aware": {"name": "physics-aware"}}
KINDS |= {"phyll": {"name": "phyll"}}


def tree(method="spsa", stages=3, driver="timed", measure_s=0.0, replicas=1, rows=2, **more):
    driven = {"device": "driven", "driver": {"name": driver, "measure_s": measure_s, **more.pop("driver_options", {})}}
    sizes = [12] * (stages - 1) + [10]
    network = [
        {"substrate": "crossbar", "size": n, "encode": "clip" if i else "none", "decode": "tanh", "gain": 0.5, **driven}
        for i, n in enumerate(sizes)
    ]
    for stage in more.pop("simulated", ()):
        network[stage] = {k: v for k, v in network[stage].items() if k not in driven}
    about = {"steps": 2, "batch": 4, "chunk": 2, "rows": rows, "evaluate_samples": 5, "evaluate_chunk": 4, **more}
    fleet = {"replicas": replicas, "share": "tied"}
    return {"data": {"name": "digits"}, "network": network, "fleet": fleet, "method": KINDS[method], "train": about}


def account(result):
    return result.parameters_sha256, result.accuracy, result.loss, result.passes, result.calls, result.writes


def trained(tree, count=1):
    run = Run.build(tree)
    pool = InProcessPool(run, count)
    try:
        return train(run, pool)
    finally:
        pool.close()


@pytest.mark.parametrize("method", some_slow(KINDS, quick=["spsa", "phyll"]))
def test_the_same_bytes_for_any_number_of_workers(method):
    one = trained(tree(method))
    assert one.calls == one.passes * 3 or one.passes * 3 > one.calls > 0
    for count in (2, 3):
        assert account(trained(tree(method, placement="stages"), count)) == account(one)


def test_rows_that_flow_and_rows_that_wait(monkeypatch):
    flowing = trained(tree(rows=8))
    flow, calls = workers.Passage._flow, []
    monkeypatch.setattr(workers.Passage, "_flow", lambda *a: calls.append(1) or flow(*a))
    assert account(trained(tree(rows=8))) == account(flowing) and calls
    monkeypatch.undo()
    for name in ("placement", "rows"):
        changed = {"placement": "stages"} if name == "placement" else {"rows": 4}
        assert trained(tree(**{"rows": 8, **changed}), 3).parameters_sha256 == flowing.parameters_sha256


def test_stages_without_a_host_in_between():
    mixed = {"simulated": [1], "stages": 4}
    one = trained(tree(**mixed))
    for count in (2, 4):
        assert account(trained(tree(**mixed, placement="stages"), count)) == account(one)


def test_tiles_of_hosted_stages():
    def cut(**more):
        made = tree(stages=2, **more)
        made["network"][0] |= {"tiles": 2}
        return made

    assert account(trained(cut(placement="tiles"), 2)) == account(trained(cut()))


def test_what_is_written_has_the_bits_of_the_compiled_perturbation():
    import jax

    from orchestrator.core.work import Call
    from orchestrator.core.worker import Worker
    from physics.simulated import perturb

    for method in ("spsa", "es", "rank"):
        worker = Worker(Run.build(tree(method, stages=2, rows=8)), 0, 1)
        call = Call(0, 0, None)
        (work,) = worker._work(call)
        worker._begin(call)
        for stage in (0, 1):
            tile, delta = worker.shards.tile(work, stage, 0), worker.shards.delta(work, stage, 0)
            device = jax.tree.map(np.asarray, tile.params["device"])
            rows = worker.plan.rows_at(work.group, work.passes, work.item, stage)[0]
            found = worker.shards._writes.of(work, tile, (stage, 0), rows, True)
            for r in range(len(rows)):
                want = perturb(delta.direction, device, delta.context, delta.probe[r], delta.scale[r])
                bound = 0 if method == "spsa" else 1e-7  # one rounding or two
                np.testing.assert_allclose(found["w"][r], want["w"], rtol=0, atol=bound)
        worker.close()


def test_devices_measure_at_the_same_time(monkeypatch):
    """Requests under way, seen by the worker: of all replicas, and of all stages of one."""
    for about, devices in (({"stages": 1, "replicas": 3}, 3), ({"stages": 3, "rows": 8}, 3)):
        busy, most = set(), 0
        submit, collect = hosted.HostedDevice.submit, hosted.HostedDevice.collect

        def asks(self, request, submit=submit, busy=busy):
            nonlocal most
            busy.add(self)
            most = max(most, len(busy))
            submit(self, request)

        def answers(self, collect=collect, busy=busy):
            try:
                return collect(self)
            finally:
                busy.discard(self) if not self.asked else None

        monkeypatch.setattr(hosted.HostedDevice, "submit", asks)
        monkeypatch.setattr(hosted.HostedDevice, "collect", answers)
        trained(tree(measure_s=0.003, **about))
        monkeypatch.undo()
        assert most == devices


def test_an_error_has_its_place_and_leaves_the_others_safe(tmp_path, monkeypatch):
    (tmp_path / "jams.py").write_text(JAMS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    log = tmp_path / "log"
    options = {"driver": "jams:Jams", "driver_options": {"log": str(log)}, "rows": 8, "measure_s": 0.002}
    for count, placement in ((1, "clones"), (3, "stages")):
        run = Run.build(tree(**options, placement=placement))
        pool = InProcessPool(run, count)
        coordinator = Coordinator(run, pool)
        with pytest.raises(DeviceError, match=r"network\[1\], chip 0, step 0: the driver failed with .*shutter jams"):
            coordinator.step(0)
        pool.close()
        assert set(log.read_text().split("\n")) >= {f"chip 0.{stage}.0" for stage in range(3)}
        log.unlink()


def test_replay_needs_no_instrument(tmp_path):
    result = train(Run.build(tree()), directory=tmp_path / "run")
    assert replay(tmp_path / "run").parameters_sha256 == result.parameters_sha256


def test_waves_are_all_items_in_order():
    for n in (0, 1, 2, 31, 32, 33, 100):
        found = waves(list(range(n)))
        assert [i for wave in found for i in wave] == list(range(n)) and len(found) == min(n, WAVES)
        assert not found or max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize(
    ("driver", "told"),
    [
        ({"name": "tmied"}, "is not a driver"),
        ({"name": "timed", "measure": 1.0}, "is not a field"),
        ({"name": "timed", "measure_s": -1.0}, "measure_s"),
        ({"name": "no_such_module:Driver"}, "cannot be loaded"),
    ],
)
def test_a_driver_that_cannot_be(driver, told):
    made = tree()
    made["network"][1]["driver"] = driver
    with pytest.raises(RunFileError, match=told):
        Run.build(made)


def test_a_driver_needs_a_driven_device():
    made = tree()
    made["network"][0]["device"] = "simulated"
    with pytest.raises(RunFileError, match="has no driver"):
        Run.build(made)


@pytest.mark.ray
def test_waves_through_actors_give_the_same_bytes(cluster):
    run = Run.build(tree(placement="stages"))
    pool = cluster.pool(run, 3)
    assert account(train(run, pool)) == account(trained(tree()))
    pool.close()

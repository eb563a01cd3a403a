"""P0 and P1: one SHA-256 for any number of workers, any placement, any order of arrival; replay equals live."""

import numpy as np
import pytest

from orchestrator import train
from orchestrator.core import history, records
from orchestrator.core.coordinator import Coordinator
from orchestrator.core.worker import Worker
from orchestrator.journal import journal
from orchestrator.kept import read_history
from orchestrator.pools.in_process import InProcessPool
from orchestrator.replay import replay
from tests.conftest import some_slow

CROSSBAR = {"substrate": "crossbar", "size": 16, "decode": "tanh"}
LAST = {"substrate": "crossbar", "size": 10}

CLIPPED = {"network": [CROSSBAR, {**LAST, "encode": "clip"}]}
# One method of each way through coordinator and workers; all others are in test_conformance.py.
WAYS = ("spsa", "one-sided-spsa", "physics-aware", "in-silico-noise", "dfa", "node-perturbation", "phyll")
CASES = {
    **{name: (name, CLIPPED if name == "node-perturbation" else {}) for name in WAYS},
    **{
        f"{name}, outputs in two tiles": (name, {"network": [{**CROSSBAR, "tiles": 2}, CLIPPED["network"][1]]})
        for name in ("spsa", "physics-aware", "dfa", "in-silico-noise", "node-perturbation")
    },
    "physics-aware, inputs in two tiles, encoded": (
        "physics-aware",
        {
            "network": [
                {**CROSSBAR, "decode": "relu"},
                {**CROSSBAR, "encode": "peak", "tiles": 2, "tile_by": "inputs"},
                LAST,
            ]
        },
    ),
    "spsa below physics-aware": (
        "physics-aware",
        {"network": [{**CROSSBAR, "method": {"name": "spsa", "probes": 8}}, LAST]},
    ),
    "physics-aware above what is not trained": (
        "physics-aware",
        {"network": [{**CROSSBAR, "trained": False}, {**CROSSBAR, "encode": "peak"}, LAST]},
    ),
    "physics-aware below spsa": (
        "physics-aware",
        {"network": [CROSSBAR, {**LAST, "method": {"name": "spsa", "probes": 8}}]},
    ),
    "phyll below dfa": (
        "dfa",
        {
            "network": [
                {**CROSSBAR, "trained": False, "method": "phyll"},
                {"substrate": "digital", "size": 16, "decode": "relu", "method": "phyll"},
                {**CROSSBAR, "encode": "peak"},
                LAST,
            ]
        },
    ),
    "spsa, three tied chips": ("spsa", {"fleet": {"replicas": 3, "share": "tied"}}),
    "physics-aware, two own chips": ("physics-aware", {"fleet": {"replicas": 2}}),
}
SLOW = {"phyll below dfa", "physics-aware, outputs in two tiles", "in-silico-noise, outputs in two tiles"}


def answers(result):
    """All that must not depend on the workers."""
    total = result.ledger.total(), result.ledger.total("evaluate")
    return result.parameters_sha256, result.accuracy, result.accuracy_promised, result.loss, total


@pytest.mark.parametrize("case", some_slow(CASES, quick=set(CASES) - SLOW))
def test_one_worker_equals_many(case, small, tmp_path):
    method, changes = CASES[case]
    reference = None
    for placement in ("clones", "stages", "tiles"):
        run = small(method, **changes, train={"placement": placement})
        for workers in (1, 2, 3, 4):
            result = train(run, InProcessPool(run, workers, shuffle=7 * workers))
            reference = reference or answers(result)
            assert answers(result) == reference, f"{placement}, {workers} workers"
            by_worker = result.ledger.by_worker["train"]
            assert sum(e.passes for e in by_worker.values()) == result.passes
            if result.passes and placement == "clones":
                assert set(by_worker) == set(range(workers)), "a worker measured nothing"
    assert answers(train(run, directory=tmp_path / "run")) == reference
    assert replay(tmp_path / "run").parameters_sha256 == result.parameters_sha256


def test_parameters_moved_and_seeds_differ(small):
    run = small("spsa")
    fresh = InProcessPool(run)._workers[0].parameters()[1]
    result = train(run)
    assert all(np.any(result.params[n]["device"]["w"] != fresh[n]["device"]["w"]) for n in fresh)
    assert train(small("spsa", train={"seed": 1})).parameters_sha256 != result.parameters_sha256


def test_a_record_is_applied_once(small, tmp_path):
    run = small("physics-aware")
    result = train(run, directory=tmp_path / "run")
    worker = Worker(run, 0, 1)
    told = read_history(tmp_path / "run")
    events = journal.read(tmp_path / "run" / journal.NAME)
    found = [r for _, r in history.recorded(worker.plan, told, events, 0, 3) if r is not None]
    for record in found:
        worker.commit(record)
        worker.commit(record)
    assert records.parameters_sha256(worker.parameters()[1]) == result.parameters_sha256
    with pytest.raises(RuntimeError, match="a record is missing"):
        Worker(run, 0, 1).commit(found[1])


def test_a_pool_can_be_used_again(small):
    run = small("spsa")
    pool = InProcessPool(run)
    assert answers(train(run, pool)) == answers(train(run, pool))


def test_a_step_without_a_finite_loss_moves_nothing(small):
    run = small("spsa")
    coordinator = Coordinator(run, InProcessPool(run))
    before = records.parameters_sha256(coordinator.finish())
    worker = coordinator.pool._workers[0]
    worker.commit(records.Record(0, {0: {0: np.full(16, np.nan)}}))
    assert records.parameters_sha256(worker.parameters()[1]) == before
    assert all(tile.changed == 0 for tile in worker.shards.tiles.values()), "frozen parameters need no write"


@pytest.mark.ray
@pytest.mark.parametrize("method", ["spsa", "physics-aware", "in-silico", "dfa", "phyll"])
def test_actors_equal_this_process(method, small, cluster):
    run = small(method)
    pool = cluster.pool(run, 2)
    try:
        sharded = train(run, pool)
    finally:
        pool.close()
    assert answers(sharded) == answers(train(run))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3, 4])
@pytest.mark.parametrize("placement", ["clones", "stages", "tiles"])
@pytest.mark.parametrize("method", ["spsa", "physics-aware", "dfa"])
def test_any_number_of_actors_equals_this_process(method, placement, workers, small, cluster):
    run = small(method, network=[{**CROSSBAR, "tiles": 2}, LAST], train={"placement": placement})
    pool = cluster.pool(run, workers)
    try:
        sharded = train(run, pool)
    finally:
        pool.close()
    assert answers(sharded) == answers(train(run))


@pytest.mark.ray
def test_a_network_split_over_actors_by_stage(small, cluster):
    run = small("physics-aware", network=[{**CROSSBAR, "tiles": 2}, LAST], train={"placement": "tiles"})
    pool = cluster.pool(run, 2)
    try:
        sharded = train(run, pool)
    finally:
        pool.close()
    assert answers(sharded) == answers(train(run))


def test_the_state_of_a_method_advances_while_the_parameters_wait(small, monkeypatch):
    """A method that moves every second step: its counter counts every commit, its parameters change every second."""
    from algorithms.contracts import Update
    from algorithms.methods.dfa import DFA

    monkeypatch.setattr(DFA, "init", lambda self, key, params, place: np.int32(0))
    monkeypatch.setattr(
        DFA, "update", lambda self, key, step, state, params, evidence: Update(evidence, state + 1, step % 2 == 1, {})
    )
    run = small("dfa", train={"steps": 6})  # no other test has this compiled
    pool = InProcessPool(run)
    train(run, pool)
    for tile in pool._workers[0].shards.tiles.values():
        assert int(tile._carry[0]) == 6 and tile.changed == 6

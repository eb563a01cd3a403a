"""Banks: many chips in one call measure, cost and learn what they do chip by chip."""

import numpy as np
import pytest

from orchestrator import Run, train
from orchestrator.core import keys, plan
from orchestrator.core.coordinator import Coordinator
from orchestrator.core.records import Record
from orchestrator.core.work import Call
from orchestrator.pools.in_process import InProcessPool
from orchestrator.replay import replay
from physics.contracts import Refused
from tests.conftest import some_slow

CROSSBAR = {"substrate": "crossbar", "size": 6, "decode": "tanh"}
LAST = {"substrate": "crossbar", "size": 10, "encode": "clip"}
FLEET = {"replicas": 5, "mismatch": 0.1, "write_s": 1e-4}
CASES = {
    "spsa, own": ("spsa", {}, "and digital"),
    "spsa, tied, fewer items than chips": ("spsa", {"share": "tied"}, "crossbars"),
    "es, tied, more items than chips": ("es", {"share": "tied", "replicas": 2}, "crossbars"),
    "low-rank-es, own": ("low-rank-es", {}, "oscillators, one not trained"),
    "dfa, own": ("dfa", {}, "oscillators, one not trained"),
    "physics-aware, tied": ("physics-aware", {"share": "tied"}, "and digital"),
    "in-silico-noise, own": ("in-silico-noise", {}, "crossbars"),
    "phyll, own": ("phyll", {}, "and digital"),
    "phyll, tied": ("phyll", {"share": "tied"}, "crossbars"),
}
NETWORKS = {
    "too strong": [{**CROSSBAR, "decode": "none", "gain": 50.0}, {"substrate": "crossbar", "size": 10}],
    "crossbars": [CROSSBAR, LAST],
    "and digital": [CROSSBAR, {"substrate": "digital", "size": 7, "decode": "relu"}, LAST],
    "oscillators, one not trained": [
        {"substrate": "oscillators", "size": 6, "nodes": 17, "trained_gain": True},
        {**CROSSBAR, "encode": "peak", "trained": False},
        {"substrate": "digital", "size": 10},
    ],
}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Banks of three chips, from two chips on."""
    monkeypatch.setattr(plan, "FEWEST", 2)
    for module in ("plan", "bank", "layout"):
        monkeypatch.setattr(f"orchestrator.core.{module}.BANK", 3)


def run_of(method, fleet, network="crossbars", **train_):
    options = {"probes": 6} if method in ("spsa", "es", "low-rank-es") else {}
    return Run.build(
        {
            "data": {"name": "digits", "size": [4, 4], "train_samples": 300},
            "network": NETWORKS[network],
            "fleet": {**FLEET, **fleet},
            "method": {"name": method, "rate": 0.01, **options},
            "train": {"steps": 3, "batch": 12, "rows": 4, "chunk": 4, "evaluate_samples": 40, "evaluate_every": 2}
            | train_,
        }
    )


def measured(run):
    """(evidence, account) of the first step, and the first evaluation with its account."""
    coordinator = Coordinator(run, InProcessPool(run))
    reports, account = coordinator._round(Call(0, keys.TRAIN, None))
    evidence = coordinator._reduce(reports)
    point = coordinator.evaluate(0)
    return coordinator.plan, evidence, account, point, coordinator.told.ledger.total("evaluate")


QUICK = {"spsa, own", "spsa, tied, fewer items than chips", "dfa, own", "phyll, own"}


@pytest.mark.parametrize("case", some_slow(CASES, quick=QUICK))
def test_chips_together_are_the_chips_one_by_one(case, monkeypatch):
    method, fleet, network = CASES[case]
    run = run_of(method, fleet, network)
    found = measured(run)
    monkeypatch.setattr(plan, "FEWEST", 100)
    alone = measured(run)
    assert found[0].banked and not alone[0].banked
    for group, copies in alone[1].items():
        for copy, value in copies.items():
            held = next(h for h in found[0].held if copy in h)
            mine = found[1][group][held.start]
            if found[0].stacked:
                mine = _at(mine, copy - held.start)
            _close(mine, value)
    assert found[2] == alone[2]
    assert found[4] == alone[4]
    np.testing.assert_allclose(found[3].loss, alone[3].loss, rtol=1e-3)
    np.testing.assert_allclose(found[3].accuracies, alone[3].accuracies, atol=0.03)


@pytest.mark.parametrize("method", ["spsa", "dfa"])
@pytest.mark.parametrize("share", ["own", "tied"])
def test_banks_are_the_same_for_any_number_of_workers(method, share, tmp_path):
    run = run_of(method, {"replicas": 7, "share": share})
    results = [train(run, InProcessPool(run, workers, shuffle=workers)) for workers in (1, 2, 3)]
    kept = train(run, directory=tmp_path / "run")
    assert (
        len({(r.parameters_sha256, r.accuracy, r.accuracy_promised, r.ledger.total()) for r in [*results, kept]}) == 1
    )
    assert replay(tmp_path / "run").parameters_sha256 == kept.parameters_sha256
    assert len(kept.params) == 2 * (7 if share == "own" else 1)
    assert results[1].ledger.by_worker["train"].keys() == {0, 1} or share == "tied"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("share", ["own", "tied"])
@pytest.mark.parametrize("method", ["spsa", "low-rank-es", "dfa", "phyll"])
def test_banks_in_actors_give_the_same_bytes(method, share, cluster, monkeypatch):
    monkeypatch.undo()  # actors have banks of the usual size
    run = run_of(method, {"replicas": plan.BANK + 5, "share": share}, "and digital", chunk=12, evaluate_samples=4)
    pool = cluster.pool(run, 2)
    try:
        sharded = train(run, pool)
    finally:
        pool.close()
    here = train(run)
    assert sharded.parameters_sha256 == here.parameters_sha256 and sharded.ledger.total() == here.ledger.total()
    assert sharded.accuracy == here.accuracy


def test_a_chip_without_a_finite_loss_keeps_its_parameters_and_the_others_of_its_bank_do_not():
    worker = InProcessPool(run_of("spsa", {}))._workers[0]
    before = worker.parameters()[1]
    losses = np.random.default_rng(1).normal(size=(3, 12)).astype(np.float32)
    losses[1] = np.nan
    worker.commit(Record(0, {0: {0: losses, 3: losses[:2]}}))  # of five chips the second and the last
    for name, params in worker.parameters()[1].items():
        assert np.array_equal(params["device"]["w"], before[name]["device"]["w"]) == (name[0] in (1, 4)), name
    changed = {name: tile.changed.tolist() for name, tile in worker.shards.tiles.items()}
    assert changed == {(0, 0, 0): [1, 0, 1], (0, 1, 0): [1, 0, 1], (3, 0, 0): [1, 0], (3, 1, 0): [1, 0]}


def test_a_value_out_of_range_is_refused_with_the_chip_and_the_port():
    run = run_of("spsa", {}, "too strong")
    with pytest.raises(Refused, match=r"network\[1\], chip 0, step 0: Crossbar: input = .* is outside -1 to 1") as told:
        train(run)
    assert "A smaller perturbation" in str(told.value)


def _at(value, i):
    return {k: _at(v, i) for k, v in value.items()} if isinstance(value, dict) else value[i]


def _close(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for k in a:
            _close(a[k], b[k])
    else:  # a converter may fall to the next code
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)

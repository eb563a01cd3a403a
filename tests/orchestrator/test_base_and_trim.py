"""Base and trim: the base is what a tied set would be, a trim learns from its own chip alone, and bytes are kept."""

import jax
import numpy as np
import pytest

from orchestrator import Run, train
from orchestrator.core.coordinator import Coordinator
from orchestrator.pools.in_process import InProcessPool
from orchestrator.problems import RunFileError
from orchestrator.replay import replay

CHIPS = {"replicas": 3, "share": "base+trim", "trim_rate": 0.5}
CASES = {
    "spsa": {"rows": 4},
    "physics-aware": {"batch": 48, "chunk": 16},
}


def run_of(small_tree, case, share="base+trim", **fleet):
    shared = CHIPS if share == "base+trim" else {"replicas": 3, "share": share}
    return Run.build(small_tree(case, fleet={**shared, **fleet}, train=CASES[case]))


def stepped(run, steps=1):
    """The worker after some steps, their records applied."""
    coordinator = Coordinator(run, InProcessPool(run))
    for step in range(steps):
        coordinator.step(step)
    params = coordinator.parameters()
    return coordinator.pool._workers[0], params


@pytest.mark.parametrize("case", CASES)
def test_the_base_after_a_step_is_what_a_tied_set_would_be(case, small_tree):
    worker, params = stepped(run_of(small_tree, case))
    _, tied = stepped(run_of(small_tree, case, "tied"))
    for (copy, stage, tile), want in tied.items():
        assert copy == 0
        base = worker.shards.tiles[(-1, stage, tile)].params
        for a, b in zip(jax.tree.leaves(base), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-7)
    assert set(params) == {(copy, *name[1:]) for copy in range(3) for name in tied}


@pytest.mark.parametrize("case", CASES)
def test_trims_differ_and_a_chip_learns_its_trim_from_its_own_evidence(case, small_tree):
    worker, params = stepped(run_of(small_tree, case))
    tiles = worker.shards.tiles
    trims = [np.asarray(tiles[(copy, 0, 0)]._trim["device"]["w"]) for copy in range(3)]
    assert all(np.any(trim) for trim in trims)
    assert not np.array_equal(trims[0], trims[1]) and not np.array_equal(trims[1], trims[2])
    base = np.asarray(tiles[(-1, 0, 0)].params["device"]["w"])
    for copy, trim in enumerate(trims):
        whole = np.asarray(params[(copy, 0, 0)]["device"]["w"])
        inside = np.abs(base + trim) < 0.9
        np.testing.assert_array_equal(whole[inside], (base + trim)[inside])


@pytest.mark.parametrize("case", CASES)
def test_any_number_of_workers_and_replay_give_the_same_bytes(case, small_tree, tmp_path):
    run = run_of(small_tree, case)
    hashes = {train(run, InProcessPool(run, workers)).parameters_sha256 for workers in (1, 2, 3)}
    kept = train(run, directory=tmp_path / "run")
    assert hashes == {kept.parameters_sha256}
    assert replay(tmp_path / "run").parameters_sha256 == kept.parameters_sha256
    assert kept.passes == train(run_of(small_tree, case, "tied")).passes, "chips divide the passes"


def test_state_is_kept_and_restored(small_tree):
    run = run_of(small_tree, "spsa")
    worker, params = stepped(run, 2)
    fresh = InProcessPool(run)._workers[0]
    fresh.stand(worker.state()[1])
    _, again = fresh.parameters()
    for name in params:
        for a, b in zip(jax.tree.leaves(params[name]), jax.tree.leaves(again[name]), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"train": {"rows": 64}}, "leaves chips without work"),
        ({"method": {"name": "one-sided-spsa"}}, "compares them with the one without"),
        ({"method": {"name": "pgpe", "probes": 6}}, "cannot learn a trim"),
    ],
)
def test_what_cannot_learn_a_trim_is_refused(changes, told, small_tree):
    tree = small_tree("spsa", fleet=CHIPS, train={"rows": 4})
    for key, value in changes.items():
        tree[key] = {**tree[key], **value} if key == "train" else value
    with pytest.raises(RunFileError, match=told):
        Run.build(tree)


def test_a_trim_rate_without_trims_is_refused(small_tree):
    with pytest.raises(RunFileError, match="trim_rate is of no use to chips that are tied"):
        Run.build(small_tree("spsa", fleet={"replicas": 2, "share": "tied", "trim_rate": 0.5}))

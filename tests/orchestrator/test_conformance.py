"""Every method with every substrate: what fits trains, the same for any number of workers; what does not is refused."""

import jax
import numpy as np
import pytest

from algorithms import registry as methods
from orchestrator import Run, train
from orchestrator.core import keys
from orchestrator.core.coordinator import Coordinator
from orchestrator.core.work import Call
from orchestrator.pools.in_process import InProcessPool
from orchestrator.problems import RunFileError
from orchestrator.replay import replay
from physics import registry as substrates
from physics.substrates.crossbar import Crossbar

STEPS, BATCH = 2, 8
# What makes a method small; those that are not here are small as they are, or take few probes.
FEW = {"probes": 3, "population": 4}
HEAD = {"substrate": "digital", "size": 2}
# A stage of each substrate that can stand between four bits, with two labels beside them, and two classes; others are
# asked for as they are.
STAGES = {
    "oscillators": {"substrate": "oscillators", "size": 6, "nodes": 17},
    "acoustic": {"substrate": "acoustic", "size": 20, "trained": False},
}
QUICK = "crossbar"


def method_of(name):
    known = methods.load(name).__dataclass_fields__
    return {"name": name, **{key: value for key, value in FEW.items() if key in known}}


def tree_of(name, substrate):
    """A stage of the substrate, a digital one above it; both learn if they can."""
    stage = STAGES.get(substrate, {"substrate": substrate, "size": 6, "decode": "tanh"})
    method = method_of(name)
    top = dict(HEAD)
    if methods.load(name).signal == "none":
        top["encode"] = "peak"
    if not methods.load(name).answers:
        top["method"] = "dfa"
    return {
        "data": {"name": "parity-4"},
        "network": [stage, top],
        "method": method,
        "train": {"steps": STEPS, "batch": BATCH, "chunk": 4, "rows": 4, "evaluate_every": 100},
    }


def missing(name, substrate, tree):
    """What a method needs that a trained stage of the substrate does not offer."""
    stage = tree["network"][0]
    if not stage.get("trained", True):
        return frozenset()
    options = {k: v for k, v in stage.items() if k not in ("substrate", "size", "decode", "trained")}
    model = substrates.load(substrate)(n_in=4, n_out=stage["size"], **options)
    return methods.load(name)().needs(bool(model.ports.params)) - model.capabilities


def pairs():
    for name in methods.METHODS:
        for substrate in substrates.SUBSTRATES:
            slow = [pytest.mark.slow] if substrate != QUICK else []
            yield pytest.param(name, substrate, marks=slow, id=f"{name}, {substrate}")


PAIRS = list(pairs())


@pytest.mark.parametrize("name, substrate", PAIRS)
def test_a_valid_pair_trains_and_an_invalid_one_is_refused(name, substrate, tmp_path):
    tree = tree_of(name, substrate)
    if lacks := missing(name, substrate, tree):
        with pytest.raises(RunFileError, match=f"lacks {sorted(lacks)}".replace("[", r"\[").replace("]", r"\]")):
            Run.build(tree)
        return
    run = Run.build(tree)
    kept = train(run, directory=tmp_path / "run")
    assert all(np.all(np.isfinite(np.float32(leaf))) for leaf in jax.tree.leaves(kept.params))
    first = InProcessPool(run)._workers[0].parameters()[1]
    moved = [
        np.any(np.float32(a) != np.float32(b))
        for n in first
        for a, b in zip(*map(jax.tree.leaves, (first[n], kept.params[n])), strict=True)
    ]
    assert any(moved), "nothing was learnt"
    assert train(run, InProcessPool(run, 2, shuffle=3)).parameters_sha256 == kept.parameters_sha256
    assert replay(tmp_path / "run").parameters_sha256 == kept.parameters_sha256
    plan = Coordinator(run, InProcessPool(run)).plan
    on_device = [g for g in plan.groups if g.passes.on == "device"]
    if len(plan.groups) == 1 and on_device and on_device[0].passes.perturbs == "params":
        assert kept.passes == STEPS * BATCH * len(on_device[0].passes), "every row is a pass of every sample"
    if not on_device:
        assert kept.passes == kept.writes == 0


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("name, substrate", PAIRS)
def test_actors_give_the_same_bytes(name, substrate, cluster):
    tree = tree_of(name, substrate)
    if missing(name, substrate, tree):
        pytest.skip("refused")
    run = Run.build(tree)
    pool = cluster.pool(run, 2)
    try:
        sharded = train(run, pool)
    finally:
        pool.close()
    assert sharded.parameters_sha256 == train(run).parameters_sha256


@pytest.fixture(scope="module")
def poison():
    """The twin of a crossbar cannot be made; nothing that was compiled before is used."""
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:

        def poisoned(self):
            raise AssertionError("the twin was touched")

        patch.setattr(Crossbar, "nominal", poisoned)
        yield
    jax.clear_caches()


WITHOUT = [n for n in methods.METHODS if "twin" not in methods.load(n)().needs(True)]


@pytest.mark.parametrize("name", WITHOUT)
def test_who_declares_no_twin_never_touches_one(name, poison):
    run = Run.build(tree_of(name, "crossbar"))
    coordinator = Coordinator(run, InProcessPool(run))
    coordinator.step(0)
    assert coordinator.finish()


def learnt(name):
    """What a method learns of nominal chips in the first step."""
    tree = tree_of(name, "crossbar")
    tree["network"][1] |= {"substrate": "crossbar", "encode": "clip"}
    tree["fleet"] = {"mismatch": 0.0, "noise": 0.0, "drift": 0.0}
    run = Run.build(tree)
    coordinator = Coordinator(run, InProcessPool(run))
    evidence = coordinator._reduce(coordinator._round(Call(0, keys.TRAIN, None))[0])[0][0]
    return np.concatenate([np.ravel(leaf) for n in sorted(evidence) for leaf in jax.tree.leaves(evidence[n])])


WITH = [n for n in methods.METHODS if methods.load(n)().replies and "twin" in methods.load(n)().needs(True)]


@pytest.fixture(scope="module")
def turned():
    """What methods learn with the right twin, and with one that has a mismatch of its own."""
    right = {name: learnt(name) for name in WITH}
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:

        def wrong(self):
            return Crossbar(self.n_in, self.n_out, mismatch=0.3).fabricate(jax.random.key(5))

        patch.setattr(Crossbar, "nominal", wrong)
        found = {name: (right[name], learnt(name)) for name in WITH}
    jax.clear_caches()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH)
def test_a_wrong_twin_turns_the_gradient(name, turned):
    right, wrong = turned[name]
    cos = float(right @ wrong / np.linalg.norm(right) / np.linalg.norm(wrong))
    assert 0.3 < cos < 0.999


@pytest.mark.parametrize("name", [n for n in methods.METHODS if not methods.load(n).answers])
def test_who_answers_nothing_needs_another_above(name):
    tree = tree_of(name, "crossbar")
    del tree["network"][1]["method"]
    with pytest.raises(RunFileError, match="would predict nothing"):
        Run.build(tree)


def test_outputs_that_are_jittered_may_not_leave_the_range_of_the_next_stage():
    tree = tree_of("node-perturbation", "crossbar")
    tree["network"][1]["substrate"] = "crossbar"
    with pytest.raises(RunFileError, match=r"network\[1\].encode .*node-perturbation perturbs may leave"):
        Run.build(tree)
    tree["network"][1]["encode"] = "clip"
    Run.build(tree)


def test_a_state_that_is_too_large_is_refused_before_anything_starts():
    tree = tree_of("population", "digital")
    tree["network"][0]["size"] = 500
    tree["method"] = {"name": "population", "strategy": "cma"}
    with pytest.raises(RunFileError, match=r"cannot train network\[0\]: .* at most 2,000"):
        Run.build(tree)


def test_what_stands_below_all_that_learns_needs_no_way_back():
    tree = tree_of("feedback-alignment", "acoustic")
    Run.build(tree)
    with pytest.raises(RunFileError, match=r"network\[1\].substrate = 'acoustic' offers no way back"):
        Run.build({**tree, "network": [{**HEAD, "size": 4, "encode": "clip"}, *tree["network"]]})

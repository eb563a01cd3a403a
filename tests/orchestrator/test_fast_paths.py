"""Every fast path equals the slow, obvious one: bit for bit, or (another order of sums) but for rounding."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms.contracts import Perturbation, Place
from algorithms.directions import dense as all_dense
from algorithms.directions import lazy_low_rank, lazy_normal, lazy_signs
from algorithms.methods.backprop import PhysicsAware
from algorithms.methods.es import ES
from algorithms.methods.low_rank_es import LowRankES
from algorithms.methods.spsa import SPSA
from orchestrator import Run
from orchestrator.core import chain, commit, kernels, keys
from orchestrator.core.coordinator import Coordinator
from orchestrator.core.optimiser import Optimiser
from orchestrator.core.plan import Plan
from orchestrator.core.work import Call
from orchestrator.pools.in_process import InProcessPool
from physics import directions
from physics.contracts import Delta
from physics.substrates.crossbar import Crossbar
from physics.substrates.digital import Digital

KEY = jax.random.key(5)
METHODS = [SPSA(probes=3), ES(probes=3), LowRankES(probes=20, rank=1), LowRankES(probes=3, rank=3), PhysicsAware()]
OPTIMISERS = ["sgd", "momentum", "adam", "adamw"]


def equal(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(jax.tree.map(np.array_equal, a, b))


def evidence_of(method, params, step):
    rng = np.random.default_rng(step)
    if method.evidence == "losses":
        return rng.normal(size=len(method.passes())).astype(np.float32)
    return jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), params)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("model", [Digital(70, 24), Crossbar(69, 24, noise=0.0)], ids=["digital", "device"])
def test_a_commit_in_blocks_is_the_commit(method, optimiser, model, monkeypatch):
    maker = commit.Maker(method, Optimiser(optimiser, 0.5, "cosine", 10), model, 0.05)
    monkeypatch.setattr(commit, "BLOCK", 24 * 32)
    found = {}
    for whole in (10**6, 0):
        monkeypatch.setattr(commit, "WHOLE", whole)
        params = commit.first(model, 0.05, KEY)
        carry = commit.start(maker, KEY, params, Place(0, 1))
        for step in range(3):
            mine = evidence_of(method, params, step)
            (done,) = commit.commit(step, [commit.Due(maker, KEY, carry, params, mine)])
            params, carry, info = done.params, done.carry, done.info
            assert done.moved
        lost = jax.tree.map(lambda e: np.full_like(e, np.nan), mine)
        (done,) = commit.commit(3, [commit.Due(maker, KEY, carry, params, lost)])
        params, carry = done.params, done.carry
        assert not done.moved
        found[whole] = jax.tree.map(np.array, (params, carry, info))
    if optimiser.startswith("adam"):  # the compiler writes a / b / c as a / (b c) in one of them
        for a, b in zip(*map(jax.tree.leaves, found.values()), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    else:
        assert equal(found[0], found[10**6])


LEAVES = {
    "arrays": lambda key, like: all_dense(lazy_normal(key, like)),
    "signs": lazy_signs,
    "normal": lazy_normal,
    "rank 1": partial(lazy_low_rank, rank=1),
    "rank 3": partial(lazy_low_rank, rank=3),
}


class Along:
    """A direction from one of `LEAVES`."""

    def __init__(self, kind):
        self.make = jax.jit(LEAVES[kind])

    def __call__(self, context, probe):
        return {"device": {}, "digital": self.make(jax.random.fold_in(KEY, probe), context)}


@pytest.mark.parametrize("rows", [1, 8], ids=["one input", "an input each"])
@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", LEAVES)
def test_all_rows_at_once_are_the_rows_one_by_one(kind, bias, sides, rows, monkeypatch):
    monkeypatch.setattr(directions, "BLOCK", 24 * 32)  # several blocks, and a rest
    model, n, batch = Digital(70, 24, decode_as="tanh", bias=bias), 8, 5
    digital = model.init(KEY)["digital"]
    probe = np.repeat(np.arange(n // sides), sides).astype(np.int32)
    scale = (0.1 * (-1.0) ** np.arange(n)).astype(np.float32)
    v = np.random.default_rng(1).normal(size=(rows, batch, 70)).astype(np.float32)
    along = Along(kind)
    h = kernels.decode(model, Delta(along, digital, probe, scale, sides), digital, v)
    assert h.shape == (n, batch, 24)
    for r in range(n):
        moved = directions.along(digital, scale[r], along(digital, probe[r])["digital"])
        one = jax.vmap(partial(model.decode, moved))(jnp.asarray(v[min(r, rows - 1)]))
        np.testing.assert_allclose(h[r], one, rtol=5e-5, atol=2e-5)


def test_a_model_without_rows_is_given_arrays():
    class Plain(Digital):
        decode_rows = property()  # raises AttributeError: as if there were none

    digital = Digital(6, 4).init(KEY)["digital"]
    v = np.random.default_rng(1).normal(size=(1, 5, 6)).astype(np.float32)
    delta = Delta(Perturbation(LowRankES(probes=2)), (KEY, (), {"device": {}, "digital": digital}), *_rows(), 2)
    np.testing.assert_allclose(
        kernels.decode(Plain(6, 4), delta, digital, v),
        kernels.decode(Digital(6, 4), delta, digital, v),
        rtol=2e-5,
        atol=2e-6,
    )


def _rows():
    return np.int32([0, 0, 1, 1]), np.float32([0.1, -0.1, 0.1, -0.1])


CROSSBAR, HIDDEN, OUT = (
    {"substrate": "crossbar", "size": 12, "decode": "tanh"},
    {"substrate": "digital", "size": 20, "decode": "relu", "encode": "clip"},
    {"substrate": "digital", "size": 10, "decode": "none"},
)
NETWORKS = {
    "all digital": [HIDDEN, {**HIDDEN, "size": 14}, OUT],
    "after a device": [CROSSBAR, HIDDEN, {**HIDDEN, "size": 14}, OUT],
    "one not trained": [HIDDEN, {**HIDDEN, "trained": False}, OUT],
    "only the last": [CROSSBAR, OUT],
}


@pytest.mark.parametrize("method", ["spsa", "es", "low-rank-es"])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_stages_in_a_chain_are_the_stages_one_by_one(network, method, monkeypatch):
    monkeypatch.setattr(chain, "CACHE", 5000)  # several bundles of probes
    tree = {"network": network, "method": {"name": method, "probes": 6}}
    run = Run.build({**tree, "train": {"steps": 3, "batch": 16, "rows": 12}})
    found = []
    for chained in (True, False):
        if not chained:
            monkeypatch.setattr(Plan, "chain", lambda plan, *_: len(plan.stages))
        coordinator = Coordinator(run, InProcessPool(run))
        reports, account = coordinator._round(Call(0, keys.TRAIN, None))
        found.append((coordinator._reduce(reports)[0][0], account))
        plan = coordinator.plan
        if chained:
            first = {"after a device": 1, "only the last": 1}
            expected = next((n for name, n in first.items() if NETWORKS[name] is network), 0)
            assert plan.chain(plan.groups[0], plan.groups[0].passes, plan.items[0][0]) == expected
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=2e-6)
    assert found[0][1] == found[1][1]


def test_bundles_of_probes():
    assert [chain.together(12, each) for each in (1, chain.CACHE // 5, chain.CACHE, 10 * chain.CACHE)] == [12, 4, 1, 1]
    assert chain.together(7, chain.CACHE // 5) == 1

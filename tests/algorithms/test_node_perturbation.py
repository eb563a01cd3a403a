"""Node perturbation: its formula by hand, its expectation and its variance against the analytic gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms.contracts import Trace
from algorithms.methods.node_perturbation import NodePerturbation
from physics import twin
from physics.substrates.crossbar import Crossbar
from physics.substrates.digital import Digital
from physics.substrates.oscillators import Oscillators

STAGES = Crossbar(4, 3, decode_as="tanh"), Oscillators(3, 3, decode_as="tanh", trained_gain=True), Digital(3, 2)
Y = np.array([0, 1, 1])
SIDES = pytest.mark.parametrize("two_sided", [False, True])


def decoded(model, params, x):
    v = twin.respond(model, params["device"], x)
    return v, jax.vmap(partial(model.decode, params["digital"]))(v)


def cross_entropy(h):
    """Of each sample."""
    return -jnp.take_along_axis(jax.nn.log_softmax(h), Y[:, None], axis=-1)[:, 0]


@pytest.fixture
def params(draw):
    made = [jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(7 + i))) for i, model in enumerate(STAGES)]
    made[0]["device"]["w"] = 0.3 * draw(10, 5, 3)
    return made


@partial(jax.jit, static_argnums=0)
def row(method, params, x, key, probe, scale):
    """(trace of every stage, loss of every sample) of one row, jittered as the passes say."""
    traces = []
    for i, (model, p) in enumerate(zip(STAGES, params, strict=True)):
        v, h = decoded(model, p, x)
        added = scale * method.jitter(jax.random.fold_in(jax.random.fold_in(key, i), probe), h.shape)
        traces.append((x, v, h + added, added))
        x = h + added
    return traces, cross_entropy(x)


@partial(jax.jit, static_argnums=0)
def step(method, params, x, key):
    """(traces, losses) of all rows of a step."""
    passes = method.passes()
    probe, scale = np.array(passes.probe), np.array(passes.scale, np.float32)
    traces, losses = jax.vmap(lambda p, s: row(method, params, x, key, p, s))(probe, scale)
    return [Trace(x, v, h, Y, added) for x, v, h, added in traces], losses


@jax.jit
def analytic(params, x):
    def loss(params):
        h = x
        for model, p in zip(STAGES, params, strict=True):
            h = decoded(model, p, h)[1]
        return jnp.sum(cross_entropy(h))

    return jax.grad(loss)(params)


def within(mean, error, expected, deviations=5.0):
    """Whether the mean lies within its standard error of what is expected, in every entry; 1e-3 for the bias."""
    return bool(np.all(np.abs(mean - expected) < deviations * error + 1e-3))


@SIDES
def test_the_mean_over_many_jitters_is_the_gradient(learn, params, draw, two_sided):
    method, x = NodePerturbation(probes=100, sigma=0.03, two_sided=two_sided), np.clip(draw(0, 3, 4), -1, 1)
    expected, several = analytic(params, x), [[], [], []]
    for s in range(40):
        traces, losses = step(method, params, x, jax.random.key(s))
        for i in range(3):
            gradient, cot_x = learn(method, STAGES[i], params[i], traces[i], losses, stage=i)
            assert cot_x is None
            several[i].append(gradient)
    for i in range(3):
        found = jax.tree.map(lambda *g: np.stack(g), *several[i])
        assert jax.tree.structure(found) == jax.tree.structure(expected[i])
        for many, true in zip(jax.tree.leaves(found), jax.tree.leaves(expected[i]), strict=True):
            mean, error, true = many.mean(axis=0), many.std(axis=0, ddof=1) / np.sqrt(40), np.asarray(true)
            assert within(mean, error, true)
            assert not within(mean, error, -true)
        flat, true = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(t)]) for t in (found, expected[i]))
        mean = np.concatenate([leaf.mean(axis=0).ravel() for leaf in jax.tree.leaves(found)])
        assert flat.size == 40 * true.size and mean @ true > 0.97 * np.linalg.norm(mean) * np.linalg.norm(true)


def measured(draw, method):
    """A crossbar h = tanh(2 v) and a trace in which nothing is as the twin would say."""
    P, params = len(method.passes()), {"device": {"w": 0.3 * draw(1, 5, 3)}, "digital": {}}
    x, v = np.clip(draw(2, P, 6, 4), -1, 1), draw(3, P, 6, 3)
    added = np.array(method.passes().scale, np.float32)[:, None, None] * np.sign(draw(4, P, 6, 3))
    if method.two_sided:
        added[2::2] = -added[1::2]
    trace = Trace(x, v, np.tanh(2 * v) + added, np.zeros(6, np.int32), added)
    return Crossbar(4, 3, decode_as="tanh", gain=2.0), params, trace, draw(5, P, 6)


def by_hand(trace, L, sigma, two_sided):
    delta = np.zeros(trace.h.shape[1:])
    rows = range(1, len(L), 2 if two_sided else 1)
    for r in rows:
        slope = (L[r] - L[r + 1]) / (2 * sigma) if two_sided else (L[r] - L[0]) / sigma
        delta += slope[:, None] * trace.jitter[r] / sigma / len(rows)
    cot_v = delta * 2 * (1 - np.tanh(2 * trace.v[0].astype(np.float64)) ** 2)
    return np.vstack([trace.x[0].T @ cot_v, cot_v.sum(0)])


@SIDES
def test_differences_of_losses_are_learnt_at_the_unperturbed_row(learn, draw, two_sided):
    method = NodePerturbation(probes=4, sigma=0.2, two_sided=two_sided)
    model, params, trace, L = measured(draw, method)
    gradient, _ = learn(method, model, params, trace, L)
    np.testing.assert_allclose(gradient["device"]["w"], by_hand(trace, L, 0.2, two_sided), rtol=1e-4, atol=1e-4)
    # what the perturbed rows measured counts only through their losses
    other = trace._replace(x=np.concatenate([trace.x[:1], -trace.x[1:]]), v=np.concatenate([trace.v[:1], -trace.v[1:]]))
    again, _ = learn(method, model, params, other, L)
    assert np.array_equal(again["device"]["w"], gradient["device"]["w"])


def test_a_stage_that_all_rows_see_alike_has_one_row_of_x_and_v(learn, draw):
    method = NodePerturbation(probes=4)
    model, params, trace, L = measured(draw, method)
    whole, _ = learn(method, model, params, trace, L)
    one, _ = learn(method, model, params, trace._replace(x=trace.x[:1], v=trace.v[:1]), L)
    assert np.array_equal(one["device"]["w"], whole["device"]["w"])


def test_an_equal_loss_teaches_nothing_and_a_greater_one_turns_away_from_its_jitter(learn, draw):
    method = NodePerturbation(probes=1, sigma=0.1)
    model, params = Digital(2, 3), {"device": {}, "digital": {"kernel": draw(0, 2, 3), "bias": draw(1, 3)}}
    x, added = draw(2, 1, 1, 2), np.array([[[0.0] * 3], [[0.1, -0.1, 0.1]]], np.float32)
    trace = Trace(x, x, added, np.zeros(1, np.int32), added)
    same, _ = learn(method, model, params, trace, np.ones((2, 1), np.float32))
    worse, _ = learn(method, model, params, trace, np.array([[1.0], [1.5]], np.float32))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(same))
    np.testing.assert_allclose(worse["digital"]["bias"], [5.0, -5.0, 5.0], rtol=1e-5)  # 0.5 / 0.1 times the signs


@pytest.mark.parametrize("K", [1, 8])
def test_the_error_is_as_of_all_outputs_that_are_jittered_together(learn, draw, K):
    """Of a loss linear in D outputs the squared error of delta_h is (D - 1) / K of its square, sample by sample."""
    D, samples, method = 24, 2000, NodePerturbation(probes=K, sigma=0.5)
    c = draw(1, D)
    xi = np.sign(draw(2, K, samples, D))
    added = np.concatenate([np.zeros((1, samples, D)), 0.5 * xi]).astype(np.float32)
    x = np.eye(samples, dtype=np.float32)[None]  # so that the gradient of the kernel is delta_h itself
    params = {"device": {}, "digital": {"kernel": np.zeros((samples, D), np.float32), "bias": np.zeros(D, np.float32)}}
    trace = Trace(x, x, added, np.zeros(samples, np.int32), added)
    gradient, _ = learn(method, Digital(samples, D), params, trace, (added @ c).astype(np.float32))
    delta = np.asarray(gradient["digital"]["kernel"], np.float64)
    ratio = np.mean(np.sum((delta - c) ** 2, axis=1)) / np.sum(c**2)
    assert ratio == pytest.approx((D - 1) / K, rel=0.1)


def test_the_jitter_is_signs_of_its_own_key():
    draws = jax.jit(jax.vmap(lambda k: NodePerturbation().jitter(k, (5, 7))))(jax.random.split(jax.random.key(3), 400))
    assert draws.shape == (400, 5, 7) and np.array_equal(np.unique(draws), [-1, 1])
    assert np.abs(np.mean(draws, axis=0)).max() < 5 / np.sqrt(400)
    assert np.abs(np.mean(draws)) < 5 / np.sqrt(draws.size)


def test_one_row_is_not_perturbed_and_nothing_is_written():
    one, two = (NodePerturbation(probes=3, sigma=0.2, two_sided=sides).passes() for sides in (False, True))
    assert one.probe == (0, 1, 2, 3) and one.scale == (0.0, 0.2, 0.2, 0.2)
    assert two.probe == (0, 1, 1, 2, 2, 3, 3) and two.scale == (0.0, 0.2, -0.2, 0.2, -0.2, 0.2, -0.2)
    assert one.perturbs == two.perturbs == "activity"


def test_a_digital_stage_needs_no_twin_and_a_physical_one_its_own():
    assert NodePerturbation().needs(False) == frozenset() and NodePerturbation().needs(True) == {"twin"}

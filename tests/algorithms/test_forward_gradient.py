"""Forward gradient: its formula, its expectation through exact twins, a variance that has nothing of a step size."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms.contracts import Trace
from algorithms.methods.forward_gradient import ForwardGradient
from physics import twin
from physics.substrates.crossbar import Crossbar
from physics.substrates.digital import Digital
from physics.substrates.oscillators import Oscillators

STAGES = Crossbar(4, 3, decode_as="tanh"), Oscillators(3, 3, decode_as="tanh", trained_gain=True), Digital(3, 2)
Y = np.array([0, 1, 1])
STEPS = 40


def through(params, x, added):
    """(x, v, h of every stage, loss of every sample) with `added` to the outputs of each stage."""
    traces = []
    for model, p, more in zip(STAGES, params, added, strict=True):
        v = twin.respond(model, p["device"], x)
        h = jax.vmap(partial(model.decode, p["digital"]))(v) + more
        traces.append((x, v, h))
        x = h
    return traces, -jnp.take_along_axis(jax.nn.log_softmax(x), Y[:, None], axis=-1)[:, 0]


@partial(jax.jit, static_argnums=0)
def step(method, params, x, key):
    """(traces, what the readout sends) with the derivatives that exact twins would carry up."""
    keys = jax.random.split(key, len(STAGES))
    zero = [jnp.zeros((len(Y), model.n_out)) for model in STAGES]
    probes, scale = np.array(method.passes().probe[1:]), method.passes().scale[1]
    xi = [
        jax.vmap(lambda p, k=k, z=z: scale * method.jitter(jax.random.fold_in(k, p), z.shape))(probes)
        for k, z in zip(keys, zero, strict=True)
    ]
    traces, losses = through(params, x, zero)
    slopes = jax.vmap(lambda *moves: jax.jvp(lambda a: through(params, x, a)[1], (zero,), (list(moves),))[1])(*xi)
    jitter = [jnp.concatenate([z[None], moves]) for z, moves in zip(zero, xi, strict=True)]
    seen = [Trace(x[None], v[None], h[None], Y, j) for (x, v, h), j in zip(traces, jitter, strict=True)]
    return seen, jnp.concatenate([losses[None], slopes])


@pytest.fixture
def params(draw):
    made = [jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(7 + i))) for i, model in enumerate(STAGES)]
    made[0]["device"]["w"] = 0.3 * draw(10, 5, 3)
    return made


def test_the_mean_over_many_tangents_is_the_gradient(learn, params, draw):
    method, x = ForwardGradient(probes=50), np.clip(draw(0, 3, 4), -1, 1)
    zero = [np.zeros((3, model.n_out), np.float32) for model in STAGES]
    expected = jax.jit(jax.grad(lambda p: jnp.sum(through(p, x, zero)[1])))(params)
    several = [[], [], []]
    for s in range(STEPS):
        traces, signal = step(method, params, x, jax.random.key(s))
        for i in range(3):
            gradient, cot_x = learn(method, STAGES[i], params[i], traces[i], signal, stage=i)
            assert cot_x is None
            several[i].append(gradient)
    for i in range(3):
        found = jax.tree.map(lambda *g: np.stack(g), *several[i])
        for many, true in zip(jax.tree.leaves(found), jax.tree.leaves(expected[i]), strict=True):
            mean, error = many.mean(axis=0), many.std(axis=0, ddof=1) / np.sqrt(STEPS)
            assert np.all(np.abs(mean - true) < 5 * error + 1e-5)
            assert not np.all(np.abs(mean + true) < 5 * error + 1e-5)


def test_a_derivative_is_learnt_along_its_jitter_at_the_measured_row(learn, draw):
    method, params = ForwardGradient(probes=3), {"device": {"w": 0.3 * draw(1, 5, 3)}, "digital": {}}
    x, v, xi = np.clip(draw(2, 1, 6, 4), -1, 1), draw(3, 1, 6, 3), np.sign(draw(4, 3, 6, 3))
    signal, added = draw(5, 4, 6), np.concatenate([np.zeros((1, 6, 3)), xi]).astype(np.float32)
    trace = Trace(x, v, np.tanh(2 * v) + added, np.zeros(6, np.int32), added)
    model = Crossbar(4, 3, decode_as="tanh", gain=2.0)
    gradient, _ = learn(method, model, params, trace, signal)
    delta = np.mean(signal[1:, :, None].astype(np.float64) * xi, axis=0)
    cot_v = delta * 2 * (1 - np.tanh(2 * v[0].astype(np.float64)) ** 2)
    expected = np.vstack([x[0].T @ cot_v, cot_v.sum(0)])
    np.testing.assert_allclose(gradient["device"]["w"], expected, rtol=1e-4, atol=1e-5)
    # the loss itself has no part in it
    other, _ = learn(method, model, params, trace, np.concatenate([signal[:1] + 7, signal[1:]]))
    assert np.array_equal(other["device"]["w"], gradient["device"]["w"])


@pytest.mark.parametrize("K", [1, 8])
def test_the_error_is_as_of_all_outputs_that_are_jittered_together(learn, draw, K):
    D, samples = 24, 2000
    c, xi = draw(1, D), np.sign(draw(2, K, samples, D))
    added = np.concatenate([np.zeros((1, samples, D)), xi]).astype(np.float32)
    x = np.eye(samples, dtype=np.float32)[None]  # so that the gradient of the kernel is delta_h itself
    params = {"device": {}, "digital": {"kernel": np.zeros((samples, D), np.float32)}}
    trace = Trace(x, x, added[:1], np.zeros(samples, np.int32), added)
    model = Digital(samples, D, bias=False)
    gradient, _ = learn(ForwardGradient(probes=K), model, params, trace, (added @ c).astype(np.float32))
    delta = np.asarray(gradient["digital"]["kernel"], np.float64)
    ratio = np.mean(np.sum((delta - c) ** 2, axis=1)) / np.sum(c**2)
    assert ratio == pytest.approx((D - 1) / K, rel=0.1)


def test_one_row_is_measured_and_the_others_are_tangents():
    passes = ForwardGradient(probes=3).passes()
    assert passes.tangents and passes.perturbs == "activity"
    assert passes.probe == (0, 1, 2, 3) and passes.scale == (0.0, 1.0, 1.0, 1.0)
    assert ForwardGradient().needs(True) == ForwardGradient().needs(False) == {"twin"}

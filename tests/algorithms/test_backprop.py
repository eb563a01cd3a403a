"""Backpropagation through twins: the gradient where the twin is exact; at what was MEASURED where it is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms.contracts import Trace
from algorithms.methods.backprop import InSilico, InSilicoNoise, PhysicsAware
from physics import twin
from physics.substrates.crossbar import Crossbar
from physics.substrates.digital import Digital

STAGES = (Crossbar(4, 3, decode_as="tanh", gain=2.0), Digital(3, 5, decode_as="softsign"), Digital(5, 2))
PHYSICAL = STAGES[0]  # h = tanh(2 v)
Y = np.array([0, 1, 1])


def cross_entropy(h):
    return -jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(h), Y[:, None], axis=-1))


def chain(params, x):
    """The stages one after the other, all ideal: the trace of each, with one row."""
    traces = []
    for model, p in zip(STAGES, params, strict=True):
        v = twin.respond(model, p["device"], x)
        h = jax.vmap(lambda v, model=model, p=p: model.decode(p["digital"], v))(v)
        traces.append(Trace(x[None], v[None], h[None]))
        x = h
    return traces


@jax.jit
def truth(params, x):
    """(traces, error at the output, gradient of the loss by jax)."""
    traces = chain(params, x)
    gradient = jax.grad(lambda params, x: cross_entropy(chain(params, x)[-1].h[0]), (0, 1))(params, x)
    return traces, jax.grad(cross_entropy)(traces[-1].h[0]), gradient


def test_learning_down_a_chain_of_ideal_stages_is_the_gradient(learn, draw):
    params = [
        {"device": {"w": 0.3 * draw(10, 5, 3)}, "digital": {}},
        {"device": {}, "digital": {"kernel": draw(11, 3, 5), "bias": draw(12, 5)}},
        {"device": {}, "digital": {"kernel": draw(13, 5, 2), "bias": draw(14, 2)}},
    ]
    traces, error, (expected, expected_x) = truth(params, np.clip(draw(0, 3, 4), -1, 1))
    signal = error[None]
    for i in reversed(range(3)):
        gradient, signal = learn(PhysicsAware(), STAGES[i], params[i], traces[i], signal)
        assert jax.tree.structure(gradient) == jax.tree.structure(params[i])
        for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected[i]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(signal[0], expected_x, rtol=1e-4, atol=1e-6)


def measured(draw, rows=1):
    """Parameters, and a trace that has nothing to do with what the twin would say, with the cotangent of its h."""
    params = {"device": {"w": 0.3 * draw(1, 5, 3)}, "digital": {}}
    x, v, cot = np.clip(draw(2, rows, 3, 4), -1, 1), draw(3, rows, 3, 3), draw(4, rows, 3, 3)
    return params, Trace(x, v, np.tanh(2 * v)), cot


def by_hand(w, x, v, cot):
    """Gradient and cotangent of x of one row of h = tanh(2 (x w + b))."""
    cot_v = cot * 2 * (1 - np.tanh(2 * v.astype(np.float64)) ** 2)
    return np.vstack([x.T @ cot_v, cot_v.sum(0)]), cot_v @ w[:4].T


def test_the_way_back_starts_from_what_was_measured_not_from_what_the_twin_would_say(learn, draw):
    params, trace, cot = measured(draw)
    w = params["device"]["w"]
    modelled = trace.x[0] @ w[:4] + w[4]
    assert np.abs(modelled - trace.v[0]).max() > 0.5  # this chip is nothing like its twin
    gradient, cot_x = learn(PhysicsAware(), PHYSICAL, params, trace, cot)
    expected, expected_x = by_hand(w, trace.x[0], trace.v[0], cot[0])
    np.testing.assert_allclose(gradient["device"]["w"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cot_x[0], expected_x, rtol=1e-4, atol=1e-5)
    in_silico, _ = by_hand(w, trace.x[0], modelled, cot[0])
    assert np.abs(in_silico - expected).max() > 0.1
    # the measured x counts as well: another input with the same v is another gradient
    other, _ = learn(PhysicsAware(), PHYSICAL, params, trace._replace(x=-trace.x), cot)
    np.testing.assert_allclose(other["device"]["w"][:4], -expected[:4], rtol=1e-4, atol=1e-5)


def test_rows_and_samples_add_up(learn, draw):
    """Two rows are learnt as the sum of both; their cotangents stay apart."""
    params, trace, cot = measured(draw, rows=2)
    both, cot_x = learn(PhysicsAware(), PHYSICAL, params, trace, cot)
    each = [by_hand(params["device"]["w"], trace.x[r], trace.v[r], cot[r]) for r in range(2)]
    np.testing.assert_allclose(both["device"]["w"], each[0][0] + each[1][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cot_x, [e[1] for e in each], rtol=1e-4, atol=1e-5)


def test_digital_parameters_are_differentiated_at_the_measured_value(learn, draw):
    params = {"device": {}, "digital": {"kernel": draw(5, 5, 2), "bias": draw(6, 2)}}
    x, v, cot = draw(7, 1, 3, 5), draw(8, 1, 3, 5), draw(9, 1, 3, 2)
    gradient, _ = learn(PhysicsAware(), STAGES[2], params, Trace(x, v, cot), cot)
    np.testing.assert_allclose(gradient["digital"]["kernel"], v[0].T @ cot[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient["digital"]["bias"], cot[0].sum(0), rtol=1e-5, atol=1e-6)


def test_the_three_differ_in_where_the_forward_pass_runs():
    assert PhysicsAware().passes().on == "device"
    assert InSilico().passes().on == InSilicoNoise().passes().on == "twin"
    assert not InSilico().passes().noisy and InSilicoNoise().passes().noisy
    for cls in (PhysicsAware, InSilico, InSilicoNoise):
        assert len(cls().passes()) == 1 and cls().needs(True) == {"twin"}
        assert (cls.route, cls.signal, cls.evidence, cls.pull) == ("chain", "error", "gradients", ("twin",))


@pytest.mark.parametrize("cls", [InSilico, InSilicoNoise])
def test_all_three_go_back_alike(learn, draw, cls):
    params, trace, cot = measured(draw)
    ours, theirs = (learn(m, PHYSICAL, params, trace, cot) for m in (cls(), PhysicsAware()))
    assert np.array_equal(ours[0]["device"]["w"], theirs[0]["device"]["w"]) and np.array_equal(ours[1], theirs[1])

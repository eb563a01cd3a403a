"""Local errors through fixed random readouts: their gradient, the readouts, and a stage that learns to be read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms.contracts import AS_IS, Trace
from algorithms.methods.local_readout import LocalReadout
from physics.substrates.digital import Digital

KEY, METHOD, CLASSES = jax.random.key(37), LocalReadout(), 2


def readout(score, width, classes=CLASSES, stage=0, key=KEY):
    """R of a stage: what a stage that is active in one unit only scores, unit by unit."""
    units = np.eye(width, dtype=np.float32)[None]
    params = {"device": {}, "digital": {"kernel": np.zeros((1, width), np.float32)}}
    trace = Trace(units[..., :1], units[..., :1], units)
    return np.asarray(score(METHOD, Digital(1, width, bias=False), params, trace, key, stage, classes)).T


@pytest.mark.parametrize("stage", [0, 1])
def test_the_gradient_is_that_of_its_cross_entropy(learn, score, draw, ideal, slope, close, any_stage, stage):
    model, params = any_stage
    x, y, R = np.clip(draw(1, 1, 7, 4), -1, 1), np.arange(7, dtype=np.int32) % 2, readout(score, 3, stage=stage)

    def loss(h):
        return -jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(h[0] @ R), y[:, None], axis=-1))

    trace = ideal(model, params, x)._replace(y=y)
    gradient, cot_x = learn(METHOD, model, params, trace, None, KEY, stage)
    assert cot_x is None
    close(gradient, slope(loss, model, params, x))
    other, _ = learn(METHOD, model, params, trace._replace(y=1 - y), None, KEY, stage)
    assert not jax.tree.all(jax.tree.map(np.array_equal, gradient, other))


@pytest.mark.parametrize("width", [1, 2])
def test_the_last_stage_learns_from_the_loss_of_the_network(learn, draw, close, width):
    """softmax - onehot of its outputs; a single output is the log-odds of the second class."""
    params = {"device": {}, "digital": {"kernel": draw(1, 3, width), "bias": draw(2, width)}}
    x, y = draw(3, 1, 6, 3), np.arange(6, dtype=np.int32) % 2
    h = x @ params["digital"]["kernel"] + params["digital"]["bias"]
    logits = h if width == 2 else np.concatenate([np.zeros_like(h), h], axis=-1)
    e = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) - np.eye(2, dtype=np.float32)[y]
    gradient, _ = learn(METHOD, Digital(3, width), params, Trace(x, x, h, y), None, KEY, stage=2)
    expected = {"kernel": x[0].T @ e[0][:, -width:], "bias": e[0][:, -width:].sum(0)}
    close(gradient, {"device": {}, "digital": expected})


def test_each_stage_has_a_readout_of_its_own_that_never_changes(score):
    R = readout(score, 400, 10)
    assert R.shape == (400, 10)
    assert np.mean(400 * R**2) == pytest.approx(1.0, abs=5 * np.sqrt(2 / R.size))
    assert np.abs(R.mean()) < 5 / np.sqrt(400 * R.size)
    assert np.array_equal(R, readout(score, 400, 10))
    assert not np.array_equal(R, readout(score, 400, 10, stage=1))
    assert not np.array_equal(R, readout(score, 400, 10, key=jax.random.key(38)))


def test_stages_vote_with_their_logits_or_leave_it_to_the_last(score, draw):
    params = {"device": {}, "digital": {"kernel": np.zeros((1, 4), np.float32), "bias": np.zeros(4, np.float32)}}
    h = draw(1, 1, 6, 4)
    trace = Trace(h[..., :1], h[..., :1], h)
    for stage in (0, 1):
        made = score(METHOD, Digital(1, 4), params, trace, KEY, stage, 4)
        np.testing.assert_allclose(made, (h[0] @ readout(score, 4, 4, stage)).T, rtol=1e-4, atol=1e-5)
        assert score(LocalReadout(votes="last"), Digital(1, 4), params, trace, KEY, stage, 4) is None
    np.testing.assert_allclose(score(METHOD, Digital(1, 4), params, trace, KEY, 2, 4), h[0].T, rtol=1e-6)


def test_a_stage_learns_to_be_read(learn, score, ideal, draw):
    x = draw(1, 1, 100, 5)
    y = (x[0, :, 0] * x[0, :, 1] > 0).astype(np.int32)  # no linear readout of x can tell
    model, width = Digital(5, 40, decode_as="tanh"), 40
    params = {"device": {}, "digital": {"kernel": draw(2, 5, width), "bias": draw(3, width)}}
    for _ in range(300):
        gradient, _ = learn(METHOD, model, params, ideal(model, params, x)._replace(y=y), None, KEY)
        digital = {k: params["digital"][k] - 0.05 * np.asarray(g) for k, g in gradient["digital"].items()}
        params = {"device": {}, "digital": digital}
    predicted = np.asarray(score(METHOD, model, params, ideal(model, params, x), KEY)).argmax(axis=0)
    assert np.mean(predicted == y) > 0.9


def test_one_pass_teaches_and_one_predicts():
    assert METHOD.passes().label == METHOD.predict(10).label == (AS_IS,)
    assert (METHOD.route, METHOD.signal) == ("local", "none")


def test_a_digital_stage_needs_no_twin_and_a_physical_one_its_own():
    assert METHOD.needs(False) == frozenset() and METHOD.needs(True) == {"twin"}

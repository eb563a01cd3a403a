"""PhyLL: the gradient of its own loss, and a stage that learns to tell right labels from wrong ones."""

from functools import partial

import jax
import numpy as np
import pytest

from algorithms.contracts import RIGHT, WRONG, Trace
from algorithms.methods.phyll import PhyLL
from physics.substrates.digital import Digital

KEY = jax.random.key(31)
FEATURES, CLASSES, WIDTH, BATCH = 3, 2, 8, 40
MODEL, METHOD = Digital(FEATURES + CLASSES, WIDTH, decode_as="tanh"), PhyLL(theta=4.0)


def forward(params, x):
    """Trace of the stage, in numpy: a digital stage measures its input."""
    h = np.tanh(x @ np.asarray(params["digital"]["kernel"]) + np.asarray(params["digital"]["bias"]))
    return Trace(x, x, h.astype(np.float32))


@pytest.fixture
def params(draw):
    return {"device": {}, "digital": {"kernel": draw(1, FEATURES + CLASSES, WIDTH), "bias": 0.1 * draw(2, WIDTH)}}


@pytest.fixture
def toy(draw):
    """(features, labels): two classes, told apart by a sign, with noise."""
    labels = np.arange(BATCH) % 2
    return draw(3, BATCH, FEATURES) * 0.3 + np.where(labels == 1, 1.0, -1.0)[:, None].astype(np.float32), labels


def laid(features, *labels):
    """Features with a label laid beside them, one row for each set of labels."""
    return np.stack([np.concatenate([features, np.eye(CLASSES)[y]], axis=1) for y in labels]).astype(np.float32)


def directions(score, params, stage=0):
    """p_l: what a stage that is active in one unit only scores, unit by unit."""
    units = np.tile(np.eye(WIDTH, dtype=np.float32), (2, BATCH // WIDTH, 1))
    trace = Trace(np.zeros((2, BATCH, FEATURES + CLASSES), np.float32), units, units)
    return np.asarray(score(METHOD, MODEL, params, trace, KEY, stage), np.float64)[0, :WIDTH] / METHOD.theta


@pytest.fixture
def p(score, params):
    return directions(score, params)


def cosine(h, p):
    a = np.abs(h)
    return a @ p / (np.linalg.norm(p) * np.linalg.norm(a, axis=-1))


def test_each_stage_compares_with_a_fixed_unit_vector_of_its_own(score, params, p):
    assert np.linalg.norm(p) == pytest.approx(1.0, rel=1e-5)
    assert np.array_equal(p, directions(score, params))
    assert np.abs(p - directions(score, params, stage=1)).max() > 0.05


def test_the_score_is_theta_times_a_cosine_for_every_class(score, params, toy, p):
    trace = forward(params, laid(toy[0], *(np.full(BATCH, c) for c in range(CLASSES))))
    scores = score(METHOD, MODEL, params, trace, KEY)
    assert scores.shape == (CLASSES, BATCH)
    np.testing.assert_allclose(scores, 4.0 * cosine(trace.h.astype(np.float64), p), rtol=1e-4)


def test_the_gradient_is_that_of_the_loss_by_finite_differences(learn, params, toy, p):
    x = laid(toy[0], toy[1], 1 - toy[1])
    gradient, cot_x = learn(METHOD, MODEL, params, forward(params, x), None, KEY)
    assert cot_x is None and gradient["device"] == {}

    def loss(kernel, bias):
        """log(1 + exp(-theta (cos(|h+|, p) - cos(|h-|, p)))), summed over the batch, in float64."""
        right, wrong = cosine(np.tanh(x.astype(np.float64) @ kernel + bias), p)
        return np.sum(np.log1p(np.exp(-4.0 * (right - wrong))))

    def slopes(value, at):
        out = np.zeros(value.shape)
        for i in np.ndindex(value.shape):
            step = np.zeros(value.shape)
            step[i] = 1e-5
            out[i] = (at(value + step) - at(value - step)) / 2e-5
        return out

    kernel, bias = (params["digital"][k].astype(np.float64) for k in ("kernel", "bias"))
    for name, expected in (
        ("kernel", slopes(kernel, partial(loss, bias=bias))),
        ("bias", slopes(bias, partial(loss, kernel))),
    ):
        np.testing.assert_allclose(gradient["digital"][name], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_after_a_few_steps_right_labels_score_above_wrong_ones(learn, score, params, toy):
    features, labels = toy
    x = laid(features, labels, 1 - labels)
    right, wrong = score(METHOD, MODEL, params, forward(params, x), KEY)
    before = float(np.mean(right - wrong))
    for _ in range(60):
        gradient, _ = learn(METHOD, MODEL, params, forward(params, x), None, KEY)
        digital = {k: params["digital"][k] - 0.02 * np.asarray(g) for k, g in gradient["digital"].items()}
        params = {"device": {}, "digital": digital}
    right, wrong = score(METHOD, MODEL, params, forward(params, x), KEY)
    assert np.mean(right > wrong) > 0.9
    assert np.mean(right - wrong) > before + 0.2
    each = forward(params, laid(features, *(np.full(BATCH, c) for c in range(CLASSES))))
    predicted = np.asarray(score(METHOD, MODEL, params, each, KEY)).argmax(axis=0)
    assert np.mean(predicted == labels) > 0.9


def test_a_dead_stage_has_a_finite_gradient(learn, params):
    dead = jax.tree.map(np.zeros_like, params)
    trace = forward(dead, np.ones((2, BATCH, FEATURES + CLASSES), np.float32))
    assert not np.any(trace.h)
    gradient, _ = learn(METHOD, MODEL, dead, trace, None, KEY)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_a_right_and_a_wrong_label_are_laid_and_a_prediction_lays_every_class():
    assert METHOD.passes().label == (RIGHT, WRONG) and METHOD.passes().perturbs == "nothing"
    for n in (2, 10):
        assert METHOD.predict(n).label == tuple(range(n)) and len(METHOD.predict(n)) == n


def test_a_digital_stage_needs_no_twin_and_a_physical_one_its_own():
    assert METHOD.needs(False) == frozenset() and METHOD.needs(True) == {"twin"}

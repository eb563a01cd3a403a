"""Forward-forward: the gradient of its loss and of the source's, and a stage that learns to tell right from wrong."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms.contracts import RIGHT, WRONG, Trace
from algorithms.methods.forward_forward import ForwardForward
from physics.substrates.digital import Digital

FEATURES, CLASSES, WIDTH, BATCH = 3, 2, 8, 40
MODEL, METHOD = Digital(FEATURES + CLASSES, WIDTH, decode_as="relu"), ForwardForward()


@pytest.mark.parametrize("peer", [0.0, 0.5])
@pytest.mark.parametrize("threshold", [1.0, 0.3])
def test_the_gradient_is_that_of_the_loss(learn, draw, ideal, slope, close, any_stage, peer, threshold):
    model, params = any_stage
    x = np.clip(draw(1, 2, 7, 4), -1, 1)

    def loss(h):
        high, low = jnp.sum(h**2, -1)
        apart = jnp.log(1 + jnp.exp(3 * threshold - high)) + jnp.log(1 + jnp.exp(low - 3 * threshold))
        m = h[0].mean(0)
        return jnp.sum(apart / 2 + peer * jnp.mean((m - m.mean()) ** 2))

    gradient, cot_x = learn(ForwardForward(threshold=threshold, peer=peer), model, params, ideal(model, params, x))
    assert cot_x is None
    close(gradient, slope(loss, model, params, x))


def test_the_loss_is_that_of_the_source(learn, draw, ideal, slope, close):
    """Binary cross-entropy of (sum z^2 - dim), the mean over both kinds, and 0.03 of peer normalisation."""
    params, x = {"device": {}, "digital": {"kernel": draw(1, 5, 8), "bias": draw(2, 8)}}, draw(3, 2, BATCH, 5)

    def source(h):
        logits = jnp.sum(h**2, -1) - h.shape[-1]
        entropy = -jnp.concatenate([jax.nn.log_sigmoid(logits[0]), jax.nn.log_sigmoid(-logits[1])]).mean()
        m = h[0].mean(0)
        return entropy + 0.03 * jnp.mean((m.mean() - m) ** 2)

    gradient, _ = learn(METHOD, MODEL, params, ideal(MODEL, params, x))
    close(jax.tree.map(lambda g: g / BATCH, gradient), slope(source, MODEL, params, x))


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


def test_after_some_steps_right_labels_are_good_and_wrong_ones_are_not(learn, score, ideal, params, toy):
    features, labels = toy
    x = laid(features, labels, 1 - labels)
    for _ in range(80):
        gradient, _ = learn(METHOD, MODEL, params, ideal(MODEL, params, x))
        digital = {k: params["digital"][k] - 0.01 * np.asarray(g) for k, g in gradient["digital"].items()}
        params = {"device": {}, "digital": digital}
    right, wrong = (ideal(MODEL, params, x).h ** 2).sum(-1)
    assert np.mean(right > WIDTH) > 0.9 and np.mean(wrong < WIDTH) > 0.9
    each = ideal(MODEL, params, laid(features, *(np.full(BATCH, c) for c in range(CLASSES))))
    predicted = np.asarray(score(METHOD, MODEL, params, each, jax.random.key(0), stage=1)).argmax(axis=0)
    assert np.mean(predicted == labels) > 0.9


def test_the_score_is_the_goodness_and_the_first_stage_has_none_unless_asked(score, params, draw):
    x, h = np.zeros((CLASSES, 5, FEATURES + CLASSES), np.float32), draw(4, CLASSES, 5, WIDTH)
    says = partial(score, model=MODEL, params=params, trace=Trace(x, x, h), key=jax.random.key(0))
    np.testing.assert_allclose(says(METHOD, stage=1), (h**2).sum(-1), rtol=1e-5)
    assert not np.any(says(METHOD, stage=0)) and says(METHOD, stage=0).shape == (CLASSES, 5)
    np.testing.assert_allclose(says(ForwardForward(first=True), stage=0), (h**2).sum(-1), rtol=1e-5)


def test_a_right_and_a_wrong_label_are_laid_and_a_prediction_lays_every_class():
    assert METHOD.passes().label == (RIGHT, WRONG) and METHOD.passes().perturbs == "nothing"
    assert METHOD.predict(10).label == tuple(range(10))


def test_a_digital_stage_needs_no_twin_and_a_physical_one_its_own():
    assert METHOD.needs(False) == frozenset() and METHOD.needs(True) == {"twin"}

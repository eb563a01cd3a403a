"""Self-contrastive forward-forward: the gradient of its loss, without labels; samples stand out from their mixtures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms.contracts import AS_IS, MIXED, Algorithm
from algorithms.methods.self_contrastive import SelfContrastive
from physics.substrates.digital import Digital

METHOD = SelfContrastive()


@pytest.mark.parametrize("threshold", [1.0, 0.3])
def test_the_gradient_is_that_of_the_loss(learn, draw, ideal, slope, close, any_stage, threshold):
    model, params = any_stage
    x = np.clip(draw(1, 2, 7, 4), -1, 1)

    def loss(h):
        high, low = jnp.sum(h**2, -1)
        return jnp.sum(jnp.log(1 + jnp.exp(3 * threshold - high)) + jnp.log(1 + jnp.exp(low - 3 * threshold))) / 2

    gradient, cot_x = learn(SelfContrastive(threshold=threshold), model, params, ideal(model, params, x))
    assert cot_x is None
    close(gradient, slope(loss, model, params, x))


def test_labels_have_no_part_in_it(learn, draw, ideal, any_stage):
    model, params = any_stage
    trace = ideal(model, params, np.clip(draw(1, 2, 7, 4), -1, 1))
    labels = [np.zeros(7, np.int32), (np.arange(7) % 2).astype(np.int32), None]
    one, *others = (learn(METHOD, model, params, trace._replace(y=y))[0] for y in labels)
    assert all(jax.tree.all(jax.tree.map(np.array_equal, one, other)) for other in others)
    assert set(METHOD.passes().label) | set(METHOD.predict(10).label) == {AS_IS, MIXED}


def test_after_some_steps_samples_stand_out_from_their_mixtures(learn, draw, ideal):
    """Four clusters of unit length; the mixture of two is between clusters, at unit length, too."""
    rng = np.random.default_rng(5)
    kind, other = rng.integers(4, size=(2, 60))
    centres = np.eye(4, 6, dtype=np.float32)
    x, second = (centres[k] + 0.1 * draw(s, 60, 6) for s, k in ((1, kind), (2, other)))
    rows = np.stack([x, (x + second) / 2])[:, kind != other]
    rows = rows / np.sqrt(np.mean(rows**2, axis=-1, keepdims=True))
    model = Digital(6, 16, decode_as="relu")
    params = {"device": {}, "digital": {"kernel": 0.4 * draw(3, 6, 16), "bias": np.zeros(16, np.float32)}}

    def apart(params):
        high, low = (ideal(model, params, rows).h ** 2).sum(-1)
        return np.mean(high > low), np.mean(high - low)

    before = apart(params)
    for _ in range(150):
        gradient, _ = learn(METHOD, model, params, ideal(model, params, rows))
        digital = {k: params["digital"][k] - 0.004 * np.asarray(g) for k, g in gradient["digital"].items()}
        params = {"device": {}, "digital": digital}
    after = apart(params)
    assert before[0] < 0.8 and after[0] > 0.9 and after[1] > before[1] + 1.0


def test_samples_and_their_mixtures_are_measured_and_nothing_is_predicted():
    assert METHOD.passes().label == (AS_IS, MIXED) and METHOD.passes().perturbs == "nothing"
    assert METHOD.predict(10).label == (AS_IS,)
    assert SelfContrastive.score is Algorithm.score


def test_a_digital_stage_needs_no_twin_and_a_physical_one_its_own():
    assert METHOD.needs(False) == frozenset() and METHOD.needs(True) == {"twin"}

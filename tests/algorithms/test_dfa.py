"""Direct feedback alignment against its formula: delta = (e B) f'(v), grad = x^T delta."""

import jax
import numpy as np
import pytest

from algorithms.contracts import Trace
from algorithms.directions import signs
from algorithms.methods.dfa import DFA, WIDEST
from physics.substrates.crossbar import Crossbar
from physics.substrates.digital import Digital

KEY = jax.random.key(21)
CLASSES, BATCH, N_IN = 2, 5, 4


def stage(draw, width):
    """A stage h = tanh(v) with its trace of one row: (model, params, trace, error at the output of the network)."""
    params = {"device": {"w": 0.3 * draw(width, N_IN + 1, width)}, "digital": {}}
    x, v = np.clip(draw(1, 1, BATCH, N_IN), -1, 1), draw(2, 1, BATCH, width)
    return Crossbar(N_IN, width, decode_as="tanh"), params, Trace(x, v, np.tanh(v)), draw(3, 1, BATCH, CLASSES)


@pytest.fixture(name="B", scope="module")
def shared_matrix():
    return np.asarray(jax.jit(signs, static_argnums=1)(KEY, (CLASSES, WIDEST)), np.float64)


def by_hand(trace, e):
    delta = e * (1 - np.tanh(trace.v[0].astype(np.float64)) ** 2)
    return np.vstack([trace.x[0].T @ delta, delta.sum(0)])


@pytest.mark.parametrize(("number", "width"), [(0, 3), (1, 6)])
def test_a_lower_stage_learns_from_the_error_through_its_slice_of_one_matrix(learn, draw, B, number, width):
    model, params, trace, e = stage(draw, width)
    gradient, cot_x = learn(DFA(), model, params, trace, e, KEY, number)
    expected = by_hand(trace, e[0] @ B[:, :width] / np.sqrt(width))
    np.testing.assert_allclose(gradient["device"]["w"], expected, rtol=1e-4, atol=1e-5)
    assert cot_x is None  # no stage waits for another


def test_the_last_stage_gets_the_error_itself(learn, draw):
    model, params, trace, e = stage(draw, CLASSES)
    gradient, _ = learn(DFA(), model, params, trace, e, KEY, stage=2)
    np.testing.assert_allclose(gradient["device"]["w"], by_hand(trace, e[0]), rtol=1e-4, atol=1e-5)


def test_the_matrix_is_shared_by_all_stages_and_fixed_by_the_key(learn, draw, B):
    model, params, trace, e = stage(draw, 3)
    one, other = (learn(DFA(), model, params, trace, e, KEY, i)[0]["device"]["w"] for i in (0, 1))
    assert np.array_equal(one, other)
    unlike, _ = learn(DFA(), model, params, trace, e, jax.random.key(22))
    assert np.abs(unlike["device"]["w"] - one).max() > 1e-3
    assert np.array_equal(np.unique(B), [-1, 1])


def test_a_stage_wider_than_the_matrix_takes_its_columns_again(learn, draw, B):
    width = WIDEST + 2
    params = {
        "device": {},
        "digital": {"kernel": np.zeros((1, width), np.float32), "bias": np.zeros(width, np.float32)},
    }
    x, e = np.ones((1, 1, 1), np.float32), draw(0, 1, 1, CLASSES)
    trace = Trace(x, x, np.zeros((1, 1, width), np.float32))
    gradient, _ = learn(DFA(), Digital(1, width), params, trace, e, KEY)
    delta = np.asarray(gradient["digital"]["bias"])  # f' = 1 and one sample: delta itself
    np.testing.assert_allclose(delta[:WIDEST], e[0, 0] @ B / np.sqrt(width), rtol=1e-4, atol=1e-6)
    assert np.array_equal(delta[WIDEST:], delta[:2])


def test_learning_turns_the_weights_towards_the_matrix(descent):
    losses, cosines = descent(DFA())
    assert losses[-1] < 0.25 * losses[0]
    assert abs(cosines[0]) < 0.35 and np.mean(cosines[-20:]) > 0.1


def test_the_error_is_broadcast_once_and_one_pass_is_enough():
    assert (DFA.route, DFA.signal, DFA.evidence) == ("broadcast", "error", "gradients")
    assert len(DFA().passes()) == 1 and DFA().needs(True) == {"twin"}

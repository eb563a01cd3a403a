"""Augmented DFA against its formula: delta = (e B) * g(a), whatever f' is; the last stage learns by its own."""

import jax
import numpy as np
import pytest

from algorithms.contracts import Trace
from algorithms.directions import signs
from algorithms.methods.augmented_dfa import AugmentedDFA
from algorithms.methods.dfa import DFA, WIDEST
from physics.substrates.crossbar import Crossbar
from physics.substrates.digital import Digital

KEY = jax.random.key(29)
CLASSES, BATCH, N_IN, WIDTH = 2, 5, 4, 6
G = {
    "cosine": np.cos,
    "triangle": lambda a: 1 - 2 * np.arccos(np.cos(a)) / np.pi,
    "one": np.ones_like,
}


@pytest.fixture(name="eB", scope="module")
def projected_error(draw):
    """(error at the output, what of it reaches a lower stage)."""
    e = draw(3, 1, BATCH, CLASSES)
    B = np.asarray(jax.jit(signs, static_argnums=1)(KEY, (CLASSES, WIDEST)), np.float64)
    return e, e @ B[:, :WIDTH] / np.sqrt(WIDTH)


@pytest.mark.parametrize("g", G)
def test_a_crossbar_learns_at_what_was_measured(learn, draw, eB, g):
    params = {"device": {"w": 0.3 * draw(1, N_IN + 1, WIDTH)}, "digital": {}}
    x, v = np.clip(draw(4, 1, BATCH, N_IN), -1, 1), 2 * draw(5, 1, BATCH, WIDTH)
    model = Crossbar(N_IN, WIDTH, decode_as="tanh", gain=3.0)
    gradient, cot_x = learn(AugmentedDFA(g=g), model, params, Trace(x, v, np.tanh(3 * v)), eB[0], KEY)
    cot_v = 3 * (eB[1] * G[g](3 * v.astype(np.float64)))[0]
    np.testing.assert_allclose(gradient["device"]["w"], np.vstack([x[0].T @ cot_v, cot_v.sum(0)]), rtol=1e-4, atol=1e-4)
    assert cot_x is None  # no stage waits for another


@pytest.mark.parametrize("g", G)
@pytest.mark.parametrize("decode", ["tanh", "relu"])
def test_a_digital_stage_learns_at_what_enters_its_activation(learn, draw, eB, g, decode):
    kernel, bias, x = draw(1, N_IN, WIDTH), draw(2, WIDTH), draw(4, 1, BATCH, N_IN)
    params = {"device": {}, "digital": {"kernel": kernel, "bias": bias}}
    trace = Trace(x, x, np.zeros((1, BATCH, WIDTH), np.float32))
    gradient, _ = learn(AugmentedDFA(g=g), Digital(N_IN, WIDTH, decode_as=decode), params, trace, eB[0], KEY)
    delta = (eB[1] * G[g](x.astype(np.float64) @ kernel + bias))[0]
    np.testing.assert_allclose(gradient["digital"]["kernel"], x[0].T @ delta, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gradient["digital"]["bias"], delta.sum(0), rtol=1e-4, atol=1e-4)


def test_without_an_activation_one_in_place_of_the_derivative_is_dfa(learn, draw, ideal, close, eB, any_stage):
    model, params = any_stage
    bare = type(model)(**{**model.__dict__, "decode_as": "none"})
    trace = ideal(bare, params, np.clip(draw(4, 1, BATCH, N_IN), -1, 1))
    one, plain = (learn(method, bare, params, trace, eB[0], KEY)[0] for method in (AugmentedDFA(g="one"), DFA()))
    close(one, plain)


def test_the_last_stage_learns_from_the_error_itself_and_its_own_derivative(learn, draw, ideal, close, any_stage):
    model, params = any_stage
    trace, e = ideal(model, params, np.clip(draw(4, 1, BATCH, N_IN), -1, 1)), draw(5, 1, BATCH, 3)
    close(learn(AugmentedDFA(), model, params, trace, e, KEY, 2)[0], learn(DFA(), model, params, trace, e, KEY, 2)[0])


@pytest.mark.parametrize("g", G)
def test_it_learns_with_any_of_its_functions(descent, g):
    losses, cosines = descent(AugmentedDFA(g=g))
    assert losses[-1] < 0.25 * losses[0]
    assert np.mean(cosines[-20:]) > 0.1


def test_a_digital_stage_needs_no_twin_and_a_physical_one_any():
    assert AugmentedDFA().needs(False) == frozenset() and AugmentedDFA().needs(True) == {"twin"}
    assert AugmentedDFA().g == "cosine" and len(AugmentedDFA().passes()) == 1

"""Feedback alignment: what goes down is (e f') B with a fixed B, what is learnt is local; weights turn towards B."""

import jax
import numpy as np
import pytest

from algorithms.contracts import Bare, Trace, View
from algorithms.methods.backprop import PhysicsAware
from algorithms.methods.feedback_alignment import FeedbackAlignment
from physics import twin
from physics.substrates.crossbar import Crossbar
from physics.substrates.digital import Digital

KEY, FA = jax.random.key(23), FeedbackAlignment()
SLOPES = {
    "none": lambda a: np.ones_like(a),
    "tanh": lambda a: 1 - np.tanh(a) ** 2,
    "relu": lambda a: (a > 0).astype(float),
    "softsign": lambda a: (1 + np.abs(a)) ** -2,
    "sin": np.cos,
}


def matrix(learn, n_in, n_out, stage=0):
    """B of a stage: what a unit error at each output sends down where f' = 1."""
    params = {"device": {}, "digital": {"kernel": np.zeros((n_in, n_out), np.float32)}}
    x, e = np.zeros((1, n_out, n_in), np.float32), np.eye(n_out, dtype=np.float32)[None]
    return np.asarray(learn(FA, Digital(n_in, n_out, bias=False), params, Trace(x, x, e), e, KEY, stage)[1][0])


@pytest.mark.parametrize("decode", SLOPES)
@pytest.mark.parametrize("bias", [True, False])
def test_a_digital_stage_sends_its_delta_through_the_matrix(learn, draw, decode, bias):
    kernel, b, x, e = draw(1, 4, 3), draw(2, 3) * bias, draw(3, 2, 5, 4), draw(4, 2, 5, 3)
    params = {"device": {}, "digital": {"kernel": kernel, **({"bias": b} if bias else {})}}
    model = Digital(4, 3, decode_as=decode, bias=bias)
    gradient, cot_x = learn(FA, model, params, Trace(x, x, e), e, KEY)
    delta = e * SLOPES[decode](x.astype(np.float64) @ kernel + b)
    np.testing.assert_allclose(cot_x, delta @ matrix(learn, 4, 3), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient["digital"]["kernel"], np.einsum("rbi,rbj->ij", x, delta), rtol=1e-4, atol=1e-5)


def test_a_crossbar_sends_its_delta_at_what_was_measured(learn, draw):
    params = {"device": {"w": 0.3 * draw(1, 5, 3)}, "digital": {}}
    x, v, e = np.clip(draw(2, 1, 6, 4), -1, 1), draw(3, 1, 6, 3), draw(4, 1, 6, 3)
    trace = Trace(x, v, np.tanh(2 * v))
    _, cot_x = learn(FA, Crossbar(4, 3, decode_as="tanh", gain=2.0), params, trace, e, KEY)
    delta = e * SLOPES["tanh"](2 * v.astype(np.float64))
    np.testing.assert_allclose(cot_x, delta @ matrix(learn, 4, 3), rtol=1e-4, atol=1e-5)


def test_what_a_stage_learns_is_the_local_gradient_of_its_twin(learn, draw, ideal, close, any_stage):
    model, params = any_stage
    trace, e = ideal(model, params, np.clip(draw(1, 2, 5, 4), -1, 1)), draw(2, 2, 5, 3)
    close(learn(FA, model, params, trace, e, KEY)[0], learn(PhysicsAware(), model, params, trace, e)[0])


def test_the_matrix_is_fixed_and_each_stage_has_its_own(learn):
    B = matrix(learn, 40, 30)
    np.testing.assert_allclose(np.abs(B), 1 / np.sqrt(40), rtol=1e-5)
    assert np.abs(B.mean()) < 5 / np.sqrt(40 * 40 * 30)
    assert np.array_equal(B, matrix(learn, 40, 30)) and not np.array_equal(B, matrix(learn, 40, 30, stage=1))


def test_the_weights_have_no_part_in_what_goes_down(learn, draw):
    x, v, e = np.clip(draw(2, 1, 6, 4), -1, 1), draw(3, 1, 6, 3), draw(4, 1, 6, 3)
    several = [{"device": {"w": 0.3 * draw(seed, 5, 3)}, "digital": {}} for seed in (8, 9)]
    one, other = (learn(FA, Crossbar(4, 3, decode_as="tanh"), p, Trace(x, v, v), e, KEY)[1] for p in several)
    assert np.array_equal(one, other)


def test_tiles_of_outputs_hand_down_together_what_the_whole_stage_would(draw):
    whole, params = Crossbar(4, 5, decode_as="tanh"), {"device": {"w": 0.3 * draw(1, 5, 5)}, "digital": {}}
    x, v, e = np.clip(draw(2, 1, 6, 4), -1, 1), draw(3, 1, 6, 5), draw(4, 1, 6, 5)

    def part(lo, hi):
        model = Crossbar(4, hi - lo, decode_as="tanh")
        mine = {"device": {"w": params["device"]["w"][:, lo:hi]}, "digital": {}}

        def decode_vjp(v, cot_h):
            digital, cot_v = twin.decode_vjp(whole, params, v, cot_h)
            return digital, cot_v[..., lo:hi]

        def device_vjp(x, cot_v):
            return twin.device_vjp(model, mine, x, cot_v)

        view = View(mine, KEY, 0, 2, decode_vjp, device_vjp, lambda v: Bare(*twin.bare(whole, params, v)), 2)
        return jax.jit(lambda: FA.learn(view, Trace(x, v, np.tanh(v)), e))()

    (whole_gradient, together), (first, a), (second, b) = part(0, 5), part(0, 2), part(2, 5)
    np.testing.assert_allclose(a + b, together, rtol=1e-5, atol=1e-6)
    beside = np.concatenate([first["device"]["w"], second["device"]["w"]], axis=1)
    np.testing.assert_allclose(beside, whole_gradient["device"]["w"], rtol=1e-5, atol=1e-6)


def test_learning_turns_the_weights_towards_the_matrix(descent):
    losses, cosines = descent(FA)
    assert losses[-1] < 0.25 * losses[0]
    assert abs(cosines[0]) < 0.35 and np.mean(cosines[-20:]) > 0.1


def test_errors_go_down_a_chain_whose_way_back_is_random_and_one_pass_is_enough():
    assert (FA.route, FA.signal, FA.evidence, FA.pull) == ("chain", "error", "gradients", ("random",))
    assert len(FA.passes()) == 1 and FA.needs(True) == {"twin"} and FA.needs(False) == frozenset()

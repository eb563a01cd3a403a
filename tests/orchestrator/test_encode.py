"""How what comes into a stage is brought to its range or to one length, and the way back through that."""

import jax
import numpy as np
import pytest

from orchestrator import Run
from orchestrator.core import kernels
from orchestrator.core.plan import build
from orchestrator.problems import RunFileError

H = np.random.default_rng(1).normal(size=(2, 5, 6)).astype(np.float32)


def plan(encode):
    network = [{"substrate": "digital", "size": 6}, {"substrate": "digital", "size": 10, "encode": encode}]
    return build(Run.build({"network": network}), 64, 10)


def test_rms_gives_every_sample_one_length():
    found = np.asarray(kernels.encode("rms", H))
    np.testing.assert_allclose(np.mean(found**2, axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(found * np.linalg.norm(H, axis=-1, keepdims=True) / 6**0.5, H, rtol=1e-5)
    np.testing.assert_allclose(kernels.encode("rms", 50 * H), found, rtol=1e-5)


def test_a_silent_sample_stays_silent_and_has_a_finite_way_back():
    zero = np.zeros_like(H)
    assert not np.any(kernels.encode("rms", zero))
    assert np.all(np.isfinite(kernels.hand_down(plan("rms").stages[1], 0, zero, H)))


@pytest.mark.parametrize("how", ["clip", "peak", "rms"])
def test_what_is_handed_down_is_the_slope_of_what_was_encoded(how):
    cot = np.random.default_rng(2).normal(size=H.shape).astype(np.float32)
    found = np.asarray(kernels.hand_down(plan(how).stages[1], 0, H, cot), np.float64)
    encode = jax.jit(lambda h: kernels.encoded(how, h))
    for at in [(0, 0, 0), (0, 3, 2), (1, 4, 5)]:
        step = np.zeros(H.shape, np.float32)
        step[at] = 1e-2
        up, down = (np.asarray(encode(H + s), np.float64) for s in (step, -step))
        assert np.sum(cot * (up - down)) / 2e-2 == pytest.approx(found[at], rel=2e-2, abs=2e-3)


def test_another_word_is_refused():
    with pytest.raises(RunFileError, match="encode"):
        Run.build({"network": [{"substrate": "digital", "size": 10, "encode": "rmss"}]})

"""SPSA against its own theory: unbiased, of known variance, blind to a constant in the loss.

Many estimates at once: one compiled function for each loss, keys along the batch. Tolerances are five standard errors.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.contracts import Perturbation
from algorithms.directions import dense
from algorithms.methods.spsa import SPSA

PARAMS = {
    "device": {"w": np.float32([[0.3, -0.5], [0.8, 0.1]])},
    "digital": {"b": np.float32([-0.2, 0.6])},
}
X = np.float32([[1.0, -0.5], [0.2, 0.9], [-0.7, 0.4]])


def quadratic(params):
    """p.A.p / 2 + 1.(p), with a correlated A."""
    p = jnp.concatenate([params["device"]["w"].ravel(), params["digital"]["b"]])
    A = np.diag(np.arange(1.0, 7.0)) + 0.5
    return p @ A @ p / 2 + p.sum()


def network(params):
    """A small nonlinear function: two tanh units with a bias each, squared error."""
    h = jnp.tanh(X @ params["device"]["w"] + params["digital"]["b"])
    return jnp.mean((h.sum(axis=1) - 0.5) ** 2)


def linear(params):
    """Unit gradient along no axis."""
    p = params["device"]["w"]
    slope = np.cos(np.arange(p.size))
    return p @ (slope / np.linalg.norm(slope)).astype(np.float32)


@partial(jax.jit, static_argnums=(0, 1))
def estimate(method, loss, params, keys, sign, noise):
    """One gradient for each key; `sign` = -1 takes every + for a -, `noise` [keys, passes] is added to the losses."""
    passes = method.passes()

    def one(key, noise):
        def measure(probe, scale):
            d = dense(Perturbation(method)((key, (), params), probe))
            return loss(jax.tree.map(lambda p, d: p + scale * d, params, d))

        losses = jax.vmap(measure)(np.array(passes.probe), sign * np.array(passes.scale, np.float32))
        return dense(method.update(key, jnp.int32(0), (), params, losses + noise).gradient)

    return jax.vmap(one)(keys, noise)


def flat(tree, n):
    """Leaves side by side in float64, [n, d]."""
    return np.concatenate([np.asarray(leaf, np.float64).reshape(n, -1) for leaf in jax.tree.leaves(tree)], axis=1)


def unbiased(estimates, gradient):
    """Whether the mean of the estimates is the gradient within its standard error, which must be small."""
    error = estimates.std(axis=0) / np.sqrt(len(estimates))
    assert np.all(error < 0.05 * np.linalg.norm(gradient))
    return bool(np.all(np.abs(estimates.mean(axis=0) - gradient) < 5 * error))


@pytest.mark.parametrize("loss", [quadratic, network])
def test_the_mean_of_many_estimates_is_the_gradient_and_a_wrong_sign_would_show(loss):
    n, method = 4000, SPSA(probes=4, scale=0.05)
    keys, quiet = jax.random.split(jax.random.key(0), n), np.zeros((n, 8), np.float32)
    gradient = flat(jax.jit(jax.grad(loss))(PARAMS), 1)[0]
    assert unbiased(flat(estimate(method, loss, PARAMS, keys, 1.0, quiet), n), gradient)
    assert not unbiased(flat(estimate(method, loss, PARAMS, keys, -1.0, quiet), n), gradient)


@pytest.mark.parametrize(("d", "K"), [(40, 20), (160, 10)])
def test_variance_and_cosine_follow_the_law(draw, d, K):
    """E|g' - g|^2 = [(d - 1) + d sigma^2 / (2 c^2)] / K at unit gradient; cos = 1 / sqrt(1 + (d + ...) / K)."""
    n, c = 600, 0.1
    params = {"device": {"w": np.zeros(d, np.float32)}, "digital": {}}
    gradient = flat(jax.jit(jax.grad(linear))(params), 1)[0]
    keys = jax.random.split(jax.random.key(1), n)
    for sigma in (0.0, 0.1):
        noise = sigma * draw(2, n, 2 * K)
        made = flat(estimate(SPSA(probes=K, scale=c), linear, params, keys, 1.0, noise), n)
        extra = d * sigma**2 / (2 * c**2)
        squared = np.sum((made - gradient) ** 2, axis=1)
        assert squared.mean() == pytest.approx((d - 1 + extra) / K, abs=5 * squared.std() / np.sqrt(n))
        cos = made @ gradient / np.linalg.norm(made, axis=1)
        law = 1 / np.sqrt(1 + (d + extra) / K)  # a ratio of means, not the mean of a ratio: it holds to a few per cent
        assert cos.mean() == pytest.approx(law, abs=0.03 * law + 5 * cos.std() / np.sqrt(n))


METHOD = SPSA(probes=4, scale=0.05)
direction = jax.jit(lambda probe: dense(METHOD.perturb((jax.random.key(3), (), PARAMS), probe)))


@jax.jit
def update(losses):
    made = METHOD.update(jax.random.key(3), jnp.int32(0), (), PARAMS, losses)
    return made._replace(gradient=dense(made.gradient))


LOSSES = np.float32([2.3, 2.1, 1.7, 2.0, 2.4, 2.35, 1.9, 2.2])


def test_the_gradient_is_that_of_the_formula():
    expected = 0.0
    for k in range(4):
        d = direction(k)
        expected += (float(LOSSES[2 * k]) - float(LOSSES[2 * k + 1])) / 0.1 * flat(d, 1)[0] / 4
    made = update(LOSSES)
    np.testing.assert_allclose(flat(made.gradient, 1)[0], expected, rtol=1e-5, atol=1e-6)
    slopes = (LOSSES[0::2] - LOSSES[1::2]) / 0.1
    assert float(made.info["slope_rms"]) == pytest.approx(np.sqrt(np.mean(slopes**2)), rel=1e-5)
    assert made.state == () and made.move


@settings(max_examples=60, deadline=None)
@given(st.floats(-100, 100, width=32))
def test_a_constant_in_all_losses_changes_nothing(constant):
    # float32 rounds each loss by up to half of its last bit
    rounding = np.spacing(np.float32(abs(constant) + 3)) / (2 * METHOD.scale)
    np.testing.assert_allclose(
        flat(update(LOSSES + np.float32(constant)).gradient, 1),
        flat(update(LOSSES).gradient, 1),
        atol=float(rounding) * 1.01 + 1e-6,
    )


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e6, 1e6, width=32))
def test_the_gradient_scales_with_the_losses(factor):
    scaled = flat(update(LOSSES * np.float32(factor)).gradient, 1)
    expected = factor * flat(update(LOSSES).gradient, 1)
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-5 * abs(factor) + 1e-30)


def test_every_probe_of_every_step_has_a_direction_of_its_own():
    params = {"device": {"w": np.zeros((8, 8))}, "digital": {}}
    perturb = jax.jit(lambda key, probe: dense(METHOD.perturb((key, (), params), probe))["device"]["w"])
    directions = np.array([perturb(jax.random.key(step), k).ravel() for step in range(5) for k in range(4)])
    assert np.abs(directions @ directions.T / 64 - np.eye(20)).max() < 5 / np.sqrt(64)


def test_a_probe_that_lost_a_loss_drops_out_and_without_any_nothing_moves():
    """Late is NaN: the mean is that of the others; of none it is NaN, and reaches the commit, which moves nothing."""
    losses = LOSSES.copy()
    losses[3] = np.nan
    of = {k: flat(update(np.where(np.arange(8) // 2 == k, LOSSES, np.nan)).gradient, 1) for k in (0, 2, 3)}
    np.testing.assert_allclose(flat(update(losses).gradient, 1), sum(of.values()) / 3, rtol=1e-5, atol=1e-6)
    assert not np.any(np.isfinite(flat(update(np.full_like(LOSSES, np.nan)).gradient, 1)))

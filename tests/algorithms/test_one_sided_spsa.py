"""One-sided SPSA: unbiased, of known variance, blind to a constant; a loss that is missing drops out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.contracts import Place
from algorithms.directions import dense
from algorithms.methods.one_sided_spsa import OneSidedSPSA

PARAMS = {
    "device": {"w": np.float32([[0.3, -0.5], [0.8, 0.1]])},
    "digital": {"b": np.float32([-0.2, 0.6])},
}
HESSIAN = np.float32(np.diag(np.arange(1.0, 7.0)) + 0.5)


def flat(tree, n):
    return np.concatenate([np.asarray(leaf, np.float64).reshape(n, -1) for leaf in jax.tree.leaves(tree)], axis=1)


def quadratic(params):
    """p.H.p / 2 + 1.p"""
    p = jnp.concatenate([params["device"]["w"].ravel(), params["digital"]["b"]])
    return p @ HESSIAN @ p / 2 + p.sum()


def bent(params):
    """Unit gradient at 0, correlated curvature."""
    p = params["device"]["w"]
    slope = np.cos(np.arange(p.size))
    return p @ (slope / np.linalg.norm(slope)).astype(np.float32) + p @ curvature(p.size) @ p / 2


def curvature(d):
    return np.float32(0.3 * np.cos(np.add.outer(np.arange(d), np.arange(d))))


@partial(jax.jit, static_argnums=(0, 1))
def estimates(method, loss, params, keys, sign, noise):
    passes = method.passes()

    def one(key, noise):
        def measure(probe, scale):
            d = dense(method.perturb((key, (), params), probe))
            return loss(jax.tree.map(lambda p, d: p + scale * d, params, d))

        losses = jax.vmap(measure)(np.array(passes.probe), sign * np.array(passes.scale, np.float32))
        return dense(method.update(key, jnp.int32(0), (), params, losses + noise).gradient)

    return jax.vmap(one)(keys, noise)


def test_the_mean_of_many_estimates_is_the_gradient_and_a_wrong_sign_would_show():
    n, method = 4000, OneSidedSPSA(probes=4)
    keys, quiet = jax.random.split(jax.random.key(0), n), np.zeros((n, 5), np.float32)
    gradient = flat(jax.jit(jax.grad(quadratic))(PARAMS), 1)[0]
    for sign in (1.0, -1.0):
        made = flat(estimates(method, quadratic, PARAMS, keys, sign, quiet), n)
        error = made.std(axis=0) / np.sqrt(n)
        assert np.all(error < 0.05 * np.linalg.norm(gradient))
        assert np.all(np.abs(made.mean(axis=0) - sign * gradient) < 5 * error)


@pytest.mark.parametrize(("sigma", "c"), [(0.0, 0.1), (0.1, 0.1), (0.0, 1.0)])
def test_variance_follows_the_law(draw, sigma, c):
    """[(d - 1) + 2 d sigma^2 / c^2 + d c^2/4 E(d.H.d)^2] / K at unit gradient."""
    d, K, n = 20, 10, 2000
    params = {"device": {"w": np.zeros(d, np.float32)}, "digital": {}}
    gradient = flat(jax.jit(jax.grad(bent))(params), 1)[0]
    keys, noise = jax.random.split(jax.random.key(1), n), sigma * draw(2, n, K + 1)
    made = flat(estimates(OneSidedSPSA(probes=K, scale=c), bent, params, keys, 1.0, noise), n)
    squared = np.sum((made - gradient) ** 2, axis=1)
    H = np.float64(curvature(d))
    bends = np.trace(H) ** 2 + 2 * np.sum((H - np.diag(np.diag(H))) ** 2)
    law = (d - 1 + 2 * d * sigma**2 / c**2 + d * c**2 / 4 * bends) / K
    assert squared.mean() == pytest.approx(law, abs=5 * squared.std() / np.sqrt(n))


METHOD = OneSidedSPSA(probes=4)
KEY = jax.random.key(3)
LOSSES = np.float32([2.0, 2.3, 2.1, 1.7, 2.4])


@jax.jit
def gradient_of(losses):
    return dense(METHOD.update(KEY, jnp.int32(0), METHOD.init(KEY, PARAMS, Place(0, 6)), PARAMS, losses).gradient)


def test_the_gradient_is_that_of_the_formula():
    directions = np.stack([flat(dense(METHOD.perturb((KEY, (), PARAMS), k)), 1)[0] for k in range(4)])
    expected = (np.float64(LOSSES[1:]) - LOSSES[0]) / 0.05 @ directions / 4
    np.testing.assert_allclose(flat(gradient_of(LOSSES), 1)[0], expected, rtol=1e-5, atol=1e-5)


@given(st.floats(-100, 100, width=32), st.floats(-1e3, 1e3, width=32))
def test_a_constant_changes_nothing_and_a_factor_scales(constant, factor):
    rounding = 2 * np.spacing(np.float32(abs(constant) + 3)) / METHOD.scale
    plain = flat(gradient_of(LOSSES), 1)
    np.testing.assert_allclose(flat(gradient_of(LOSSES + np.float32(constant)), 1), plain, atol=float(rounding))
    scaled = flat(gradient_of(LOSSES * np.float32(factor)), 1)
    np.testing.assert_allclose(scaled, factor * plain, rtol=1e-4, atol=1e-4 * abs(factor) + 1e-30)


def test_a_lost_probe_drops_out_and_a_lost_baseline_moves_nothing():
    directions = np.stack([flat(dense(METHOD.perturb((KEY, (), PARAMS), k)), 1)[0] for k in range(4)])
    losses = LOSSES.copy()
    losses[2] = np.nan
    expected = (np.float64(LOSSES[[1, 3, 4]]) - LOSSES[0]) / 0.05 @ directions[[0, 2, 3]] / 3
    np.testing.assert_allclose(flat(gradient_of(losses), 1)[0], expected, rtol=1e-5, atol=1e-5)
    losses[0] = np.nan
    assert not np.any(np.isfinite(flat(gradient_of(losses), 1)))

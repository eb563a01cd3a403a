"""PGPE: both of its gradients against their integrals, the bounds of sigma, and what ranks change."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms.contracts import Place
from algorithms.directions import dense
from algorithms.methods.pgpe import PGPE

PARAMS = {
    "device": {"w": np.float32([[0.3, -0.5], [0.8, 0.1]])},
    "digital": {"b": np.float32([-0.2, 0.6])},
}
SIGMA = {
    "device": {"w": np.float32([[0.02, 0.1], [0.05, 0.2]])},
    "digital": {"b": np.float32([0.05, 0.1])},
}
HESSIAN = np.float32(np.diag(np.arange(1.0, 7.0)) + 0.5)
KURTOSIS = 2.93
PLAIN = PGPE(probes=8, shaping="none", sigma_rate=1e-2, least=1e-3, most=1.0)


def flat(tree, n):
    return np.concatenate([np.asarray(leaf, np.float64).reshape(n, -1) for leaf in jax.tree.leaves(tree)], axis=1)


def quadratic(params):
    p = jnp.concatenate([params["device"]["w"].ravel(), params["digital"]["b"]])
    return p @ HESSIAN @ p / 2 + p.sum()


def step(method, loss, params, sigma, key, sign=1.0):
    passes = method.passes()

    def measure(probe, scale):
        d = dense(method.perturb((key, sigma, params), probe))
        return loss(jax.tree.map(lambda p, d: p + scale * d, params, d))

    losses = jax.vmap(measure)(np.array(passes.probe), sign * np.array(passes.scale, np.float32))
    made = method.update(key, jnp.int32(0), sigma, params, losses)
    return dense(made.gradient), made.state


@partial(jax.jit, static_argnums=0)
def many(method, keys, sign):
    return jax.vmap(lambda key: step(method, quadratic, PARAMS, SIGMA, key, sign))(keys)


def test_the_mean_of_many_estimates_is_the_gradient_and_a_wrong_sign_would_show():
    n = 8000
    gradient = flat(jax.jit(jax.grad(quadratic))(PARAMS), 1)[0]
    for sign in (1.0, -1.0):
        made = flat(many(PLAIN, jax.random.split(jax.random.key(0), n), sign)[0], n)
        error = made.std(axis=0) / np.sqrt(n)
        assert np.all(error < 0.1 * np.linalg.norm(gradient))
        assert np.all(np.abs(made.mean(axis=0) - sign * gradient) < 5 * error)


def test_sigma_falls_as_the_loss_bends_up():
    """E s_i = (K - 1)/K sigma_i^2 H_ii / 2 (kurtosis - 1): the mean as baseline costs one pair of K."""
    n = 8000
    after = flat(many(PLAIN, jax.random.split(jax.random.key(1), n), 1.0)[1], n)
    s = (1 - after / flat(SIGMA, 1)) / 1e-2
    expected = 7 / 8 * flat(SIGMA, 1)[0] ** 2 * np.diag(HESSIAN) / 2 * (KURTOSIS - 1)
    error = s.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(s.mean(axis=0) - expected) < 5 * error + 0.01 * expected)
    assert np.sum(s.mean(axis=0) > 5 * error) >= 3, "the test would not notice a wrong sign"


@partial(jax.jit, static_argnums=0)
def update(method, sigma, losses):
    made = method.update(jax.random.key(3), jnp.int32(0), sigma, PARAMS, losses)
    return dense(made.gradient), made.state


LOSSES = np.float32([2.3, 2.1, 1.7, 2.0, 2.4, 2.35, 1.9, 2.2])
FOUR = PGPE(probes=4, shaping="none", sigma_rate=0.3, least=1e-3, most=1.0)


def test_both_gradients_are_those_of_the_formula():
    draw = jax.jit(lambda k: dense(FOUR.perturb((jax.random.key(3), SIGMA, PARAMS), k)))
    z = np.stack([flat(draw(k), 1)[0] / flat(SIGMA, 1)[0] for k in range(4)])
    plus, minus = np.float64(LOSSES[0::2]), np.float64(LOSSES[1::2])
    gradient, sigma = update(FOUR, SIGMA, LOSSES)
    np.testing.assert_allclose(flat(gradient, 1)[0], (plus - minus) / 2 @ z / 4 / flat(SIGMA, 1)[0], rtol=1e-4)
    mean = (plus + minus) / 2
    s = (mean - mean.mean()) @ (z**2 - 1) / 4
    np.testing.assert_allclose(flat(sigma, 1)[0], flat(SIGMA, 1)[0] * (1 - 0.3 * s), rtol=1e-4)


def test_a_constant_changes_nothing_and_a_factor_scales():
    (plain, sigma), (moved, same) = update(FOUR, SIGMA, LOSSES), update(FOUR, SIGMA, LOSSES + np.float32(8))
    np.testing.assert_allclose(flat(moved, 1), flat(plain, 1), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(flat(same, 1), flat(sigma, 1), rtol=1e-4)
    np.testing.assert_allclose(flat(update(FOUR, SIGMA, 3 * LOSSES)[0], 1), 3 * flat(plain, 1), rtol=1e-4, atol=1e-4)


def test_with_ranks_only_the_order_counts():
    ranked = PGPE(probes=4)
    sigma = ranked.init(jax.random.key(0), PARAMS, Place(0, 6))
    plain, other = update(ranked, sigma, LOSSES), update(ranked, sigma, np.exp(LOSSES) * 7)
    assert jax.tree.all(jax.tree.map(np.array_equal, plain, other))
    assert not jax.tree.all(jax.tree.map(np.array_equal, plain, update(ranked, sigma, -LOSSES)))


def test_a_lost_pair_drops_out():
    losses = LOSSES.copy()
    losses[3] = np.nan
    draw = jax.jit(lambda k: dense(FOUR.perturb((jax.random.key(3), SIGMA, PARAMS), k)))
    z = np.stack([flat(draw(k), 1)[0] / flat(SIGMA, 1)[0] for k in (0, 2, 3)])
    plus, minus = np.float64(LOSSES[[0, 4, 6]]), np.float64(LOSSES[[1, 5, 7]])
    gradient, sigma = update(FOUR, SIGMA, losses)
    np.testing.assert_allclose(flat(gradient, 1)[0], (plus - minus) / 2 @ z / 3 / flat(SIGMA, 1)[0], rtol=1e-4)
    mean = (plus + minus) / 2
    s = (mean - mean.mean()) @ (z**2 - 1) / 3
    np.testing.assert_allclose(flat(sigma, 1)[0], flat(SIGMA, 1)[0] * (1 - 0.3 * s), rtol=1e-4)
    nothing = update(FOUR, SIGMA, np.full(8, np.nan, np.float32))[0]
    assert not np.any(np.isfinite(flat(nothing, 1)))


def test_sigma_stays_in_its_bounds_and_changes_by_a_fifth_at_most():
    method = PGPE(probes=4, shaping="none", sigma_rate=1e3, least=0.04, most=0.15)
    after, before = flat(update(method, SIGMA, LOSSES)[1], 1)[0], flat(SIGMA, 1)[0]
    expected = [np.clip(before * (1 - c), 0.04, 0.15) for c in (0.2, -0.2)]
    assert np.all(np.isclose(after, expected[0]) | np.isclose(after, expected[1]))
    assert method.reach() == pytest.approx(0.15 * 10 / np.sqrt(8))


def test_a_first_sigma_out_of_bounds_is_refused():
    with pytest.raises(ValueError, match=r"scale is 0\.2, which is not from least \(0\.005\) to most \(0\.1\)"):
        PGPE(scale=0.2)


def test_it_solves_a_quadratic_and_looks_less_far_where_it_is_steep():
    method = PGPE(probes=16, scale=0.1, least=1e-3, most=0.3)
    steep = np.float32([100, 100, 100, 1, 1, 1])

    def loss(params):
        p = jnp.concatenate([params["device"]["w"].ravel(), params["digital"]["b"]])
        return steep @ p**2 / 2

    @jax.jit
    def run(key):
        def one(carry, key):
            params, sigma = carry
            g, sigma = step(method, loss, params, sigma, key)
            # the natural step of the source
            return (jax.tree.map(lambda p, g, s: p - 4 * s**2 * g, params, g, sigma), sigma), None

        start = PARAMS, method.init(key, PARAMS, Place(0, 6))
        (params, sigma), _ = jax.lax.scan(one, start, jax.random.split(key, 300))
        return loss(PARAMS), loss(params), sigma

    first, last, sigma = run(jax.random.key(0))
    assert last < 0.01 * first
    s = flat(sigma, 1)[0]
    order = flat({"device": {"w": steep[:4].reshape(2, 2)}, "digital": {"b": steep[4:]}}, 1)[0]
    assert s[order == 100].max() < s[order == 1].min()

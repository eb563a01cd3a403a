"""1.5-SPSA: the weights of its formula, from a table; SPSA where the loss does not bend."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.directions import dense
from algorithms.methods.one_point_five_spsa import OnePointFiveSPSA, weight
from algorithms.methods.spsa import SPSA

PARAMS = {
    "device": {"w": np.float32([[0.3, -0.5], [0.8, 0.1]])},
    "digital": {"b": np.float32([-0.2, 0.6])},
}
METHOD, KEY = OnePointFiveSPSA(probes=4, scale=0.1), jax.random.key(3)


def flat(tree, n):
    return np.concatenate([np.asarray(leaf, np.float64).reshape(n, -1) for leaf in jax.tree.leaves(tree)], axis=1)


def bowl(params, bend):
    """Curved alike along all directions of +-1: bend |p|^2 / 2 + 1.p"""
    p = jnp.concatenate([params["device"]["w"].ravel(), params["digital"]["b"]])
    return bend * p @ p / 2 + p.sum()


@partial(jax.jit, static_argnums=0)
def update(method, losses):
    made = method.update(KEY, jnp.int32(0), (), PARAMS, losses)
    return dense(made.gradient), made.info


@jax.jit
def estimates(keys, bend, sign):
    passes = METHOD.passes()

    def one(key):
        def measure(probe, scale):
            d = dense(METHOD.perturb((key, (), PARAMS), probe))
            return bowl(jax.tree.map(lambda p, d: p + scale * d, PARAMS, d), bend)

        losses = jax.vmap(measure)(np.array(passes.probe), sign * np.array(passes.scale, np.float32))
        return dense(METHOD.update(key, jnp.int32(0), (), PARAMS, losses).gradient)

    return jax.vmap(one)(keys)


@pytest.mark.parametrize("bend", [0.0, 20.0])
def test_the_mean_is_the_gradient_times_the_weight_of_the_curvature(bend):
    """d.H.d = 6 bend for every direction of +-1 in six entries."""
    n = 4000
    gradient = flat(jax.jit(jax.grad(bowl))(PARAMS, bend), 1)[0] / max(1, (6 * bend) ** 0.1)
    for sign in (1.0, -1.0):
        made = flat(estimates(jax.random.split(jax.random.key(0), n), bend, sign), n)
        error = made.std(axis=0) / np.sqrt(n) + 0.004 * np.abs(gradient)  # the table is exact to 0.3 %
        assert np.all(error < 0.05 * np.linalg.norm(gradient))
        assert np.all(np.abs(made.mean(axis=0) - sign * gradient) < 5 * error)


weights = jax.jit(weight)


@given(st.floats(0, 2.0**127, width=32, allow_subnormal=False), st.sampled_from([1, -1]))
def test_the_table_is_the_tenth_root_to_a_third_of_a_per_cent(h, sign):
    assert float(weights(np.float32(sign * h))) == pytest.approx(1 / max(1.0, h**0.1), rel=3.2e-3)


def test_the_table_falls_and_ends_at_infinity():
    h = np.float32(np.logspace(-3, 38, 2000))
    w = np.asarray(weights(h))
    assert np.all(np.diff(w) <= 0) and np.all(w[h < 1] == 1) and w[-1] < 2e-4
    assert 0 < float(weights(np.float32(np.inf))) <= w[-1]


LOSSES = np.float32([2.0, 2.3, 2.1, 1.7, 2.0, 2.4, 2.35, 1.9, 2.2])


def expected(rows):
    """The mean over the probes in `rows`, in float64."""
    L0, plus, minus = np.float64(LOSSES[0]), np.float64(LOSSES[1::2]), np.float64(LOSSES[2::2])
    h = (plus - 2 * L0 + minus) / 0.01
    slopes = (plus - minus) / 0.2 / np.maximum(1, np.abs(h) ** 0.1)
    directions = [flat(dense(METHOD.perturb((KEY, (), PARAMS), k)), 1)[0] for k in rows]
    return slopes[rows] @ np.stack(directions) / len(rows)


def test_the_gradient_is_that_of_the_formula():
    gradient, info = update(METHOD, LOSSES)
    np.testing.assert_allclose(flat(gradient, 1)[0], expected([0, 1, 2, 3]), rtol=0.01, atol=0.01)
    assert 0.5 < float(info["weight"]) < 1


def test_a_constant_changes_nothing():
    """But what it rounds away of a curvature, which may then fall to the next entry of the table."""
    np.testing.assert_allclose(
        flat(update(METHOD, LOSSES + np.float32(8))[0], 1), flat(update(METHOD, LOSSES)[0], 1), atol=0.02
    )


def test_a_lost_probe_drops_out_and_a_lost_middle_leaves_spsa():
    losses = LOSSES.copy()
    losses[3] = np.nan
    np.testing.assert_allclose(flat(update(METHOD, losses)[0], 1)[0], expected([0, 2, 3]), rtol=0.01, atol=0.01)
    losses = LOSSES.copy()
    losses[0] = np.nan
    plain = update(SPSA(probes=4, scale=0.1), LOSSES[1:])[0]
    np.testing.assert_array_equal(flat(update(METHOD, losses)[0], 1), flat(plain, 1))
    assert not np.any(np.isfinite(flat(update(METHOD, np.full(9, np.nan, np.float32))[0], 1)))

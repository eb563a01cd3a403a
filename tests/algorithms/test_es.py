"""Evolution strategies: unbiased without shaping; with ranks only the order of the losses counts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.directions import dense
from algorithms.methods.es import ES, centred_ranks
from algorithms.methods.low_rank_es import LowRankES

PARAMS = {
    "device": {"w": np.float32([[0.3, -0.5], [0.8, 0.1], [-0.4, 0.9]])},
    "digital": {"b": np.float32([-0.2, 0.6])},
}
METHODS = [ES(probes=4, shaping="none"), *(LowRankES(probes=4, shaping="none", rank=r) for r in (1, 2))]


def quadratic(params):
    p = jnp.concatenate([params["device"]["w"].ravel(), params["digital"]["b"]])
    A = np.diag(np.arange(1.0, 9.0)) + 0.5
    return p @ A @ p / 2 + p.sum()


def flat(tree, n):
    return np.concatenate([np.asarray(leaf, np.float64).reshape(n, -1) for leaf in jax.tree.leaves(tree)], axis=1)


@partial(jax.jit, static_argnums=0)
def estimates(method, keys, sign):
    passes = method.passes()

    def one(key):
        def measure(probe, scale):
            d = dense(method.perturb((key, (), PARAMS), probe))
            return quadratic(jax.tree.map(lambda p, d: p + scale * d, PARAMS, d))

        losses = jax.vmap(measure)(np.array(passes.probe), sign * np.array(passes.scale, np.float32))
        return dense(method.update(key, jnp.int32(0), (), PARAMS, losses).gradient)

    return jax.vmap(one)(keys)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_mean_of_many_estimates_is_the_gradient_and_a_wrong_sign_would_show(method):
    n = 4000
    keys = jax.random.split(jax.random.key(0), n)
    gradient = flat(jax.jit(jax.grad(quadratic))(PARAMS), 1)[0]
    for sign in (1.0, -1.0):
        made = flat(estimates(method, keys, sign), n)
        error = made.std(axis=0) / np.sqrt(n)
        assert np.all(error < 0.1 * np.linalg.norm(gradient))
        assert np.all(np.abs(made.mean(axis=0) - sign * gradient) < 5 * error)


ranks = jax.jit(centred_ranks)
# without numbers that XLA takes for 0 on CPUs
LOSSES = st.lists(st.floats(-100, 100, width=32, allow_subnormal=False), min_size=2, max_size=16).map(np.float32)


@given(LOSSES)
def test_ranks_are_centred_and_keep_the_order(losses):
    u = np.asarray(ranks(losses))
    assert sorted(u) == pytest.approx(np.linspace(-0.5, 0.5, len(losses)), abs=1e-6)
    order = np.argsort(losses, kind="stable")
    assert np.all(np.diff(u[order]) > 0)


@given(LOSSES, st.floats(0.125, 8.0, width=32))
def test_only_the_order_of_the_losses_counts(losses, factor):
    """Any increasing function changes nothing, as long as it makes no two equal."""
    scaled = losses.astype(np.float64) * factor + 3
    if len(np.unique(np.float32(scaled))) == len(np.unique(losses)):
        assert np.array_equal(ranks(np.float32(scaled)), ranks(losses))


def test_a_lost_loss_is_no_rank():
    np.testing.assert_array_equal(ranks(np.float32([0.3, np.nan, 0.1])), np.float32([0.5, np.nan, -0.5]))
    assert np.all(np.isnan(ranks(np.float32([np.nan, np.inf]))))

"""MeZO: the mean of its estimates is the gradient; its directions are normal and made again from a key."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms.directions import dense
from algorithms.methods.mezo import MeZO

PARAMS = {
    "device": {"w": np.float32([[0.3, -0.5], [0.8, 0.1]])},
    "digital": {"b": np.float32([-0.2, 0.6])},
}


def flat(tree, n):
    return np.concatenate([np.asarray(leaf, np.float64).reshape(n, -1) for leaf in jax.tree.leaves(tree)], axis=1)


def quadratic(params):
    p = jnp.concatenate([params["device"]["w"].ravel(), params["digital"]["b"]])
    return p @ (np.diag(np.arange(1.0, 7.0)) + 0.5) @ p / 2 + p.sum()


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


@pytest.mark.parametrize("method", [MeZO(scale=0.02), MeZO(probes=4, scale=0.02)], ids=repr)
def test_the_mean_of_many_estimates_is_the_gradient_and_a_wrong_sign_would_show(method):
    n = 8000
    gradient = flat(jax.jit(jax.grad(quadratic))(PARAMS), 1)[0]
    for sign in (1.0, -1.0):
        made = flat(estimates(method, jax.random.split(jax.random.key(0), n), sign), n)
        error = made.std(axis=0) / np.sqrt(n)
        assert np.all(error < 0.05 * np.linalg.norm(gradient))
        assert np.all(np.abs(made.mean(axis=0) - sign * gradient) < 5 * error)


def test_a_record_of_two_losses_is_all_that_a_step_needs():
    """The default is one probe; what replay is given is its two losses, and the update makes z again."""
    method, key = MeZO(), jax.random.key(5)
    assert len(method.passes()) == 2
    z = jax.jit(lambda: dense(method.perturb((key, (), PARAMS), 0)))()
    losses = np.float32([1.5, 1.25])
    made = jax.jit(lambda losses: dense(method.update(key, jnp.int32(0), (), PARAMS, losses).gradient))(losses)
    np.testing.assert_allclose(flat(made, 1), flat(z, 1) * 125, rtol=1e-5)


def test_directions_are_near_to_normal():
    params = {"device": {"w": np.zeros((300, 300), np.float32)}, "digital": {}}
    z = np.asarray(jax.jit(lambda: dense(MeZO().perturb((jax.random.key(1), (), params), 0)))()["device"]["w"])
    assert abs(z.mean()) < 5 / 300 and abs(z.var() - 1) < 5 * np.sqrt(2) / 300
    assert np.mean(z**4) == pytest.approx(2.93, abs=0.1) and np.abs(z).max() <= MeZO().reach() + 1e-6


def test_a_lost_probe_drops_out():
    method, key = MeZO(probes=2), jax.random.key(5)
    update = jax.jit(
        lambda m, losses: dense(m.update(key, jnp.int32(0), (), PARAMS, losses).gradient), static_argnums=0
    )
    both, one = update(method, np.float32([1.5, 1.25, np.nan, 1.0])), update(MeZO(probes=1), np.float32([1.5, 1.25]))
    np.testing.assert_array_equal(flat(both, 1), flat(one, 1))

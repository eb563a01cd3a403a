"""Finite differences: the gradient itself where all are measured, some of it else; tiles count through one group."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms.contracts import Place
from algorithms.methods.finite_differences import FiniteDifferences

D = 11  # two tiles of 6 and 5 parameters
TILES = [
    {"device": {"w": np.float32([[0.3, -0.5], [0.8, 0.1]])}, "digital": {"b": np.float32([-0.2, 0.6])}},
    {"device": {"w": np.float32([0.4, -0.7, 0.2])}, "digital": {"b": np.float32([0.5, -0.1])}},
]
THETA = np.concatenate([np.concatenate([t["device"]["w"].ravel(), t["digital"]["b"]]) for t in TILES])
HESSIAN = np.float32(np.diag(np.arange(1.0, D + 1)) + 0.5)
GRADIENT = HESSIAN @ THETA + 1
EACH = [FiniteDifferences(which, 4, 0.05, sides) for which in ("all", "sparse", "block") for sides in ("one", "two")]


def quadratic(p):
    return p @ HESSIAN @ p / 2 + jnp.sum(p)


def flat(tree):
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


@partial(jax.jit, static_argnums=(0, 1))
def init(method, seeds=(0, 1)):
    """A state for each tile; their keys differ, as in a run."""
    places = Place(0, D), Place(6, D)
    return [method.init(jax.random.key(s), t, p) for s, t, p in zip(seeds, TILES, places, strict=True)]


@partial(jax.jit, static_argnums=0)
def directions(method, states):
    """[rows, D]"""
    probes = np.array(method.passes(D).probe)

    def of_tile(state, params):
        return jax.vmap(lambda k: flat(method.perturb((None, state, params), k)))(probes)

    return jnp.concatenate([of_tile(*both) for both in zip(states, TILES, strict=True)], axis=1)


@partial(jax.jit, static_argnums=0)
def update(method, states, losses):
    """(gradient [D], states)"""
    made = [method.update(jax.random.key(9), jnp.int32(0), s, t, losses) for s, t in zip(states, TILES, strict=True)]
    return jnp.concatenate([flat(m.gradient) for m in made]), [m.state for m in made]


@partial(jax.jit, static_argnums=(0, 1))
def gradients(method, steps, sign=1.0, noise=0.0, seed=0):
    """Estimates of so many steps at one point, [steps, D]."""
    scale = sign * np.array(method.passes(D).scale, np.float32)

    def step(states, key):
        losses = jax.vmap(quadratic)(THETA + scale[:, None] * directions(method, states))
        g, states = update(method, states, losses + noise * jax.random.normal(key, losses.shape))
        return states, g

    return jax.lax.scan(step, init(method), jax.random.split(jax.random.key(seed), steps))[1]


@pytest.mark.parametrize("method", EACH, ids=repr)
def test_each_row_moves_one_parameter_of_one_tile(method):
    passes, made = method.passes(D), np.asarray(directions(method, init(method)))
    which = made.argmax(axis=1)
    np.testing.assert_array_equal(made, np.eye(D)[which])
    K = D if method.which == "all" else 4
    assert len(passes) == (K + 1 if method.sides == "one" else 2 * K)
    assert len(set(which)) == K, "no parameter is measured twice"


@pytest.mark.parametrize("sides", ["one", "two"])
def test_all_of_them_are_the_gradient(sides):
    """To the order of the scale: a quadratic loss has an error of c H_ii / 2 with one side, none with two."""
    method = FiniteDifferences("all", scale=0.05, sides=sides)
    bias = 0.05 * np.diag(HESSIAN) / 2 if sides == "one" else 0
    np.testing.assert_allclose(gradients(method, 1)[0], GRADIENT + bias, rtol=1e-3, atol=1e-3)


def test_a_wrong_sign_shows():
    wrong = gradients(FiniteDifferences("all", sides="two"), 1, sign=-1.0)[0]
    np.testing.assert_allclose(wrong, -GRADIENT, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("sides", "law"), [("one", 2.0), ("two", 0.5)])
def test_the_only_other_error_is_noise(sides, law):
    """E|g' - g|^2 = 2 d sigma^2 / c^2, or a quarter of it with two sides."""
    sigma, c, n = 0.01, 0.05, 4000
    method = FiniteDifferences("all", scale=c, sides=sides)
    made = np.float64(gradients(method, n, noise=sigma))
    squared = np.sum((made - np.float64(gradients(method, 1)[0])) ** 2, axis=1)
    expected = law * D * sigma**2 / c**2
    assert squared.mean() == pytest.approx(expected, abs=5 * squared.std() / np.sqrt(n) + 0.01 * expected)


@pytest.mark.parametrize("K", [1, 4, 11, 64])
def test_sparse_ones_are_distinct_and_equally_likely(K):
    method, n = FiniteDifferences("sparse", K, 0.05, "two"), 6000
    made = np.asarray(gradients(method, n))
    hit = made != 0
    assert np.all(hit.sum(axis=1) == min(K, D))
    share = min(K, D) / D
    assert np.all(np.abs(hit.mean(axis=0) - share) <= 5 * np.sqrt(share * (1 - share) / n))
    np.testing.assert_allclose(made.sum(axis=0) / hit.sum(axis=0), GRADIENT, rtol=2e-3, atol=2e-3)


def test_blocks_go_around():
    made = np.asarray(gradients(FiniteDifferences("block", 4, 0.05, "two"), 4))
    for step, block in enumerate([slice(0, 4), slice(4, 8), slice(8, 11), slice(0, 4)]):
        expected = np.zeros(D)
        expected[block] = GRADIENT[block]
        np.testing.assert_allclose(made[step], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", EACH, ids=repr)
def test_a_constant_changes_nothing_and_a_factor_scales(method, draw):
    states, losses = init(method), draw(1, len(method.passes(D)))
    plain, _ = update(method, states, losses)
    np.testing.assert_allclose(update(method, states, losses + 4)[0], plain, atol=1e-4)
    np.testing.assert_allclose(update(method, states, losses * -3)[0], -3 * plain, atol=1e-3)


@pytest.mark.parametrize("method", EACH, ids=repr)
def test_a_lost_loss_leaves_one_parameter_out(method, draw):
    states, losses = init(method), draw(1, len(method.passes(D)))
    plain = np.asarray(update(method, states, losses)[0])
    lost = np.asarray(directions(method, states))[-1].argmax()
    losses[-1] = np.nan
    expected = np.where(np.arange(D) == lost, 0, plain)
    np.testing.assert_array_equal(update(method, states, losses)[0], expected)
    assert not np.any(np.isfinite(update(method, states, np.full_like(losses, np.nan))[0]))


def test_tiles_agree_whatever_their_keys():
    method = FiniteDifferences("sparse", 4)
    np.testing.assert_array_equal(directions(method, init(method)), directions(method, init(method, (7, 8))))


def test_all_of_too_many_are_refused():
    assert len(FiniteDifferences("all").passes(65536)) == 65537
    with pytest.raises(ValueError, match='at most 65,536, but there are 65,537; which = "sparse"'):
        FiniteDifferences("all").passes(65537)
    assert len(FiniteDifferences("sparse").passes(10**9)) == 33

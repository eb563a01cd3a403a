"""Population search: every strategy finds the bottom of a bowl, within its radius, from the order of the losses."""

from functools import partial
from typing import get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms.contracts import Place
from algorithms.methods.population import STRATEGIES, Population

TILES = [
    {"device": {"w": np.float32([[0.3, -0.5], [0.8, 0.1]])}, "digital": {}},
    {"device": {}, "digital": {"b": np.float32([-0.2, 0.6])}},
]
PLACES = Place(0, 6), Place(4, 6)
MEANS = ("cma", "sep-cma", "snes", "open-es")  # those that move a mean; the others take their best member
HESSIAN = np.float32(np.diag(np.arange(1.0, 7.0)) + 0.5)
EACH = pytest.mark.parametrize("strategy", STRATEGIES)


def bowl(tiles):
    p = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tiles)])
    return p @ HESSIAN @ p / 2


@partial(jax.jit, static_argnums=0)
def init(method, key):
    keys = jax.random.split(key)
    return [method.init(k, t, p) for k, t, p in zip(keys, TILES, PLACES, strict=True)]


def measured(method, tiles, states):
    """What is written in each row: the tiles with a leading axis."""

    def row(probe):
        away = [method.perturb((None, s, t), probe) for s, t in zip(states, tiles, strict=True)]
        return jax.tree.map(jnp.add, tiles, away)

    return jax.vmap(row)(np.array(method.passes(6).probe))


def commit(method, key, tiles, states, losses):
    keys = jax.random.split(key)
    updates = [method.update(k, jnp.int32(0), s, t, losses) for k, s, t in zip(keys, states, tiles, strict=True)]
    return [u.gradient for u in updates], [u.state for u in updates]


@partial(jax.jit, static_argnums=(0, 1))
def searched(method, steps, key, sign):
    """(loss of the tiles, distance of the farthest write) after each step."""

    def step(carry, key):
        tiles, states = carry
        rows = measured(method, tiles, states)
        losses = sign * jax.vmap(bowl)(rows)
        gone = jax.tree.map(lambda r, t: jnp.abs(r - t).max() if t.size else 0.0, rows, tiles)
        gradients, states = commit(method, key, tiles, states, losses)
        tiles = jax.tree.map(jnp.subtract, tiles, gradients)
        return (tiles, states), (bowl(tiles), jnp.max(jnp.stack(jax.tree.leaves(gone))))

    return jax.lax.scan(step, (TILES, init(method, key)), jax.random.split(key, steps))[1]


def test_the_names_of_the_strategies_are_those_of_the_table():
    assert get_args(get_type_hints(Population)["strategy"]) == tuple(STRATEGIES)


@EACH
def test_it_finds_the_bottom_and_a_wrong_sign_would_show(strategy):
    method, first = Population(strategy, scale=0.1), float(jax.jit(bowl)(TILES))
    losses, gone = searched(method, 150, jax.random.key(0), 1.0)
    assert losses[-1] < (0.3 if strategy == "open-es" else 0.03) * first
    assert np.max(gone) <= method.radius * (1 + 1e-6)
    assert np.asarray(searched(method, 150, jax.random.key(0), 1.0)[0]).tobytes() == np.asarray(losses).tobytes()
    assert searched(method, 150, jax.random.key(0), -1.0)[0][20] > first


LOSSES = np.random.default_rng(0).permutation(32).astype(np.float32)


@partial(jax.jit, static_argnums=0)
def update(method, states, losses):
    return commit(method, jax.random.key(4), TILES, states, losses)


def equal(one, other):
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


@EACH
def test_only_the_order_of_the_losses_counts(strategy):
    method = Population(strategy)
    states = init(method, jax.random.key(3))
    plain = update(method, states, LOSSES)[0]
    assert equal(plain, update(method, states, LOSSES + 64)[0])
    assert equal(plain, update(method, states, LOSSES * 4)[0])
    assert not equal(plain, update(method, states, -LOSSES)[0])


@EACH
def test_a_member_that_was_not_measured_has_no_say(strategy):
    """Wherever it was, the tiles move alike, and not by it."""
    method = Population(strategy)
    states = init(method, jax.random.key(3))
    lost = int(LOSSES.argmin())
    losses = np.where(np.arange(32) == lost, np.nan, LOSSES)
    elsewhere = [{**s, "members": s["members"].at[lost].add(0.1)} for s in states]
    made = update(method, states, losses)[0]
    assert equal(made, update(method, elsewhere, losses)[0])
    assert not equal(made, update(method, states, LOSSES)[0])
    assert jax.tree.all(jax.tree.map(lambda g: np.all(np.isfinite(g)), made))
    none = update(method, states, np.full(32, np.nan, np.float32))[0]
    assert jax.tree.all(jax.tree.map(lambda g: not np.any(np.isfinite(g)) or not g.size, none))


@EACH
def test_the_tiles_become_a_mean_or_the_best_member(strategy):
    """A mean moves towards the better half of what was measured; the best member is one of them."""
    method = Population(strategy)
    states = init(method, jax.random.key(3))
    rows = jax.jit(partial(measured, method))(TILES, states)
    moved = jax.tree.map(np.subtract, TILES, update(method, states, LOSSES)[0])
    best = jax.tree.map(lambda r: r[LOSSES.argmin()], rows)
    if strategy not in MEANS:
        assert jax.tree.all(jax.tree.map(partial(np.allclose, atol=1e-6), moved, best))
        return
    good = jax.tree.map(lambda r: r[LOSSES < 16].mean(axis=0) - r[LOSSES >= 16].mean(axis=0), rows)
    way = jax.tree.map(np.subtract, moved, TILES)
    assert sum(np.vdot(g, w) for g, w in zip(jax.tree.leaves(good), jax.tree.leaves(way), strict=True)) > 0


@EACH
def test_its_state_keeps_its_types(strategy):
    """Compiled once, and a snapshot fits every later state."""
    method = Population(strategy)
    states = init(method, jax.random.key(3))
    after = update(method, states, LOSSES)[1]
    types = jax.tree.map(lambda v: (v.shape, v.dtype, v.weak_type), states)
    assert types == jax.tree.map(lambda v: (v.shape, v.dtype, v.weak_type), after)


def test_a_mean_follows_what_the_device_took():
    """Most of the last step was lost at a limit of the device: the next one starts from what it holds."""
    method, alike = Population("open-es"), np.zeros(32, np.float32)
    _, states = update(method, init(method, jax.random.key(3)), LOSSES)

    @jax.jit
    def moved(away):
        tiles = jax.tree.map(lambda t: t + away, TILES)
        gradients, _ = commit(method, jax.random.key(5), tiles, states, alike)
        return jax.tree.map(jnp.subtract, tiles, gradients)

    for t, after in zip(jax.tree.leaves(TILES), jax.tree.leaves(moved(1.0)), strict=True):
        np.testing.assert_allclose(after, t + 1.0, atol=1e-5)  # losses that are alike tell nothing


def test_a_matrix_of_too_many_parameters_is_refused():
    tile = {"device": {"w": np.zeros(2001, np.float32)}, "digital": {}}
    with pytest.raises(
        ValueError, match='at most 2,000, but one has 2,001; cut the stage into tiles, or take "sep-cma"'
    ):
        Population("cma").init(jax.random.key(0), tile, Place(0, 2001))
    jax.eval_shape(lambda: Population("sep-cma").init(jax.random.key(0), tile, Place(0, 2001)))

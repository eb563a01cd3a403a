"""Multiplexed gradient descent: what each code collects in its period, when it moves, and that it learns XOR."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms.contracts import Place
from algorithms.directions import dense
from algorithms.methods.mgd import LOUDEST, MGD, SINES

D = 11  # two tiles of 6 and 5 parameters
TILES = [
    {"device": {"w": np.float32([[0.3, -0.5], [0.8, 0.1]])}, "digital": {"b": np.float32([-0.2, 0.6])}},
    {"device": {"w": np.float32([0.4, -0.7, 0.2])}, "digital": {"b": np.float32([0.5, -0.1])}},
]
THETA = np.concatenate([np.concatenate([t["device"]["w"].ravel(), t["digital"]["b"]]) for t in TILES])
HESSIAN = np.float32(np.diag(np.arange(1.0, D + 1)) + 0.5)
GRADIENT = HESSIAN @ THETA + 1
CODES = ["sequential", "random", "walsh", "sinusoid"]
PERIOD = {"sequential": D, "walsh": 16, "sinusoid": 32}


def quadratic(p):
    return p @ HESSIAN @ p / 2 + jnp.sum(p)


def flat(tree):
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


def init(method, seed=0):
    """A state for each tile; their keys differ, as in a run."""
    keys, places = jax.random.split(jax.random.key(seed)), (Place(0, D), Place(6, D))
    return [method.init(k, t, p) for k, t, p in zip(keys, TILES, places, strict=True)]


def code(method, states):
    """s of all parameters, [D]; the key of the step plays no part."""
    return jnp.concatenate([flat(dense(method.perturb((None, *both), 0))) for both in zip(states, TILES, strict=True)])


def commit(method, states, losses):
    """(gradient [D], states, whether to move)"""
    made = [method.update(None, jnp.int32(0), s, t, losses) for s, t in zip(states, TILES, strict=True)]
    return jnp.concatenate([flat(m.gradient) for m in made]), [m.state for m in made], made[0].move


@partial(jax.jit, static_argnums=(0, 1))
def collected(method, steps, seed=0, sign=1.0, noise=0.0):
    """(gradient, whether to move, code) of each of so many steps at one point."""
    scale = sign * np.array(method.passes(D).scale, np.float32)

    def step(states, key):
        s = code(method, states)
        losses = jax.vmap(quadratic)(THETA + scale[:, None] * s)
        g, states, move = commit(method, states, losses + noise * jax.random.normal(key, losses.shape))
        return states, (g, move, s)

    return jax.lax.scan(step, init(method, seed), jax.random.split(jax.random.key(seed), steps))[1]


@pytest.mark.parametrize("name", PERIOD)
def test_a_code_is_orthogonal_over_its_period_and_has_unit_power(name):
    s = np.float64(collected(MGD(name), 2 * PERIOD[name])[2])
    square = 1 if name == "sequential" else D
    expected = 2 * PERIOD[name] * square / D * np.eye(D)
    np.testing.assert_allclose(s.T @ s, expected, atol=1e-9 if name != "sinusoid" else 0.01 * expected.max())
    np.testing.assert_allclose(np.sum(s**2, axis=1).mean(), square, rtol=0.01)


def test_walsh_codes_are_those_of_the_formula():
    made = np.asarray(collected(MGD("walsh"), 40)[2])
    for t in range(40):
        for i in range(D):
            assert made[t, i] == (-1) ** (bin((i + 1) & t).count("1") + t // 16)


def test_random_codes_are_new_in_each_step_and_differ_between_tiles():
    made = np.float64(collected(MGD("random"), 4000)[2])
    assert set(np.unique(made)) == {-1.0, 1.0}
    assert np.abs(made.T @ made / 4000 - np.eye(D)).max() < 5 / np.sqrt(4000)
    assert np.abs(np.mean(made[1:] * made[:-1], axis=0)).max() < 5 / np.sqrt(4000)


def test_the_table_of_sines():
    assert len(SINES) == 4096 and np.abs(SINES).max() == LOUDEST < 2**7
    assert MGD("sinusoid").reach() == LOUDEST / 64
    angles = 2 * np.pi * (np.arange(4096) + 0.5) / 4096
    np.testing.assert_allclose(SINES / 64, np.sqrt(2) * np.sin(angles), atol=0.5 / 64)
    assert np.sum(SINES, dtype=int) == 0 and np.mean((SINES / 64) ** 2) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("sides", ["one", "two"])
@pytest.mark.parametrize("name", PERIOD)
def test_in_two_periods_g_comes_to_the_gradient_and_a_wrong_sign_would_show(name, sides):
    """Times the number of steps over d. What is even in theta~ is left by time division with one side only."""
    steps = 2 * PERIOD[name]
    method = MGD(name, 0.05, sides, tau_theta=steps)
    expected, tolerance = GRADIENT * steps / D, 0.03 if name == "sinusoid" else 1e-3
    if (name, sides) == ("sequential", "one"):
        expected = expected + 0.05 / 2 * np.diag(HESSIAN) * steps / D
    for sign in (1.0, -1.0) if sides == "two" else (1.0,):
        g, move, _ = collected(method, steps, sign=sign)
        if (name, sides) == ("sinusoid", "one"):
            cos = g[-1] @ expected / np.linalg.norm(g[-1]) / np.linalg.norm(expected)
            assert cos > 0.9
        else:
            scale = np.abs(expected).max()
            np.testing.assert_allclose(g[-1], sign * expected, atol=tolerance * scale)
        assert list(np.flatnonzero(move)) == [steps - 1]


def test_the_mean_with_random_codes_is_the_gradient_over_d():
    n = 8000
    for sign in (1.0, -1.0):
        made = np.float64(collected(MGD("random"), n, sign=sign)[0]) * D
        error = made.std(axis=0) / np.sqrt(n)
        assert np.all(error < 0.1 * np.linalg.norm(GRADIENT))
        assert np.all(np.abs(made.mean(axis=0) - sign * GRADIENT) < 5 * error)


@pytest.mark.parametrize("name", CODES)
def test_a_constant_changes_nothing_and_a_factor_scales(name):
    method, losses = MGD(name), np.float32([1.5, 2.0])
    states, plain = init(method), jax.jit(lambda s, x: commit(method, s, x)[0])
    g = plain(states, losses)
    np.testing.assert_allclose(plain(states, losses + 16), g, atol=1e-4)
    np.testing.assert_allclose(plain(states, losses * -3), -3 * g, rtol=1e-4)
    s = jax.jit(lambda: code(method, states))()
    np.testing.assert_allclose(g, 0.5 / 0.05 / (1 if name == "sequential" else D) * s, rtol=1e-4)


@pytest.mark.parametrize("name", CODES)
def test_a_perturbation_stays_for_tau_p_steps(name):
    long, short = (np.asarray(collected(MGD(name, tau_p=t), 12)[2]) for t in (3, 1))
    np.testing.assert_array_equal(long, np.repeat(short[:4], 3, axis=0))


def test_it_moves_every_tau_theta_steps_and_starts_anew():
    alone = np.float64(collected(MGD("walsh"), 12)[0])
    g, move, _ = collected(MGD("walsh", tau_theta=4), 12)
    np.testing.assert_array_equal(move, [False, False, False, True] * 3)
    np.testing.assert_allclose(np.asarray(g).reshape(3, 4, D), np.cumsum(alone.reshape(3, 4, D), axis=1), rtol=1e-5)


def test_a_batch_stays_for_tau_x_steps():
    assert MGD(tau_x=250).hold() == 250 and MGD().hold() == 1


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_loss_is_no_echo(lost):
    """The gradient is NaN, at which a commit keeps the state as it was: this perturbation is measured again."""
    losses = np.float32([1.5, 2.0])
    losses[lost] = np.nan
    g, _, move = jax.jit(lambda s: commit(MGD(), s, losses))(init(MGD()))
    assert np.all(np.isnan(g)) and move


# --- XOR --------------------------------------------------------------------------------------------------------------

INPUTS = np.float32([[0, 0], [0, 1], [1, 0], [1, 1]])
XOR = np.float32([0, 1, 1, 0])


def xor(params):
    """2-2-1 with sigmoids, mean squared error."""
    h = jax.nn.sigmoid(INPUTS @ params["w"] + params["b"])
    return jnp.mean((jax.nn.sigmoid(h @ params["v"] + params["c"]) - XOR) ** 2)


def starts(seed):
    shapes = {"w": (2, 2), "b": (2,), "v": (2,), "c": ()}
    keys = jax.random.split(jax.random.key(seed), 4)
    return {n: 2 * jax.random.normal(k, shape) for k, (n, shape) in zip(keys, shapes.items(), strict=True)}


@partial(jax.jit, static_argnums=(0, 1))
def learned(method, steps, rate, seed):
    """The loss after so many steps."""
    params, scale = starts(seed), np.array(method.passes(9).scale, np.float32)

    def step(carry, _):
        params, state = carry
        s = dense(method.perturb((None, state, params), 0))
        losses = jax.vmap(lambda c: xor(jax.tree.map(lambda p, s: p + c * s, params, s)))(scale)
        made = method.update(None, jnp.int32(0), state, params, losses)
        moved = jax.tree.map(lambda p, g: jnp.where(made.move, p - rate * g, p), params, made.gradient)
        return (moved, made.state), None

    start = params, method.init(jax.random.key(seed), params, Place(0, 9))
    return xor(jax.lax.scan(step, start, None, length=steps)[0][0])


@partial(jax.jit, static_argnums=0)
def descended(steps, rate, seed):
    """The loss after so many steps by the gradient itself."""
    step = lambda _, params: jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(xor)(params))  # noqa: E731
    return xor(jax.lax.fori_loop(0, steps, step, starts(seed)))


@pytest.mark.parametrize(
    ("name", "scale", "tau_theta"),
    [("sequential", 0.1, 1), ("random", 0.1, 1), ("walsh", 0.02, 16), ("sinusoid", 0.02, 32)],
)
def test_it_learns_xor_where_the_gradient_does(name, scale, tau_theta):
    """Nine parameters; 0.25 is the loss of a coin. From many points the gradient itself ends in a local minimum."""
    solved = [seed for seed in range(8) if descended(16000, 2.5 / 9, seed) < 0.01]
    assert len(solved) >= 2
    method = MGD(name, scale, tau_theta=tau_theta)
    assert all(learned(method, 16000, 2.5, seed) < 0.01 for seed in solved)

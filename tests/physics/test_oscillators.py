"""The oscillators against their equation: energy, an independent integrator in float64, and what a chip hides."""

from functools import partial

import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from physics.contracts import At
from physics.substrates.oscillators import Chip, Oscillators

KEY = jax.random.key(3)
NOW = At(np.float32(0), np.float32(0))
FOUR = Oscillators(4, 4)  # as in the source: 5 steps to t = 0.5
TEN = Oscillators(4, 4, t_end=1.0, rk4_steps=10)

evolve = partial(jax.jit, static_argnums=0)(lambda model, chip, cells, q, p: model.evolve(chip, cells, q, p))
answer = partial(jax.jit, static_argnums=0)(
    lambda model, chip, device, x: model.respond(chip, model.program(chip, device, None), x, None, NOW)
)
cells_written = partial(jax.jit, static_argnums=0)(lambda model, chip, device: model.program(chip, device, None))
bank = partial(jax.jit, static_argnums=0)(lambda model, keys: jax.vmap(model.fabricate)(keys))
noisy = partial(jax.jit, static_argnums=0)(
    lambda model, cells, x, keys: jax.vmap(lambda k: model.respond(model.nominal(), cells, x, k, NOW))(keys)
)


def cells_of(J, e):
    """Cells of a coupling matrix and drives, float32."""
    return {"J": np.asarray(J, np.float32), "e": np.asarray(e, np.float32)}


def upper(J):
    """A symmetric matrix as the device takes it."""
    return np.asarray(J, np.float32)[np.triu_indices(len(J), 1)]


@pytest.fixture(name="J", scope="module")
def couplings():
    rng = np.random.default_rng(5)
    J = rng.uniform(-0.5, 0.5, (4, 4))
    return np.triu(J, 1) + np.triu(J, 1).T


@pytest.fixture(scope="module")
def unequal():
    """(chips of the stated mismatch, [1000, ...]; a chip of none)."""
    keys = jax.random.split(KEY, 1000)
    chips = bank(Oscillators(4, 4, mismatch=0.2, stretch=0.1), keys)
    return jax.tree.map(np.asarray, chips), FOUR.fabricate(KEY)


def solution(J, e, q, t, chip=None):
    """q(t) of the equation, in float64, by an integrator of order 8."""
    n = len(q)
    stretch = np.zeros(n) if chip is None else np.asarray(chip.stretch, np.float64)

    def rate(_, y):
        s = np.sin((1 + stretch) * y[:n])
        force = [-s[i] + sum(J[i, j] * (s[j] - s[i]) for j in range(n)) + e[i] for i in range(n)]
        return np.concatenate([y[n:], force])

    return solve_ivp(rate, (0, t), np.concatenate([q, np.zeros(n)]), "DOP853", rtol=1e-11, atol=1e-11).y[:n, -1]


# --- energy -----------------------------------------------------------------------------------------------------------


def test_uncoupled_oscillators_keep_their_energy_each():
    e = np.array([0.3, -0.2, 0.0, 0.5])

    def energy(q, p):
        q, p = np.asarray(q, np.float64), np.asarray(p, np.float64)
        return p**2 / 2 + 1 - np.cos(q) - e * q

    rng = np.random.default_rng(1)
    for _ in range(10):
        q, p = rng.uniform(-2, 2, (2, 4)).astype(np.float32)
        after = evolve(TEN, TEN.nominal(), cells_of(np.zeros((4, 4)), e), q, p)
        assert np.abs(np.asarray(after[0]) - q).max() > 0.1  # it did move
        np.testing.assert_allclose(energy(*after), energy(q, p), atol=3e-6)  # dt = 0.1, to t = 1


def harmonic(J, q, p):
    """H of the small-amplitude limit: p^2/2 + q^2/2 + sum_ij J_ij (q_i - q_j)^2 / 4."""
    q, p = np.asarray(q, np.float64), np.asarray(p, np.float64)
    return np.sum(p**2 + q**2) / 2 + np.sum(J * (q[:, None] - q[None, :]) ** 2) / 4


def test_coupled_oscillators_keep_the_harmonic_energy_at_small_amplitude(J):
    rng = np.random.default_rng(2)
    for _ in range(10):
        q, p = rng.uniform(-0.01, 0.01, (2, 4)).astype(np.float32)
        after = evolve(TEN, TEN.nominal(), cells_of(J, np.zeros(4)), q, p)
        # sin q = q - q^3 / 6: relative deviations of H of the order of q^2
        assert harmonic(J, *after) == pytest.approx(harmonic(J, q, p), rel=1e-4)


def test_couplings_that_are_not_symmetric_would_not_keep_it(J):
    rng = np.random.default_rng(2)
    q, p = rng.uniform(-0.01, 0.01, (2, 4)).astype(np.float32)
    skew = J + 0.3 * np.triu(np.ones((4, 4)), 1) - 0.3 * np.tril(np.ones((4, 4)), -1)
    after = evolve(TEN, TEN.nominal(), cells_of(skew, np.zeros(4)), q, p)
    assert abs(harmonic(J, *after) / harmonic(J, q, p) - 1) > 1e-2


# --- the integrator ---------------------------------------------------------------------------------------------------


def test_the_answer_is_the_solution_of_the_equation(J):
    rng = np.random.default_rng(4)
    e = rng.uniform(-0.5, 0.5, 4)
    for _ in range(5):
        x = rng.uniform(-1.5, 1.5, 4).astype(np.float32)
        v = answer(FOUR, FOUR.nominal(), {"J": upper(J), "e": e.astype(np.float32)}, x)
        np.testing.assert_allclose(v, solution(J, e, x, 0.5), atol=5e-6)


def test_the_answer_of_a_chip_is_the_solution_with_its_hidden_terms(J):
    chip = Chip(np.float32([0.2, -0.1, 0.3, 0.0, -0.2, 0.1]), np.float32([0.1, -0.1, 0.05, 0.0]))
    x = np.float32([1.0, -0.5, 0.3, 0.8])
    offset = np.zeros((4, 4))
    offset[np.triu_indices(4, 1)] = chip.J
    expected = solution(J + offset + offset.T, np.zeros(4), x, 0.5, chip)
    v = answer(FOUR, chip, {"J": upper(J), "e": np.zeros(4, np.float32)}, x)
    np.testing.assert_allclose(v, expected, atol=5e-6)
    assert np.abs(expected - solution(J, np.zeros(4), x, 0.5)).max() > 0.01


def test_halving_the_step_divides_the_error_by_sixteen(J):
    x, t = np.float32([1.0, -0.5, 0.3, 0.8]), 4.0
    exact = solution(J, np.zeros(4), x, t)
    errors = []
    for steps in (8, 16):
        model = Oscillators(4, 4, t_end=t, rk4_steps=steps)
        v = answer(model, model.nominal(), {"J": upper(J), "e": np.zeros(4, np.float32)}, x)
        errors.append(np.linalg.norm(np.asarray(v) - exact))
    assert errors[1] > 2e-5  # well above what float32 rounds
    assert 3.5 < np.log2(errors[0] / errors[1]) < 4.7


# --- inputs, outputs, parameters --------------------------------------------------------------------------------------


def test_inputs_start_the_first_oscillators_and_the_last_are_read():
    model = Oscillators(2, 3, nodes=4, t_end=1e-4, rk4_steps=1, noise=0.0)
    device = {"J": np.zeros(6, np.float32), "e": np.zeros(4, np.float32)}
    v = answer(model, model.nominal(), device, np.float32([0.7, -0.4]))
    np.testing.assert_allclose(v, [-0.4, 0.0, 0.0], atol=1e-6)


def test_noise_is_a_shake_of_every_starting_point():
    model = Oscillators(2, 4, nodes=4, t_end=1e-4, rk4_steps=1, noise=0.02)
    x = np.float32([0.7, -0.4])
    v = np.asarray(noisy(model, cells_of(np.zeros((4, 4)), np.zeros(4)), x, jax.random.split(KEY, 10_000)), np.float64)
    np.testing.assert_allclose(v.std(axis=0), 0.02, rtol=5 / np.sqrt(2 * len(v)))
    np.testing.assert_allclose(v.mean(axis=0), [0.7, -0.4, 0, 0], atol=5 * 0.02 / np.sqrt(len(v)))
    assert np.abs(np.corrcoef(v.T) - np.eye(4)).max() < 5 / np.sqrt(len(v))


def test_the_couplings_used_are_symmetric(unequal):
    chips, _ = unequal
    device = np.random.default_rng(6).uniform(-1, 1, 6).astype(np.float32)
    for offset in (np.zeros(6, np.float32), chips.J[0]):
        cells = cells_written(FOUR, Chip(offset, np.zeros(4, np.float32)), {"J": device, "e": np.zeros(4, np.float32)})
        J = np.asarray(cells["J"])
        assert np.array_equal(J, J.T) and np.all(np.diag(J) == 0)
        assert np.array_equal(J[np.triu_indices(4, 1)], device + offset)


def test_first_parameters_are_those_of_the_source():
    n = 80
    device = jax.jit(Oscillators(n, n).init)(KEY)["device"]
    J, e = np.asarray(device["J"]), np.asarray(device["e"])
    bound = 1 / np.sqrt(n)
    assert J.shape == (n * (n - 1) // 2,) and e.shape == (n,)
    assert np.abs(J).max() <= bound and np.abs(e).max() <= bound
    # (C + C^T) / 2 of a uniform C: half the variance of a uniform draw
    assert J.std() == pytest.approx(bound / np.sqrt(6), rel=5 / np.sqrt(2 * J.size))
    assert e.std() == pytest.approx(bound / np.sqrt(3), rel=5 / np.sqrt(2 * e.size))


def test_too_few_nodes_are_refused():
    with pytest.raises(ValueError, match="nodes = 3: at least 4"):
        Oscillators(4, 2, nodes=3)


# --- what a chip hides ------------------------------------------------------------------------------------------------


def test_the_nominal_chip_hides_nothing(unequal):
    _, equal = unequal
    for chip in (Oscillators(4, 4, mismatch=0.2, stretch=0.1).nominal(), equal):
        assert not np.any(chip.J) and not np.any(chip.stretch)


def test_hidden_terms_have_the_stated_size(unequal):
    chips, _ = unequal
    for values, size in ((chips.J, 0.2), (chips.stretch, 0.1)):
        assert np.std(values) == pytest.approx(size, rel=5 / np.sqrt(2 * values.size))
        assert abs(np.mean(values)) < 5 * size / np.sqrt(values.size)
        assert np.abs(np.corrcoef(values.T) - np.eye(values.shape[1])).max() < 5 / np.sqrt(len(values))


@pytest.mark.parametrize("hidden", ["mismatch", "stretch"])
def test_outputs_stray_from_the_twin_in_proportion_to_what_is_hidden(J, hidden):
    device = {"J": upper(J), "e": np.zeros(4, np.float32)}
    x = np.float32([1.0, -0.5, 0.3, 0.8])
    ideal = np.asarray(answer(FOUR, FOUR.nominal(), device, x))
    strays = []
    for size in (0.0, 0.05, 0.1, 0.2):
        chips = [Oscillators(4, 4, **{hidden: size}).fabricate(jax.random.key(k)) for k in range(6)]
        strays.append(np.sqrt(np.mean([(np.asarray(answer(FOUR, c, device, x)) - ideal) ** 2 for c in chips])))
    assert strays[0] == 0
    np.testing.assert_allclose(np.array(strays[1:]) / strays[1], [1, 2, 4], rtol=0.15)
    assert strays[1] > 1e-4

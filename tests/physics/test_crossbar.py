"""Each non-ideality switched on alone, against its stated size. Statistical tolerances are five standard errors.

`noise=0, drift=0` and no mismatch leave converters only; `key=None` leaves nothing. Independent formulas in numpy.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.keys import NOISE_KEYS
from physics import twin
from physics.contracts import At
from physics.substrates.crossbar import ADC_BITS, ADC_RANGE, DAC_BITS, OUT_NOISE, Crossbar, quantise

LEVELS = np.float32([0.1, 0.25, 0.5, 0.75, 1.0])
EACH = 2000  # columns for each level; two rows of them
WIDE = Crossbar(1, len(LEVELS) * EACH, drift=0.0)
W = np.tile(np.repeat(LEVELS, EACH), (2, 1))
ADC_STEP = 2 * ADC_RANGE / (2**ADC_BITS - 2)
KEY = jax.random.key(7)


def program(model, chip, w, key):
    return model.program(chip, {"w": w}, key)  # not compiled as a whole: its operations serve all configurations


def smooth(model, chip, cells, at):
    """What the cells of the bias row are, without a measurement: x = 0 leaves only them."""
    return np.asarray(model.respond(chip, cells, np.zeros(model.n_in, np.float32), None, at))


@partial(jax.jit, static_argnums=(0, 1))
def read(model, reads, w, x, key, at):
    """Readings of exactly programmed cells of the nominal chip, [reads, n_out]; x: one input, or one for each."""
    chip = model.nominal()
    cells = model.program(chip, {"w": w}, None)
    xs = jnp.broadcast_to(x, (reads, model.n_in))
    return jax.vmap(lambda x, k: model.respond(chip, cells, x, k, at))(xs, jax.random.split(key, reads))


def at(now=0.0, since=0.0):
    return At(np.float32(now), np.float32(since))


def programming_std(r):
    """Nandakumar 2019: a quadratic in uS, over 25 uS."""
    return (0.26348 + 1.9650 * r - 1.1731 * r * r) / 25.0


def by_level(values):
    """[2 rows, columns] -> [level, samples]."""
    return np.asarray(values, np.float64).reshape(2, len(LEVELS), EACH).transpose(1, 0, 2).reshape(len(LEVELS), -1)


# --- programming noise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_programming_noise_has_the_size_of_the_source_at_every_level(sign):
    g = program(WIDE, WIDE.nominal(), sign * W, KEY).g
    on, off = (g[0], g[1]) if sign == 1 else (g[1], g[0])
    error = by_level(on) - LEVELS[:, None]
    n = error.shape[1]
    np.testing.assert_allclose(error.std(axis=1), programming_std(LEVELS), rtol=5 / np.sqrt(2 * n))
    assert np.all(np.abs(error.mean(axis=1)) < 5 * programming_std(LEVELS) / np.sqrt(n))
    # the other conductance of the pair is meant to be 0 and cannot be negative: half of a Gaussian is left of it
    assert np.min(off) == 0
    assert np.mean(off) == pytest.approx(programming_std(0) / np.sqrt(2 * np.pi), rel=5 * 1.46 / np.sqrt(off.size))


def test_every_write_draws_its_own_noise_and_only_a_write_does():
    versions = [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 0), (1, 2, 0)]
    keys = [NOISE_KEYS.program(KEY, np.int32(v)) for v in versions]
    drawn = [np.asarray(program(WIDE, WIDE.nominal(), W, k).g[0]) - W for k in keys]
    again = program(WIDE, WIDE.nominal(), W, NOISE_KEYS.program(KEY, np.int32(versions[0])))
    assert np.array_equal(np.asarray(again.g[0]) - W, drawn[0])
    correlation = np.corrcoef(np.stack([d.ravel() for d in drawn])) - np.eye(len(versions))
    assert np.abs(correlation).max() < 5 / np.sqrt(W.size)


def test_the_two_conductances_of_a_pair_err_independently():
    g = np.asarray(program(WIDE, WIDE.nominal(), np.zeros_like(W), KEY).g).reshape(2, -1)
    assert abs(np.corrcoef(g)[0, 1]) < 5 / np.sqrt(W.size)


def test_without_noise_a_write_is_exact():
    quiet = Crossbar(1, len(LEVELS) * EACH, noise=0.0, drift=0.0)
    g = program(quiet, quiet.nominal(), -W, KEY).g
    assert np.array_equal(g[0], np.zeros_like(W)) and np.array_equal(g[1], W)


# --- read noise and converters ----------------------------------------------------------------------------------------

READ = Crossbar(3, 2, drift=0.0)
READ_W = np.float32([[0.9, 0.0], [0.5, 0.0], [-0.7, 0.0], [0.2, 0.0]])  # the second column has no conductance at all
READS = 20_000


@pytest.mark.parametrize("since", [0.0, 1e5])
def test_variance_of_the_column_current_is_that_of_its_cells_and_of_the_periphery(since):
    x = np.float32([63, -21, 42]) / 63  # on the grid of the converter
    v = np.asarray(read(READ, READS, READ_W, x, KEY, at(since=since)), np.float64)
    g = np.abs(READ_W.astype(np.float64))
    q = np.minimum(0.2, 0.0088 / np.maximum(g, 1e-9) ** 0.65)
    sigma = g * q * np.sqrt(np.log((since + 20 + 250e-9) / (2 * 250e-9)))
    expected = np.append(x, 1.0) ** 2 @ sigma**2 + 0.06**2
    assert expected[1] == 0.06**2 and expected[0] > 1.5 * expected[1]
    # rounding to the steps of the converter adds step^2 / 12
    np.testing.assert_allclose(v.var(axis=0), expected + ADC_STEP**2 / 12, rtol=5 * np.sqrt(2 / READS))
    assert np.all(np.abs(v.mean(axis=0) - np.append(x, 1.0) @ READ_W) < 5 * np.sqrt(expected / READS))
    assert abs(np.corrcoef(v.T)[0, 1]) < 5 / np.sqrt(READS)


QUIET = Crossbar(15, 2, noise=0.0, drift=0.0)


def test_without_noise_a_reading_is_input_converter_matrix_output_converter(inputs):
    w, x = inputs(16, 2), inputs(20, 15)
    v = read(QUIET, 20, w, x, KEY, at())
    seen = np.column_stack([np.round(x.astype(np.float64) * 63) / 63, np.ones(20)])  # 126 steps from -1 to 1
    steps = seen @ w.astype(np.float64) / ADC_STEP
    assert np.all(np.abs(steps - np.floor(steps) - 0.5) > 1e-3)  # not a draw between two codes
    np.testing.assert_allclose(v, np.round(steps) * ADC_STEP, atol=1e-5)
    assert np.abs(v - (x @ w[:15] + w[15])).max() > 0.5 * ADC_STEP  # both converters count


def test_readings_saturate_at_the_range_of_the_converter():
    w = np.stack([np.full(16, 0.9), np.full(16, -0.9)], axis=1).astype(np.float32)
    v = read(QUIET, 20, w, np.ones(15, np.float32), KEY, at())
    np.testing.assert_allclose(v, np.tile([12.0, -12.0], (20, 1)), rtol=1e-6)  # it would be 14.4


@pytest.mark.parametrize(("bound", "bits"), [(1.0, DAC_BITS), (ADC_RANGE, ADC_BITS)])
def test_a_converter_rounds_to_the_nearest_of_its_steps(bound, bits):
    step = 2 * bound / (2**bits - 2)

    @settings(max_examples=60, deadline=None)
    @given(st.floats(-1.5, 1.5, width=32))
    def check(share):
        v = np.float32(share * bound)
        out = float(quantise(v, bound, bits))
        assert abs(out) <= bound * (1 + 1e-6)
        assert abs(out / step - round(out / step)) < 1e-3
        if abs(v) <= bound:
            assert abs(out - v) <= step / 2 * (1 + 1e-3)
        else:
            assert out == pytest.approx(np.sign(v) * bound, rel=1e-6)
        assert float(quantise(np.float32(out), bound, bits)) == pytest.approx(out, rel=1e-6)

    check()


# --- what is frozen in a chip -----------------------------------------------------------------------------------------


def test_mismatch_is_a_gain_of_each_conductance_of_its_own():
    model = Crossbar(1, len(LEVELS) * EACH, mismatch=0.15, noise=0.0, drift=0.0)
    chip = model.fabricate(KEY)
    gain = np.asarray(chip.gain, np.float64).reshape(2, -1)
    assert gain.mean() == pytest.approx(1.0, abs=5 * 0.15 / np.sqrt(gain.size))
    assert gain.std() == pytest.approx(0.15, rel=5 / np.sqrt(2 * gain.size))
    assert abs(np.corrcoef(gain)[0, 1]) < 5 / np.sqrt(gain.shape[1])
    for w, which in ((W, 0), (-W, 1)):
        g = program(model, chip, w, KEY).g[which]
        np.testing.assert_allclose(g, W * chip.gain[which], rtol=1e-6)


def test_stuck_cells_have_their_share_and_ignore_what_is_written():
    model = Crossbar(1, len(LEVELS) * EACH, stuck_off=0.02, stuck_full=0.03)
    chip = model.fabricate(KEY)
    stuck = np.asarray(chip.stuck)
    for value, share in ((0.0, 0.02), (1.0, 0.03)):
        found = np.mean(stuck == value)
        assert abs(found - share) < 5 * np.sqrt(share * (1 - share) / stuck.size)
    assert np.mean(np.isnan(stuck)) == pytest.approx(0.95, abs=0.01)
    for w, which in ((W, 0), (-W, 1)):
        cells = program(model, chip, w, KEY)
        broken = ~np.isnan(stuck)
        assert np.array_equal(np.asarray(cells.g)[broken], stuck[broken])
        assert np.all(np.asarray(cells.nu)[broken] == 0)  # nor do they drift
        error = np.asarray(cells.g)[which] - W
        assert (
            np.abs(error[~broken[which]]).max() < 6 * programming_std(LEVELS).max()
        )  # the others do what they are told


def test_cells_fail_open_after_their_time_and_stay_dead():
    rate, n = 0.01, len(LEVELS) * EACH
    model = Crossbar(1, n, noise=0.0, drift=0.0, failures_per_s=rate)
    chip = model.fabricate(KEY)
    cells = program(model, chip, W, None)
    dies = np.asarray(chip.dies)[0, 1]  # of the bias row, which is all that x = 0 leaves
    before = np.zeros(n, bool)
    for now in (0.0, 10.0, 100.0, 400.0):
        v = smooth(model, chip, cells, at(now=now))
        dead = v == 0
        assert np.array_equal(dead, now >= dies)
        assert np.all(dead[before])
        share = 1 - np.exp(-rate * now)
        assert abs(dead.mean() - share) <= 5 * np.sqrt(share * (1 - share) / n)
        np.testing.assert_allclose(v[~dead], W[1][~dead], rtol=1e-6)
        before = dead


# --- drift ------------------------------------------------------------------------------------------------------------

DRIFT = Crossbar(1, len(LEVELS) * EACH, noise=0.0)
DRIFT_LEVELS = np.float32([0.02, 0.05, 0.1, 0.3, 0.9])


@pytest.fixture(scope="module")
def drifted():
    """(nu of each cell of the bias row, its conductance at several times), of a chip without any other fault."""
    w = np.tile(np.repeat(DRIFT_LEVELS, EACH), (2, 1))
    chip = DRIFT.fabricate(KEY)
    cells = program(DRIFT, chip, w, None)
    times = np.array([0.0, 60.0, 3600.0, 86400.0, 3e6])
    g = [smooth(DRIFT, chip, cells, at(since=t)) for t in times]
    return np.asarray(cells.nu, np.float64), times, np.asarray(g, np.float64)


def test_conductances_follow_a_power_law_with_the_exponent_of_their_cell(drifted):
    nu, times, g = drifted
    np.testing.assert_allclose(g[0], np.repeat(DRIFT_LEVELS, EACH), rtol=1e-6)  # nothing has drifted at t0
    slope, offset = np.polyfit(np.log((times + 20.0) / 20.0), np.log(g), 1)
    np.testing.assert_allclose(-slope, nu[0, 1], atol=1e-5)
    np.testing.assert_allclose(np.exp(offset), g[0], rtol=1e-4)


def test_drift_exponents_are_distributed_as_in_the_source(drifted):
    nu = by_level(drifted[0][0])
    ln = np.log(DRIFT_LEVELS.astype(np.float64))
    mean = np.clip(-0.0155 * ln + 0.0244, 0.049, 0.1)
    std = np.clip(-0.0125 * ln - 0.0059, 0.008, 0.045)
    n = nu.shape[1]
    # the source takes |nu|; a Gaussian folded 2 standard deviations from its mean moves by less than 1 % of one
    np.testing.assert_allclose(nu.mean(axis=1), mean, atol=5 * std.max() / np.sqrt(n) + 0.01 * std.max())
    np.testing.assert_allclose(nu.std(axis=1), std, rtol=5 / np.sqrt(2 * n) + 0.03)
    assert len(set(mean)) > 1 and std.min() == 0.008 and std.max() > 0.03


def test_no_conductance_grows(drifted):
    """As in the source (`PCMLikeNoiseModel.generate_drift_coefficients` of aihwkit takes the absolute value of nu)."""
    nu, _, g = drifted
    assert np.min(nu) >= 0
    assert np.all(np.diff(g, axis=0) <= 0)


def test_without_drift_nothing_changes():
    cells = program(WIDE, WIDE.fabricate(KEY), W, KEY)
    assert np.all(np.asarray(cells.nu) == 0)


# --- the ideal --------------------------------------------------------------------------------------------------------

IDEAL = Crossbar(3, 2, decode_as="tanh", gain=2.0)


@partial(jax.jit, static_argnums=0)
def twin_and_grad(model, params, x, cot):
    """The twin's response, `twin.vjp` and the gradient of <cot, h> by jax, all at the same x."""

    def loss(params, x):
        v = twin.respond(model, params["device"], x)
        return jnp.sum(cot * jax.vmap(lambda v: model.decode(params["digital"], v))(v))

    v = twin.respond(model, params["device"], x)
    return v, twin.vjp(model, params, x, v, cot), jax.grad(loss, (0, 1))(params, x)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0])
def test_the_twin_is_a_product_with_a_bias_and_its_vjp_is_the_gradient(inputs, scale):
    w, x, cot = scale * inputs(4, 2), inputs(6, 5, 3)[5], inputs(5, 2)
    params = {"device": {"w": w}, "digital": {}}
    v, (gradient, cot_x), by_jax = twin_and_grad(IDEAL, params, x, cot)
    np.testing.assert_allclose(v, x @ w[:3] + w[3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient["device"]["w"], by_jax[0]["device"]["w"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(cot_x, by_jax[1], rtol=1e-6, atol=1e-7)
    # and by hand: h = tanh(2 v)
    cot_v = cot * 2 * (1 - np.tanh(2 * np.asarray(v)) ** 2)
    np.testing.assert_allclose(gradient["device"]["w"], np.vstack([x.T @ cot_v, cot_v.sum(0)]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cot_x, cot_v @ w[:3].T, rtol=1e-4, atol=1e-5)


def test_energy_and_time_are_those_of_the_source():
    costs = Crossbar(3, 2).costs
    assert costs.pass_s == 250e-9 and costs.write_s is None
    assert costs.pass_J == pytest.approx(4 * 2 * 0.205e-12, rel=1e-3)  # 9.76 TOPS/W: 0.205 pJ a multiply-accumulate
    assert OUT_NOISE == 0.06 and ADC_RANGE == 12.0

"""The noise of models is that of `jax.random`, made fast: the same bits, and the same for any cut of a batch."""

import itertools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestrator.core.keys import NOISE_KEYS
from physics import noise, simulated, sines
from physics.contracts import Refused
from physics.substrates.crossbar import Crossbar, product, squares, whole
from physics.substrates.oscillators import Oscillators

KEY = jax.random.key(5)
HOME = (0, 0, 0)


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (2,), (7,), (3, 5), (2, 65, 32)])
def test_normal_numbers_are_those_of_jax_bit_for_bit(shape):
    ours, theirs = (jax.jit(partial(f, shape=shape))(KEY) for f in (noise.normal, jax.random.normal))
    assert ours.shape == shape and ours.dtype == np.float32
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("n", [1, 5, 8, 33])
def test_so_are_those_of_many_keys_at_once(n):
    def nested(module):
        def one(row, sample):
            return module.normal(module.fold_in(module.fold_in(KEY, row), sample), (n,))

        return jax.jit(jax.vmap(lambda r: jax.vmap(partial(one, r))(jnp.arange(3))))(jnp.arange(6))

    assert np.array_equal(nested(noise), nested(jax.random))


def test_keys_are_folded_as_jax_does():
    for word in (0, 1, -1, 2**31 - 1):
        ours, theirs = (m.fold_in(KEY, np.int32(word)) for m in (noise, jax.random))
        assert np.array_equal(jax.random.key_data(ours), jax.random.key_data(theirs))


def test_neighbouring_readings_are_normal_and_independent():
    n = 20_000
    readings = list(itertools.product((0, 1), (6, 7), (0,), (0, 1), (0, 1)))  # purpose, step, group, row; sample
    drawn = np.stack([noise.normal(NOISE_KEYS.read(KEY, np.int32(r[:4]), r[4]), (n,)) for r in readings])
    drawn = drawn.astype(np.float64)
    correlation = np.corrcoef(drawn) - np.eye(len(readings))
    assert np.abs(correlation).max() < 5 / np.sqrt(n)
    z = drawn.ravel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(z**power) - moment) < 5 * np.sqrt(variance / z.size)
    for bound, share in ((2, 0.045500), (3, 0.0026998), (4, 6.334e-5)):
        assert abs(np.mean(np.abs(z) > bound) - share) < 5 * np.sqrt(share / z.size)


@pytest.mark.parametrize("most", [3.0, 300.0, 25_000.0])
def test_sines_are_exact_to_float32_and_differentiate_to_cosines(most):
    q = np.linspace(-most, most, 100_001, dtype=np.float32)
    np.testing.assert_allclose(jax.jit(sines.sin)(q), np.sin(q.astype(np.float64)), atol=3e-7, rtol=0)
    slope = jax.jit(jax.vmap(jax.grad(sines.sin)))(q)
    np.testing.assert_allclose(slope, np.cos(q.astype(np.float64)), atol=3e-7, rtol=0)


def test_no_angle_leaves_the_range_of_a_sine():
    q = np.float32([1e6, -1e12, 1e30, np.inf, np.nan])
    s = np.asarray(jax.jit(sines.sin)(q))
    assert np.all(np.abs(s[:3]) <= 1) and np.all(np.isnan(s[3:]))


# --- products of a crossbar -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 3.7])
def test_a_product_with_codes_is_exact_to_16_bits_of_the_largest_conductance(scale):
    rng = np.random.default_rng(0)
    G, k = np.float32(scale * rng.uniform(-1, 1, (300, 20))), rng.integers(-63, 64, (8, 300)).astype(np.int32)
    G.flat[0], G.flat[1] = scale, -scale
    v = jax.jit(jax.vmap(lambda k: product(k, *whole(G))))(k)
    exact = k @ G.astype(np.float64)
    # half a unit for each cell, at most 63 times, and float32 of the sum
    bound = 63 * 300 * scale / (127 * 0x101) / 2 + 1e-6 * np.abs(exact).max()
    assert np.abs(v - exact).max() <= bound
    alone = np.stack([jax.jit(lambda k: product(k, *whole(G)))(row) for row in k])
    assert np.array_equal(alone, v)  # whole numbers: the same in any order


def test_a_variance_is_right_to_three_thousandths():
    rng = np.random.default_rng(0)
    s2, k = rng.uniform(0, 1e-3, (300, 20)).astype(np.float32), rng.integers(-63, 64, (8, 300)).astype(np.int32)
    got = jax.jit(jax.vmap(lambda k: squares(k, s2.astype(jnp.bfloat16))))(k)
    np.testing.assert_allclose(got, (k**2) @ s2.astype(np.float64), rtol=3e-3)


# --- batches and writes -----------------------------------------------------------------------------------------------

MODELS = [Crossbar(4, 3, mismatch=0.1, stuck_off=0.1, failures_per_s=0.5), Oscillators(4, 3, mismatch=0.1)]


@pytest.mark.parametrize("model", MODELS)
def test_a_sample_has_the_same_noise_however_the_batch_is_cut(bench, inputs, model):
    params, x = model.init(KEY), inputs(1, 8, 4)
    b = bench(model)
    v = np.asarray(b.simulated.execute(b.request(params, x, [HOME])).v)
    parts = []
    for lo, hi in ((0, 3), (3, 8)):
        b = bench(model)
        parts.append(b.simulated.execute(b.request(params, x[:, lo:hi], [HOME], first_sample=lo)).v)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), v, atol=1e-6)


def one_write(b, params, x, version, request):
    """A request without directions, as of an unperturbed step or an evaluation."""
    return replace(b.request(params, x, [version], [request]), delta=None)


@pytest.mark.parametrize("model", MODELS)
def test_cells_that_were_kept_are_those_that_would_be_written_again(bench, inputs, model):
    params, x = jax.tree.map(jnp.asarray, model.init(KEY)), inputs(1, 5, 4)
    b = bench(model)
    for step, version in enumerate([HOME, HOME, (1, 0, 0), HOME]):
        for repeat in range(2):
            request = one_write(b, params, x, version, (0, step, 0, repeat))
            kept = b.simulated.execute(request).v
            fresh = bench(model).simulated.execute(request).v
            assert np.array_equal(kept, fresh)


@pytest.mark.parametrize("model", MODELS)
def test_other_parameters_of_the_same_name_are_not_mistaken_for_those_kept(bench, inputs, model):
    params, x = jax.tree.map(jnp.asarray, model.init(KEY)), inputs(1, 5, 4)
    moved = jax.tree.map(lambda p: 0.5 * p, params)
    in_place = jax.tree.map(np.array, params)
    b = bench(model)
    name = (0, 0, 0, 0)
    first = b.simulated.execute(one_write(b, params, x, HOME, name)).v
    other = b.simulated.execute(one_write(b, moved, x, HOME, name)).v
    assert np.abs(np.asarray(first) - np.asarray(other)).max() > 1e-3
    b.simulated.execute(one_write(b, in_place, x, HOME, name))
    for leaf in jax.tree.leaves(in_place["device"]):
        leaf *= 0.5  # an array that can change is never relied on
    b_again = one_write(b, in_place, x, HOME, name)
    fresh = bench(model).simulated.execute(replace(b_again, params=moved["device"])).v
    assert np.array_equal(b.simulated.execute(b_again).v, fresh)


@pytest.mark.parametrize("model", MODELS)
def test_parameters_that_were_refused_are_refused_again(bench, inputs, model):
    params, x = jax.tree.map(lambda p: 100.0 * jnp.ones_like(p), model.init(KEY)), inputs(1, 5, 4)
    b = bench(model)
    for _ in range(2):
        with pytest.raises(Refused):
            b.simulated.execute(one_write(b, params, x, HOME, (0, 0, 0, 0)))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_rows_one_after_the_other_are_those_at_once(bench, inputs, model, monkeypatch, shared):
    params, x = model.init(KEY), inputs(1 if shared else 4, 5, 4)
    request = bench(model).request(params, x, [(0, 1, r) for r in range(4)], scale=(0.02, -0.02, 0.05, -0.05))
    at_once = bench(model).simulated.execute(request).v
    simulated._measure.clear_cache()
    monkeypatch.setattr(simulated, "LARGE", 0)
    in_turn = bench(model).simulated.execute(request).v
    simulated._measure.clear_cache()
    np.testing.assert_allclose(in_turn, at_once, atol=1e-5)

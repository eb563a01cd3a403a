"""The acoustic cavity: its error against measured pairs, its noise, and what is assumed of other chips."""

import os
import runpy
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from physics import twin
from physics.contracts import At
from physics.substrates import acoustic
from physics.substrates.acoustic import Acoustic, Chip, surrogate

PNN_DATA = os.environ.get("PNN_DATA", "")
needs_data = pytest.mark.skipif(not PNN_DATA, reason="needs PNN_DATA: the folder of acoustic-pnn/ and others")
ROOT = Path(__file__).parents[2]
FILE = Path(acoustic.__file__).with_name("acoustic.npz")
CAVITY = Acoustic(20, 20)
NOW = At(np.float32(0), np.float32(0))
KEY = jax.random.key(7)

answer = partial(jax.jit, static_argnums=0)(lambda model, x: twin.respond(model, {}, x))
of_chip = partial(jax.jit, static_argnums=0)(lambda model, chip, x: model.respond(chip, (), x, None, NOW))
bank = partial(jax.jit, static_argnums=0)(lambda model, keys: jax.vmap(model.fabricate)(keys))
noisy = partial(jax.jit, static_argnums=0)(
    lambda model, x, keys: jax.vmap(lambda k: model.respond(model.nominal(), (), x, k, NOW))(keys)
)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).uniform(0, 1, (6, 20)).astype(np.float32)


@pytest.fixture(scope="module")
def pairs():
    with np.load(Path(PNN_DATA) / "acoustic-pnn" / "acoustic_io.npz") as archive:
        return archive["x"], archive["y"].astype(np.float64)


# --- the fit ----------------------------------------------------------------------------------------------------------


def test_the_twin_is_the_formula_with_what_ships(x):
    Q, e, _ = (a.astype(np.float64) for a in surrogate())
    z = np.c_[np.ones(len(x)), x.astype(np.float64)]
    q = np.array([[row @ Q[:, :, j] @ row for j in range(20)] for row in z])
    np.testing.assert_allclose(answer(CAVITY, x), np.sqrt((q + np.sqrt(q**2 + e**2)) / 2), atol=2e-5)
    assert surrogate() is surrogate(), "read once"


@needs_data
def test_what_ships_is_what_the_tool_fits():
    tool = runpy.run_path(str(ROOT / "tools" / "fit_acoustic.py"))
    for ours, fitted in zip(surrogate(), tool["fit"](*tool["pairs"](Path(PNN_DATA))), strict=True):
        np.testing.assert_allclose(ours, fitted, rtol=1e-4, atol=1e-6)


@needs_data
@pytest.mark.parametrize(
    ("rows", "explained", "rmse"),
    [
        (slice(0, 9000), 98.87, 0.0178),
        (slice(9000, 9300), 98.68, 0.0195),
        (slice(9300, 10_000), 98.91, 0.0180),
    ],
    ids=["train", "validation", "held back"],
)
def test_it_explains_as_much_as_is_stated(pairs, rows, explained, rmse):
    x, y = pairs[0][rows], pairs[1][rows]
    r = y - answer(CAVITY, x)
    assert len(r) == rows.stop - rows.start
    assert 100 * (1 - np.sum(r**2) / np.sum((y - y.mean(axis=0)) ** 2)) == pytest.approx(explained, abs=0.01)
    assert np.sqrt(np.mean(r**2)) == pytest.approx(rmse, abs=1e-4)


@needs_data
def test_noise_is_as_large_as_what_the_fit_leaves_of_pairs_that_it_never_saw(pairs):
    x, y = pairs[0][9300:], pairs[1][9300:]
    left = np.sqrt(np.mean((y - answer(CAVITY, x)) ** 2, axis=0))
    size = np.sqrt(np.sum(surrogate().L.astype(np.float64) ** 2, axis=1))
    assert 0.8 < np.sqrt(np.mean(left**2) / np.mean(size**2)) < 1.25
    assert np.all((left / size > 0.6) & (left / size < 1.6)), left / size


def test_the_file_is_small_and_its_licence_lies_beside_it():
    assert FILE.stat().st_size < 40_000
    with np.load(FILE, allow_pickle=False) as archive:
        assert all(archive[name].dtype == np.float32 for name in archive.files)
        assert sum(archive[name].size for name in archive.files) == 21 * 21 * 20 + 20 + 400, "coefficients, no pairs"
    text = FILE.with_name("LICENSE-acoustic.md").read_text()
    assert "MIT License" in text and "Copyright (c) 2023 Ali Momeni" in text


# --- the model --------------------------------------------------------------------------------------------------------


def test_sources_that_are_not_driven_rest_at_zero(x):
    padded = np.zeros_like(x)
    padded[:, :12] = x[:, :12]
    np.testing.assert_allclose(answer(Acoustic(12, 20), x[:, :12]), answer(CAVITY, padded), atol=1e-6)
    assert np.abs(answer(CAVITY, padded) - answer(CAVITY, x)).max() > 0.1


@pytest.mark.parametrize(("n_in", "n_out"), [(21, 20), (20, 10), (20, 21), (64, 32)])
def test_a_cavity_of_another_size_does_not_exist(n_in, n_out):
    told = f"the cavity takes 1 to 20 inputs and gives 20 outputs, not {n_in} and {n_out}"
    with pytest.raises(ValueError, match=told):
        Acoustic(n_in, n_out)


def test_nothing_in_it_can_be_trained():
    assert CAVITY.ports.params == {} and CAVITY.init(KEY) == {"device": {}, "digital": {}}


@pytest.mark.parametrize("noise", [1.0, 0.5])
def test_noise_has_the_covariance_of_the_residuals(x, noise):
    n = 20_000
    v = np.asarray(noisy(Acoustic(20, 20, noise=noise), x[0], jax.random.split(KEY, n)), np.float64)
    want = noise * surrogate().L.astype(np.float64)
    whitened = np.linalg.solve(want, (v - answer(CAVITY, x[:1])).T)
    np.testing.assert_allclose(whitened.mean(axis=1), 0, atol=5 / np.sqrt(n))
    np.testing.assert_allclose(np.cov(whitened), np.eye(20), atol=5 * np.sqrt(2 / n))


def test_without_noise_a_reading_is_the_answer_of_the_twin(x):
    v = noisy(Acoustic(20, 20, noise=0.0), x[0], jax.random.split(KEY, 3))
    np.testing.assert_allclose(v, np.repeat(answer(CAVITY, x[:1]), 3, axis=0), atol=1e-6)


def test_gains_have_the_stated_spread_and_act_on_sources_and_readings(x):
    chips = bank(Acoustic(20, 20, mismatch=0.1), jax.random.split(KEY, 1000))
    for gains in map(np.asarray, chips):
        assert np.std(gains) == pytest.approx(0.1, rel=5 / np.sqrt(2 * gains.size))
        assert np.mean(gains) == pytest.approx(1.0, abs=5 * 0.1 / np.sqrt(gains.size))
    source, reading = (np.linspace(0.5, 0.9, 20, dtype=np.float32) for _ in range(2))
    v = of_chip(CAVITY, Chip(source, reading), x[0])
    np.testing.assert_allclose(v, reading * answer(CAVITY, source * x[:1])[0], atol=1e-5)

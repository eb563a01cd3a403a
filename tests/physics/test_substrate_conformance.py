"""What every substrate must be, ours and those of third parties: a new registry line is tested without a new test."""

from dataclasses import fields, is_dataclass
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from physics import registry, twin
from physics.contracts import EXACT, MEASURE, TILE, TWIN, At

CHIPS, BATCH, SIZES = 2, 3, (4, 3)
KEY = jax.random.key(11)
NOW = At(np.float32(1.0), np.float32(0.5))


@partial(jax.jit, static_argnums=(0, 1))
def made(model, equal, keys):
    """First parameters, a bank of chips, and one chip of the model without mismatch."""
    return model.init(keys[0]), jax.vmap(model.fabricate)(keys), equal.fabricate(keys[0])


@partial(jax.jit, static_argnums=0)
def measured(model, params, chips, x, keys):
    """Readings of a bank, [chips, batch, n], and what is decoded: jit and vmap of all of it."""

    def one(chip, key):
        cells = model.program(chip, params["device"], key)
        v = jax.vmap(lambda x, k: model.respond(chip, cells, x, k, NOW))(x, jax.random.split(key, BATCH))
        return v, jax.vmap(lambda v: model.decode(params["digital"], v))(v)

    return jax.vmap(one)(chips, keys)


@partial(jax.jit, static_argnums=0)
def without_noise(model, params, chip, x):
    """What one chip answers without cycle noise and without converters."""
    cells = model.program(chip, params["device"], None)
    return jax.vmap(lambda x: model.respond(chip, cells, x, None, twin.FRESH))(x)


pulled = partial(jax.jit, static_argnums=0)(twin.vjp)


def slope(model, params, x, cot, along, along_x, step):
    """Derivative of <cot, h> of the nominal chip along a direction, by finite differences."""
    total = 0.0
    for sign in (1, -1):
        p = jax.tree.map(lambda p, d, s=sign: p + s * step * d, params, along)
        v = without_noise(model, p, model.nominal(), x + sign * step * along_x)
        h = np.stack([model.decode(p["digital"], row) for row in v]).astype(np.float64)
        total += sign * float(np.sum(cot * h)) / (2 * step)
    return total


def option(cls, name):
    """Whether a substrate has this field."""
    return name in cls.__dataclass_fields__


@pytest.fixture(scope="module", params=registry.names())
def case(request):
    cls = registry.load(request.param)
    n_in, n_out = getattr(cls, "sizes", SIZES)
    model = cls(n_in=n_in, n_out=n_out, decode_as="tanh", **({"mismatch": 0.1} if option(cls, "mismatch") else {}))
    low, high = max(model.ports.inputs.low, -1.0), min(model.ports.inputs.high, 1.0)
    x = np.random.default_rng(0).uniform(low, high, (BATCH, n_in)).astype(np.float32)
    keys = jax.random.split(KEY, CHIPS)
    none = {"mismatch": 0.0} if option(cls, "mismatch") else {}
    equal = cls(n_in=n_in, n_out=n_out, decode_as="tanh", **none)
    params, chips, clean = made(model, equal, keys)
    noisy, h = measured(model, params, chips, x, keys)
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], chips) for i in range(CHIPS)]
    return SimpleNamespace(
        cls=cls,
        n_in=n_in,
        n_out=n_out,
        model=model,
        x=x,
        params=params,
        chips=each,
        equal=equal,
        clean=clean,
        noisy=noisy,
        h=h,
        again=measured(model, params, chips, x, keys)[0],
        other=measured(model, params, chips, x, keys[::-1])[0],
        smooth=np.stack([without_noise(model, params, chip, x) for chip in each]),
    )


def same(a, b):
    equal = partial(np.array_equal, equal_nan=True)
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(jax.tree.map(equal, a, b))


def finite(tree):
    return all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(tree))


def test_a_model_is_a_frozen_value(case):
    twin_brother = case.cls(**{f.name: getattr(case.model, f.name) for f in fields(case.model)})
    assert is_dataclass(case.model) and case.model.__dataclass_params__.frozen
    assert twin_brother == case.model and hash(twin_brother) == hash(case.model)
    assert case.cls(n_in=case.n_in - 1, n_out=case.n_out) != case.cls(n_in=case.n_in, n_out=case.n_out)


def test_it_can_be_measured(case):
    assert MEASURE == "measure" and MEASURE in case.model.capabilities
    assert isinstance(case.model.capabilities, frozenset) and all(isinstance(c, str) for c in case.model.capabilities)


def test_ports_name_every_device_parameter_with_ordered_limits(case):
    ports = case.model.ports
    assert set(ports.params) == set(case.params["device"])
    for port in (*ports.params.values(), ports.inputs, ports.outputs):
        assert port.low < port.high and port.low <= port.rest <= port.high and port.unit
        assert port.bits is None or port.bits > 0


def test_first_parameters_are_legal(case):
    assert set(case.params) == {"device", "digital"}
    for name, values in case.params["device"].items():
        assert case.model.ports.params[name].outside(values) is None
    assert finite(case.params)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(case.params))


def test_shapes(case):
    # exact arithmetic measures nothing: what it "measures" is its input, of n_in
    width = case.n_in if EXACT in case.model.capabilities else case.n_out
    assert case.noisy.shape == case.smooth.shape == (CHIPS, BATCH, width)
    assert case.h.shape == (CHIPS, BATCH, case.n_out)
    assert case.noisy.dtype == case.h.dtype == np.float32


def test_readings_are_finite_and_within_the_output_port(case):
    assert finite((case.noisy, case.smooth, case.h))
    assert case.model.ports.outputs.outside(case.noisy) is None


def test_readings_are_a_function_of_their_key(case):
    assert np.array_equal(case.noisy, case.again)
    if EXACT not in case.model.capabilities:
        assert np.abs(case.noisy - case.other).max() > 0


def test_two_chips_differ_where_there_is_mismatch_and_only_there(case):
    one, other = case.chips
    if option(case.cls, "mismatch"):
        assert not same(one, other)
        assert np.all(np.abs(case.smooth[0] - case.smooth[1]) > 0)
    else:
        assert same(one, other)


def test_the_nominal_chip_has_no_mismatch(case):
    """It does not depend on how unequal chips are, and a chip without mismatch answers as it does."""
    nominal = case.model.nominal()
    assert same(nominal, case.equal.nominal())
    fabricated = case.chips[0]
    assert jax.tree.structure(fabricated) == jax.tree.structure(nominal)
    assert [np.shape(a) for a in jax.tree.leaves(fabricated)] == [np.shape(a) for a in jax.tree.leaves(nominal)]
    v = without_noise(case.model, case.params, nominal, case.x)
    np.testing.assert_allclose(without_noise(case.model, case.params, case.clean, case.x), v, atol=1e-6)
    if option(case.cls, "mismatch"):
        assert np.abs(case.smooth - v).max() > 1e-4


def test_the_gradient_of_the_twin_is_finite_and_the_slope_of_its_answer(case):
    if TWIN not in case.model.capabilities:
        pytest.skip("offers no twin")
    rng = np.random.default_rng(1)
    cot = rng.normal(size=(BATCH, case.n_out)).astype(np.float32)
    v = without_noise(case.model, case.params, case.model.nominal(), case.x)
    gradient, cot_x = pulled(case.model, case.params, case.x, v, cot)
    assert finite((gradient, cot_x))
    assert jax.tree.map(np.shape, gradient) == jax.tree.map(np.shape, case.params) and cot_x.shape == case.x.shape
    along = jax.tree.map(lambda p: rng.choice([-1.0, 1.0], np.shape(p)).astype(np.float32), case.params)
    nowhere = jax.tree.map(np.zeros_like, along)
    in_params = sum(
        np.sum(np.asarray(g) * d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(along), strict=True)
    )
    along_x = rng.choice([-1.0, 1.0], case.x.shape).astype(np.float32)
    zero = np.zeros_like(case.x)
    directions = [(np.sum(cot_x * along_x), (nowhere, along_x))]
    if jax.tree.leaves(case.params):
        directions.append((in_params, (along, zero)))
    for ours, direction in directions:
        measured = slope(case.model, case.params, case.x, cot, *direction, step=2e-3)
        assert abs(measured) > 0.05 and ours == pytest.approx(measured, rel=5e-3, abs=1e-3)


def test_inputs_of_a_stage_that_can_be_tiled_add_up(case):
    if TILE not in case.model.capabilities:
        pytest.skip("cannot be tiled")
    x, y = case.x / 2, case.x[::-1] / 2
    v, w, both, zero = (
        without_noise(case.model, case.params, case.model.nominal(), x) for x in (x, y, x + y, np.zeros_like(x))
    )
    np.testing.assert_allclose(v + w, both + zero, atol=1e-5)


def test_costs_are_unknown_or_not_negative(case):
    costs = case.model.costs
    assert all(cost is None or cost >= 0 for cost in (costs.write_s, costs.pass_s, costs.pass_J))


def test_names_are_listed_without_an_import_and_unknown_ones_raise():
    assert {"crossbar", "oscillators", "acoustic", "digital"} <= set(registry.names())
    with pytest.raises(KeyError):
        registry.load("abacus")

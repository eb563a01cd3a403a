from functools import partial

import jax
import numpy as np
import pytest

from physics import twin
from physics.contracts import Costs
from physics.substrates.digital import Digital

output = partial(jax.jit, static_argnums=0)(
    lambda model, digital, x: jax.vmap(lambda v: model.decode(digital, v))(twin.respond(model, {}, x))
)
RELU = {"none": lambda v: v, "relu": lambda v: np.maximum(v, 0), "softsign": lambda v: v / (1 + np.abs(v))}


@pytest.mark.parametrize(("activation", "bias"), [("none", True), ("relu", True), ("softsign", False)])
def test_it_is_a_matrix_product_with_a_bias_and_an_activation(inputs, activation, bias):
    model = Digital(4, 3, decode_as=activation, bias=bias)
    W, b, x = inputs(4, 3), inputs(3), inputs(5, 4)
    digital = {"kernel": W, "bias": b} if bias else {"kernel": W}
    np.testing.assert_allclose(output(model, digital, x), RELU[activation](x @ W + b * bias), rtol=1e-5, atol=1e-6)


def test_its_parameters_are_digital_and_none_is_ever_written():
    params = Digital(4, 3).init(jax.random.key(0))
    assert params["device"] == {} and Digital(4, 3).ports.params == {}
    assert params["digital"]["kernel"].shape == (4, 3) and params["digital"]["bias"].shape == (3,)


def test_it_costs_nothing(bench, inputs):
    """Zero, not unknown: an unknown cost would make the whole network's unknown."""
    model = Digital(4, 3)
    assert model.costs == Costs(write_s=0.0, pass_s=0.0, pass_J=0.0)
    b = bench(model)
    request = b.request({"device": {}, "digital": {}}, inputs(1, 5, 4), [(0, 0, 0)])
    for device in (b.simulated, b.driven):
        reading = device.execute(request)
        assert np.array_equal(np.asarray(reading.v)[0], request.x[0])  # exact
        assert (reading.writes, reading.passes, reading.calls) == (0, 5, 1)
        assert reading.seconds == 0.0 and reading.joules == 0.0
    assert b.driver.written == []

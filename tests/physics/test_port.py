import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from physics.contracts import Port

NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32)
LOW, HIGH = NUMBERS | st.just(-np.inf), NUMBERS | st.just(np.inf)
LIMITS = st.tuples(LOW, HIGH).map(sorted).map(tuple)
ANY = st.sampled_from([0.0, 1.0, np.nan, np.inf, -np.inf]) | st.floats(width=32)
VALUES = arrays(np.float32, array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=4), elements=ANY)


def excess(port, value):
    """By how much a value breaks the limits, as a person would say it: NaN is worst, a legal value does not at all."""
    if np.isnan(value):
        return np.inf
    if port.low <= value <= port.high:
        return 0.0
    return float(value) - port.high if value > port.high else port.low - float(value)


@given(LIMITS, VALUES)
def test_outside_is_none_exactly_if_every_value_is_legal(limits, values):
    port = Port("1", *limits)
    legal = all(port.low <= v <= port.high for v in values.ravel())  # NaN is not
    assert (port.outside(values) is None) == legal


@given(LIMITS, VALUES)
def test_outside_names_an_illegal_value_that_was_given_and_none_is_further_out(limits, values):
    port = Port("1", *limits)
    worst = port.outside(values)
    if worst is None:
        return
    assert any(np.float32(worst) == v or (np.isnan(worst) and np.isnan(v)) for v in values.ravel())
    assert excess(port, worst) > 0
    assert excess(port, worst) >= max(excess(port, v) for v in values.ravel()) * (1 - 1e-6)


@given(LIMITS, VALUES, st.randoms())
def test_legality_does_not_depend_on_the_order(limits, values, random):
    port = Port("1", *limits)
    shuffled = list(values.ravel())
    random.shuffle(shuffled)
    assert (port.outside(np.array(shuffled, np.float32)) is None) == (port.outside(values) is None)


@pytest.mark.parametrize("value", [-1.0, 1.0, 0.0])
def test_the_limits_themselves_are_legal(value):
    assert Port("V", -1.0, 1.0).outside(value) is None


def test_nan_is_out_even_where_nothing_is_limited():
    number = Port("1", -np.inf, np.inf)
    assert np.isnan(number.outside(np.array([1.0, np.nan, 2.0])))
    assert np.isnan(number.outside(np.array([np.inf, np.nan])))  # the infinite one is legal here
    assert number.outside(np.array([np.inf, -np.inf, 3.0])) is None


def test_nothing_is_legal():
    assert Port("1", 0.0, 1.0).outside(np.zeros((0, 3))) is None

"""A chip fused in one call and the same chip behind a driver are one device: outputs, account, refusals."""

import time

import jax
import numpy as np
import pytest

from orchestrator.core.keys import NOISE_KEYS
from physics import simulated
from physics.contracts import Refused, Stale
from physics.driven import DrivenDevice
from physics.drivers.simulator import SimulatorDriver
from physics.simulated import SimulatedDevice
from physics.substrates.crossbar import ADC_BITS, ADC_RANGE, Crossbar
from physics.substrates.digital import Digital
from physics.substrates.oscillators import Oscillators

# A loop and a fused call differ in the last bits of float32: the converter of the crossbar may then take the next code.
CASES = {
    "crossbar": (
        Crossbar(4, 3, mismatch=0.15, stuck_off=0.05, stuck_full=0.02, failures_per_s=0.5, write_s=0.1),
        2 * ADC_RANGE / (2**ADC_BITS - 2) * 1.001,
    ),
    "oscillators": (Oscillators(4, 3, mismatch=0.2, stretch=0.1), 1e-5),
    "digital": (Digital(4, 3), 0.0),
}
OSCILLATORS = CASES["oscillators"][0]
# versions: unperturbed, and two others; every request here has four rows, so that little is compiled
HOME, A, B = (0, 0, 0), (0, 1, 0), (0, 1, 1)
PERTURBED = [(0, 1, r) for r in range(4)]


@pytest.fixture(scope="module")
def first():
    """First parameters of a model, made once."""
    made = {}

    def params(model):
        if model not in made:
            made[model] = jax.jit(model.init)(jax.random.key(0))
        return made[model]

    return params


def four(step):
    """Names of four readings."""
    return [(0, step, 0, r) for r in range(4)]


@pytest.mark.parametrize("name", CASES)
def test_fused_and_driven_agree_in_outputs_and_account(bench, inputs, first, name):
    model, bound = CASES[name]
    b, params, x = bench(model), first(model), inputs(3, 3, 4)
    physical = bool(model.ports.params)
    requests = [  # (request, writes that it takes on a physical chip)
        (b.request(params, x[:1], [HOME] * 4, four(0)), 1),
        (b.request(params, x[1:2], [HOME] * 4, four(1), first_sample=7), 0),  # nothing new to write
        (b.request(params, x[:1], PERTURBED, four(2), scale=(0.02, -0.02, 0.05, -0.05)), 4),
        (b.request(params, x[2:], [HOME] * 4, four(3), samples=2), 1),  # the last input only pads
    ]
    outputs = []
    for request, writes in requests:
        fused, driven = b.simulated.execute(request), b.driven.execute(request)
        v, w = np.asarray(fused.v), np.asarray(driven.v)
        assert v.shape == w.shape
        real = slice(0, request.samples)
        np.testing.assert_allclose(v[:, real], w[:, real], atol=bound, rtol=0)
        assert np.median(np.abs(v[:, real] - w[:, real])) < 1e-5  # a next code is the exception
        assert fused.writes == driven.writes == (writes if physical else 0)
        assert fused.passes == driven.passes == 4 * request.samples
        assert fused.calls == driven.calls == 4
        for ours, theirs in ((fused.seconds, driven.seconds), (fused.joules, driven.joules)):
            assert (ours is None) == (theirs is None)
            assert ours is None or ours == pytest.approx(theirs, rel=1e-9)
        assert fused.versions == driven.versions == request.versions
        assert fused.requests == driven.requests == request.requests
        assert fused.source == driven.source == "modelled"
        outputs.append(v)
    if name == "crossbar":
        assert fused.seconds == pytest.approx(0.1 + 8 * 250e-9)
        assert fused.joules == pytest.approx(8 * model.costs.pass_J)
    if physical:
        assert len({row.tobytes() for row in outputs[2]}) == 4  # every row had parameters of its own
        assert np.abs(outputs[2] - outputs[0]).max() > 0.01


def test_only_a_change_of_version_is_a_write(bench, inputs, first):
    b = bench(OSCILLATORS)
    request = b.request(first(OSCILLATORS), inputs(1, 3, 4), [A, A, B, A])
    assert b.simulated.execute(request).writes == b.driven.execute(request).writes == 3
    assert b.driver.written == [A, B, A]
    request = b.request(first(OSCILLATORS), inputs(1, 3, 4), [A] * 4)
    assert b.simulated.execute(request).writes == b.driven.execute(request).writes == 0


def test_a_chip_made_again_from_its_key_is_the_same_chip(bench, inputs, first):
    one, clone, other = bench(OSCILLATORS), bench(OSCILLATORS), bench(OSCILLATORS, chip=2)
    request = one.request(first(OSCILLATORS), inputs(1, 3, 4), [A, A, B, A])
    v, same, unlike = (np.asarray(x.simulated.execute(request).v) for x in (one, clone, other))
    assert np.array_equal(v, same)
    assert np.all(v != unlike)


# --- refusals ---------------------------------------------------------------------------------------------------------


def with_value(tree, name, value):
    """The parameters with one entry replaced."""
    leaf = np.array(tree["device"][name], np.float32)
    leaf.flat[1] = value
    return {**tree, "device": {**tree["device"], name: leaf}}


@pytest.mark.parametrize("device", ["simulated", "driven"])
@pytest.mark.parametrize(
    ("name", "leaf", "value", "told"),
    [
        ("crossbar", "w", 1.5, "w = 1.5 is outside -1 to 1"),
        ("crossbar", "w", -1.001, "w = -1.001 is outside -1 to 1"),
        ("crossbar", "w", np.nan, "w = nan is outside -1 to 1"),
        ("oscillators", "e", 11.0, "e = 11 is outside -10 to 10"),
        ("oscillators", "J", -np.inf, "J = -inf is outside -10 to 10"),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name_and_nothing_is_written(
    bench, inputs, first, device, name, leaf, value, told
):
    model, _ = CASES[name]
    b = bench(model)
    request = b.request(with_value(first(model), leaf, value), inputs(1, 3, 4), [A] * 4)
    with pytest.raises(Refused) as refused:
        getattr(b, device).execute(request)
    assert b.driver.written == []
    assert told in str(refused.value)
    assert "Nothing was written" in str(refused.value)


@pytest.mark.parametrize("device", ["simulated", "driven"])
@pytest.mark.parametrize("wrong", ["too low", "too high", "not a number"])
@pytest.mark.parametrize("name", CASES)
def test_an_input_out_of_range_is_refused_by_name_and_nothing_is_written(bench, inputs, first, device, wrong, name):
    model, _ = CASES[name]
    port = model.ports.inputs
    value = {"too low": port.low - 0.1, "too high": port.high + 0.1, "not a number": np.nan}[wrong]
    if np.isinf(value):
        return  # nothing is too large for a digital stage
    b, x = bench(model), inputs(1, 3, 4)
    x[0, 2, 1] = value
    with pytest.raises(Refused) as refused:
        getattr(b, device).execute(b.request(first(model), x, [A] * 4))
    assert b.driver.written == []
    assert f"input = {np.float32(value):.6g} is outside {port.low:g} to {port.high:g}" in str(refused.value)


@pytest.mark.parametrize("device", ["simulated", "driven"])
def test_one_bad_row_refuses_all_rows_before_the_first_write(bench, inputs, first, device):
    b = bench(OSCILLATORS)
    request = b.request(first(OSCILLATORS), inputs(1, 3, 4), PERTURBED, scale=(0.1, -0.1, 0.1, 30.0))
    with pytest.raises(Refused, match=r"= -?[0-9.]+ is outside -10 to 10"):
        getattr(b, device).execute(request)
    assert b.driver.written == []


def test_a_refused_device_goes_on_with_what_it_held(bench, inputs, first):
    b, params = bench(OSCILLATORS), first(OSCILLATORS)
    good = b.request(params, inputs(1, 3, 4), [A] * 4)
    before = b.driven.execute(good)
    with pytest.raises(Refused):
        b.driven.execute(b.request(with_value(params, "e", 11.0), inputs(1, 3, 4), [B] * 4))
    after = b.driven.execute(good)
    assert after.writes == 0 and np.array_equal(before.v, after.v)


# --- the driver -------------------------------------------------------------------------------------------------------


def test_a_driver_answers_only_for_the_version_that_it_holds(bench, first):
    driver = bench(OSCILLATORS).driver
    x, name = np.zeros(4, np.float32), ((0, 0, 0, 0), 0)
    with pytest.raises(Stale):  # opened and checked, never written
        driver.check(first(OSCILLATORS)["device"], x)
        driver.measure(x, version=HOME, request=name)
    driver.write(first(OSCILLATORS)["device"], A)
    driver.measure(x, version=A, request=name)
    with pytest.raises(Stale, match=r"asked to measure \(0, 1, 1\), holds \(0, 1, 0\)"):
        driver.measure(x, version=B, request=name)
    driver.safe()
    driver.safe()
    with pytest.raises(Stale):
        driver.measure(x, version=A, request=name)


class Forgetful(SimulatorDriver):
    """Answers for another write or another request than the one asked for."""

    wrong = ""

    def write(self, device, version):
        held, took = super().write(device, version)
        return (held._replace(version=B), took) if self.wrong == "write" else (held, took)

    def measure(self, x, **asked):
        sample = super().measure(x, **asked)
        if self.wrong == "request":
            return sample._replace(request=((9, 9, 9, 9), 0))
        return sample._replace(version=B) if self.wrong == "version" else sample


@pytest.mark.parametrize("wrong", ["write", "request", "version"])
def test_a_reply_to_another_question_is_stale_and_the_device_can_be_asked_again(bench, inputs, first, wrong):
    b = bench(OSCILLATORS)
    driver = Forgetful(OSCILLATORS, *b.keys, NOISE_KEYS)
    device = DrivenDevice(driver)
    request = b.request(first(OSCILLATORS), inputs(1, 3, 4), [A] * 4)
    driver.wrong = wrong
    with pytest.raises(Stale):
        device.execute(request)
    driver.wrong = ""
    reading = device.execute(request)
    assert reading.writes == (1 if wrong == "write" else 0)  # after a wrong write it is not known what it holds
    np.testing.assert_allclose(reading.v, b.simulated.execute(request).v, atol=1e-5)


def test_held_tells_what_was_asked_and_nothing_of_the_chip(bench, first):
    model, _ = CASES["crossbar"]
    device = first(model)["device"]
    (one, took), (other, _) = (bench(model, chip=c).driver.write(device, A) for c in (1, 2))
    assert one.version == other.version == A and took == 0.1
    assert jax.tree.all(jax.tree.map(np.array_equal, one.codes, other.codes))
    assert np.array_equal(one.codes["w"], device["w"])  # a continuous port


def test_held_is_in_the_codes_of_the_converter(bench, stopwatch):
    held, _ = bench(stopwatch(bits=8)).driver.write({"w": np.float32([-1.0, 1.0, 0.5, 0.001])}, A)
    assert held.codes["w"].dtype == np.int32
    assert held.codes["w"].tolist() == [0, 255, 191, 128]


def test_closing_makes_the_instrument_safe(bench, inputs, first):
    b = bench(OSCILLATORS)
    b.driven.execute(b.request(first(OSCILLATORS), inputs(1, 3, 4), [A] * 4))
    b.driven.close()
    at_rest = SimulatorDriver(OSCILLATORS, *b.keys, NOISE_KEYS)
    assert jax.tree.all(jax.tree.map(np.array_equal, b.driver._cells, at_rest._cells))
    b.driven.close()


# --- time -------------------------------------------------------------------------------------------------------------


def test_seconds_are_unknown_while_the_time_of_a_write_is(bench, inputs, stopwatch):
    model = stopwatch(write_s=None)
    b, params = bench(model), model.init(None)
    for known in (False, True):  # the second request finds the version there
        request = b.request(params, inputs(1, 3, 4), [A] * 4)
        for device in (b.simulated, b.driven):
            assert device.execute(request).seconds == (4 * 3 * 0.5 if known else None)


def test_a_write_and_every_pass_take_their_time_on_one_clock(bench, inputs, stopwatch):
    """The fused chip is told the time of each row, the driver keeps its own clock: one history."""
    model = stopwatch(write_s=10.0)
    b, params = bench(model), model.init(None)
    x = inputs(1, 3, 4)
    for versions, now in (([A, A, B, A], (10, 11.5, 23, 34.5)), ([A] * 4, (36, 37.5, 39, 40.5))):
        request = b.request(params, x, versions)
        fused, driven = b.simulated.execute(request), b.driven.execute(request)
        assert fused.seconds == driven.seconds == fused.writes * 10 + 4 * 3 * 0.5
        v, w = np.asarray(fused.v), np.asarray(driven.v)
        np.testing.assert_allclose(v[:, 0], w[:, 0], rtol=1e-6)  # samples of one row count as simultaneous when fused
        np.testing.assert_allclose(v[:, 0, 1], now)
    np.testing.assert_allclose(v[:, 0, 2], [1.5, 3.0, 4.5, 6.0])  # since the write at 34.5


def test_time_is_counted_and_slept_only_in_real_time(bench, inputs, stopwatch, monkeypatch):
    model = stopwatch(write_s=0.02, pass_s=1e-3)
    b = bench(model)
    request = b.request(model.init(None), inputs(1, 3, 4), [A] * 4)
    real = SimulatedDevice(model, *b.keys, NOISE_KEYS, real_time=True)
    start = time.monotonic()
    assert real.execute(request).seconds == pytest.approx(0.032)
    assert time.monotonic() - start >= 0.032
    slept = []
    monkeypatch.setattr(simulated.time, "sleep", slept.append)
    assert b.simulated.execute(request).seconds == pytest.approx(0.032) and slept == []
    assert real.execute(request).seconds == pytest.approx(0.032) and slept == [pytest.approx(0.032)]

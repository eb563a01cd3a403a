"""A recorded instrument: recorded inputs get their recorded answers; others are refused, as is what does not fit."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from physics import twin
from physics.contracts import Fitting, Port, Ports, Refused, Request
from physics.driven import DrivenDevice
from physics.drivers.replay import Replay
from physics.hosted import Host, Instrument
from physics.substrates.acoustic import Acoustic

PNN_DATA = os.environ.get("PNN_DATA", "")
needs_data = pytest.mark.skipif(not PNN_DATA, reason="needs PNN_DATA: the folder of acoustic-pnn/ and others")
FITTING = Fitting(Ports({}, Port("1", 0.0, 1.0), Port("1", -np.inf, np.inf)), 4, 3, "chip 0.0.0")


@pytest.fixture
def record(tmp_path):
    """record(**changes) -> path of ten pairs; the pairs."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 1, (10, 4)).astype(np.float32), rng.normal(size=(10, 3)).astype(np.float32)

    def save(**changes):
        path = tmp_path / "pairs.npz"
        np.savez(path, **{"x": x, "y": y, **changes})
        return str(path)

    return save, x, y


def request(x, rows=1):
    """Rows of one batch, [rows, batch, n]."""
    names = tuple((0, 0, 0, r) for r in range(rows))
    none = np.zeros(0, np.float32)
    versions = ((0, 0, 0),) * rows
    return Request({}, x, versions, (), names, none, none, 0, x.shape[1], written={})


def test_recorded_inputs_get_their_recorded_answers(record):
    save, x, y = record
    device = DrivenDevice(Replay(FITTING, save()))
    order = [[3, 0, 9], [9, 9, 5]]
    reading = device.execute(request(x[order], rows=2))
    np.testing.assert_array_equal(reading.v, y[order])
    assert (reading.writes, reading.passes, reading.calls) == (0, 6, 2)
    assert reading.seconds is None and reading.joules is None, "nobody recorded them"


def test_another_input_is_refused_with_the_distance_of_the_nearest(record):
    save, x, _ = record
    device = DrivenDevice(Replay(FITTING, save()))
    other = x[6].copy()
    other[2] += np.float32(-0.25 if other[2] > 0.5 else 0.25)
    with pytest.raises(
        Refused, match=r"chip 0.0.0: .* not recorded: the nearest of 10 is pair 6, at a distance of 0.25"
    ):
        device.execute(request(other[None, None]))
    with pytest.raises(Refused, match="input = 1.5 is outside 0 to 1"):
        device.execute(request(np.full((1, 1, 4), 1.5, np.float32)))


def test_what_is_held_back_is_not_known(record):
    save, x, y = record
    device = DrivenDevice(Replay(FITTING, save(), first=4, pairs=3))
    np.testing.assert_array_equal(device.execute(request(x[None, 4:7])).v[0], y[4:7])
    for k in (0, 3, 7, 9):
        with pytest.raises(Refused, match=r"the nearest of 3 is pair [456],"):
            device.execute(request(x[None, k : k + 1]))
    last = DrivenDevice(Replay(FITTING, save(), first=9))
    np.testing.assert_array_equal(last.execute(request(x[None, 9:])).v[0], y[9:])


@pytest.mark.parametrize(
    ("changes", "options", "told"),
    [
        ({"y": np.zeros((9, 3))}, {}, r"expected an .npz archive .* found x float32 \[10, 4\] and y \[9, 3\]"),
        ({"x": np.zeros((10, 5), np.float32)}, {}, r"x, float32 \[pairs, 4\], .* found x float32 \[10, 5\]"),
        ({"x": np.zeros((10, 4))}, {}, "found x float64"),
        ({"x": np.float32(3)}, {}, r"found x float32 \[\]"),
        ({"x": np.array([{}])}, {}, "found ValueError"),
        ({}, {"first": 10}, "asked for the pairs 10 to 10, but there are 10"),
        ({}, {"first": 8, "pairs": 3}, "asked for the pairs 8 to 11, but there are 10"),
        ({}, {"file": "/none"}, "file = '/none': expected .* found FileNotFoundError"),
        ({}, {"file": ""}, "file = '': expected"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(record, changes, options, told):
    save, *_ = record
    with pytest.raises(Refused, match=told):
        DrivenDevice(Replay(FITTING, **{"file": save(**changes), **options}))


def test_a_stage_with_parameters_is_refused(record):
    save, *_ = record
    ports = FITTING.ports.__class__({"w": Port("1", -1.0, 1.0)}, FITTING.ports.inputs, FITTING.ports.outputs)
    with pytest.raises(Refused, match="a record is of one setting"):
        DrivenDevice(Replay(FITTING._replace(ports=ports), save()))


@pytest.fixture
def cavity():
    """A host with the measured pairs that the surrogate of the cavity was not fitted to; and those pairs."""
    file, model = Path(PNN_DATA) / "acoustic-pnn" / "acoustic_io.npz", Acoustic(20, 20)
    fitting = Fitting(model.ports, model.n_in, model.n_out, "cavity")
    host = Host([Instrument("replay", {"file": str(file), "first": 9300}, fitting)])
    with np.load(file) as archive:
        x = archive["x"]
    yield host, x
    host.close()


@needs_data
def test_the_surrogate_is_as_good_as_it_says_on_pairs_that_it_never_saw(cavity):
    """Through the driver, in the process of a host, as any instrument."""
    host, x = cavity
    held_back = x[None, 9300:]
    v = np.asarray(host.devices[0].execute(request(held_back)).v, np.float64)[0]
    assert v.shape == (700, 20)
    said = np.asarray(jax.jit(twin.respond, static_argnums=0)(Acoustic(20, 20), {}, held_back[0]), np.float64)
    explained = 1 - np.sum((v - said) ** 2) / np.sum((v - v.mean(axis=0)) ** 2)
    assert 100 * explained == pytest.approx(98.91, abs=0.01)
    with pytest.raises(Refused, match="the nearest of 700 is pair"):
        host.devices[0].execute(request(x[None, :1]))  # it was fitted to this one

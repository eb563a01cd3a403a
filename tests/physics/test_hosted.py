"""Instruments in a process of their own: no JAX there, rows in order, side by side, at rest whatever happens."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from physics.contracts import Disconnected, Fitting, Port, Ports, Refused, Request
from physics.driven import DrivenDevice
from physics.drivers.registry import DRIVERS
from physics.drivers.shared import Memory, View
from physics.drivers.timed import Timed
from physics.hosted import Host, Instrument

ROOT = Path(__file__).parents[2]
PORTS = Ports({"w": Port("1", -1.0, 1.0)}, Port("1", -1.0, 1.0), Port("1", -12.0, 12.0))
SPY = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from physics.drivers.timed import Timed

@dataclass
class Spy(Timed):
    log: str = ""
    fails_at: int = -1

    def note(self, what):
        with open(self.log, "a") as file:
            file.write(f"{self.fitting.serial} {what} {time.monotonic_ns()}\\n")

    def write(self, device, version):
        self.note(f"write:{version[2]}")
        if version[2] == self.fails_at:
            raise ValueError("the shutter jams")
        return super().write(device, version)

    def measure(self, x, **about):
        self.note("begins")
        found = super().measure(x, **about)
        self.note("ends")
        return found

    def safe(self):
        self.note("jax" if "jax" in sys.modules else "rests")
        super().safe()
"""


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """hosts(n, **options) -> a host of n spies, and the path of their log."""
    (tmp_path / "spies.py").write_text(SPY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    log, made = tmp_path / "log", []

    def make(n, **options):
        options = {"log": str(log), "measure_s": 0.002, **options}
        fittings = [Fitting(PORTS, 4, 3, f"d{i}") for i in range(n)]
        made.append(Host([Instrument("spies:Spy", options, fitting) for fitting in fittings]))
        return made[-1], log

    yield make
    for host in made:
        host.close()


def request(rows=4, samples=2, first=0, w=None):
    rng = np.random.default_rng(first)
    x = rng.uniform(-1, 1, (1, samples, 4)).astype(np.float32)
    w = rng.uniform(-1, 1, (rows, 5, 3)).astype(np.float32) if w is None else w
    versions = tuple((0, 1, first + r) for r in range(rows))
    names = tuple((0, 0, 0, first + r) for r in range(rows))
    none = np.zeros(0, np.float32)
    return Request({}, x, versions, (), names, none, none, 0, samples, written={"w": w})


def events(log):
    return [line.split() for line in log.read_text().splitlines()]


def test_contracts_and_drivers_import_without_jax():
    modules = "physics.contracts, physics.driven, physics.hosted, physics.drivers.host"
    drivers = ", ".join(place.partition(":")[0] for place in DRIVERS.values())
    program = f"import sys, {modules}, {drivers}\nassert 'jax' not in sys.modules, 'jax'"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_hosted_device_is_the_driven_one(hosts):
    host, log = hosts(1)
    here = DrivenDevice(Timed(Fitting(PORTS, 4, 3, "here")))
    asked = request()
    for place in (dict(asked.written), {"w": host.memory.new((4, 5, 3), np.float32)}):
        place["w"][...] = asked.written["w"]
        there = host.devices[0].execute(request(w=place["w"]))
        want = here.execute(asked)
        np.testing.assert_array_equal(there.v, want.v)
        for key in ("versions", "requests", "passes", "calls", "source"):
            assert getattr(there, key) == getattr(want, key), key
    x = np.append(asked.x[0, 1], np.float32(1))
    np.testing.assert_allclose(want.v[2, 1], x @ asked.written["w"][2], rtol=1e-5)
    host.close()
    told = {what for _, what, _ in events(log)}
    assert "rests" in told and "jax" not in told, "the process of a device has none"


def test_rows_of_a_device_are_in_order_and_devices_side_by_side(hosts):
    host, log = hosts(3, measure_s=0.01)
    for k in range(3):
        for device in host.devices:
            device.submit(request(first=4 * k))
    for device in host.devices:
        for k in range(3):
            assert device.collect().versions[0][2] == 4 * k
    told = events(log)
    for device in ("d0", "d1", "d2"):
        assert [what for d, what, _ in told if d == device and what.startswith("write")] == [
            f"write:{r}" for r in range(12)
        ]
    busy, most = 0, 0
    for what in [what for _, what, _ in sorted(told, key=lambda event: int(event[2]))]:
        busy += (what == "begins") - (what == "ends")
        most = max(most, busy)
    assert most == 3


def test_what_is_out_of_range_is_refused_before_the_first_write(hosts):
    host, log = hosts(1)
    w = np.zeros((4, 5, 3), np.float32)
    w[3, 1, 1] = 1.5
    with pytest.raises(Refused, match=r"d0: w = 1.5 is outside -1 to 1"):
        host.devices[0].execute(request(w=w))
    assert not log.exists(), "not even a rest"
    assert host.devices[0].execute(request()).writes == 4


def test_a_halted_host_measures_nothing_more(hosts):
    host, log = hosts(2, measure_s=0.05)
    for device in host.devices:
        device.submit(request(rows=8))
    host.halt()
    for device in host.devices:
        with pytest.raises(RuntimeError, match="halted"):
            device.collect()
    assert len([what for _, what, _ in events(log) if what == "begins"]) <= 6
    assert {d for d, what, _ in events(log) if what == "rests"} == {"d0", "d1"}
    host.go()
    assert host.devices[1].execute(request(rows=1, samples=1)).passes == 1


def test_devices_come_to_rest_when_the_worker_dies(tmp_path):
    (tmp_path / "spies.py").write_text(SPY)
    log = tmp_path / "log"
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
sys.path.insert(0, {str(ROOT / "tests" / "physics")!r})
from physics.hosted import Host, Instrument
from physics.contracts import Fitting
import test_hosted
options = {{"log": {str(log)!r}, "measure_s": 0.02}}
host = Host([Instrument("spies:Spy", options, Fitting(test_hosted.PORTS, 4, 3, "d0"))])
host.devices[0].submit(test_hosted.request(rows=100))
while not os.path.exists({str(log)!r}): pass
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    end = time.monotonic() + 20
    while not (told := events(log)) or told[-1][1] != "rests":
        assert time.monotonic() < end, told
        time.sleep(0.05)
    assert len(told) < 50, "what was left to do is not done"


def test_a_host_that_is_gone(hosts):
    host, _ = hosts(1, measure_s=1.0)
    host.devices[0].submit(request())
    host._process.kill()
    with pytest.raises(Disconnected, match="d0: the process that drives it is gone"):
        host.devices[0].collect()


def test_an_unknown_driver_is_told():
    with pytest.raises(RuntimeError, match="no_such_module"):
        Host([Instrument("no_such_module:Driver", {}, Fitting(PORTS, 4, 3, "d0"))])


def test_oversleeping_is_made_up_for():
    driver = Timed(Fitting(PORTS, 4, 3, "d0"), measure_s=0.002)
    driver._owed = 0.0015
    driver._wait(0.001)
    assert driver._owed == pytest.approx(0.0005), "no wait at all"
    began = time.perf_counter()
    for _ in range(20):
        driver._wait(driver.measure_s)
    assert time.perf_counter() - began >= 20 * 0.002 - 0.0006


def test_memory_is_seen_by_the_other_side():
    memory = Memory()
    view = View(memory.number)
    small = memory.new((3,), np.float32)
    small[...] = [1, 2, 3]
    np.testing.assert_array_equal(view.at(memory.find(small)), [1, 2, 3])
    large = memory.new((1 << 19,), np.float32)  # more than there was
    large[...] = 7
    assert view.at(memory.find(large)).sum() == 7 * (1 << 19)
    assert memory.find(np.zeros(3)) is None and memory.find(large[::2]) is None
    assert memory.find(small) is None, "it is not in the memory as it is now"
    memory.close()

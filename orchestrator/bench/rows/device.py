"""device: what orchestration takes from devices that sleep."""

from __future__ import annotations

from orchestrator.bench.row import Part, Row, ours, peer

PROBES = 16  # of each device and step


def part(name: str, devices: int, ms: float, bar: float | None, stages: int = 1) -> Part:
    """Our share of the rate that the same devices reach in a bare loop in the same processes."""
    about = {"devices": devices, "ms": ms, "probes": PROBES, "stages": stages, "seconds": 5.0}
    return Part(
        f"device/{name}",
        "measurements/s",
        ours("device", **about),
        ours("bare_devices", **about),
        "the same devices in a bare loop",
        bar,
        reason="the threads of a host hand each other the lock of the interpreter between two cores",
        quick={"devices": 2, "seconds": 0.5},
    )


def with_ray(name: str, devices: int, ms: float) -> Part:
    """Reported beside it: a call of plain Ray for each probe."""
    about = {"devices": devices, "probes": PROBES}
    return Part(
        f"device/{name}-ray-per-probe",
        "measurements/s",
        ours("device", **about, ms=ms, stages=1, seconds=5.0),
        peer("ray_per_probe", **about, sleep_s=ms / 1e3, steps=20),
        "plain Ray, a call for each probe",
    )


ROW = Row(
    "device",
    "Share of the rate of the same sleeping devices in a bare loop, 16 probes for each device and step.",
    (
        part("8x1ms", 8, 1.0, 0.90),
        part("32x10ms", 32, 10.0, 0.95),
        part("32x1ms", 32, 1.0, None),
        part("8x5ms-pipelined", 8, 5.0, 0.90, stages=8),
        with_ray("32x1ms", 32, 1.0),
    ),
)

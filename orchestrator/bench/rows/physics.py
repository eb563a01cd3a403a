"""physics: every substrate against the same equations in PyTorch, compiled."""

from __future__ import annotations

from typing import Any

from orchestrator.bench.row import Part, Row, ours, peer

SIZES: dict[str, dict[str, int]] = {
    "crossbar": {"n_in": 784, "n_out": 128},
    "oscillators": {"n_in": 64, "n_out": 10},
    "digital": {"n_in": 784, "n_out": 128},
}


def part(substrate: str, what: str, batch: int) -> Part:
    about: dict[str, Any] = {"substrate": substrate, "what": what, "batch": batch, **SIZES[substrate]}
    return Part(
        f"physics/{substrate}-{'forward' if what == 'forward' else 'gradient'}-b{batch}",
        "batches/s",
        ours("physics", seconds=1.0, **about),
        peer("torch_physics", calls=100, **about),
        "PyTorch, compiled",
        1.0 if batch > 1 else None,
        worst=0.9 if batch > 1 else None,
        quick={"seconds": 0.2, "calls": 5} if (substrate, what, batch) == ("oscillators", "forward", 256) else None,
    )


ROW = Row(
    "physics",
    "Forwards (each after a write of its own) and gradients of the parameters a second of every substrate, batch 256, "
    "by as many processes as cores against as many threads; batch 1 is only reported.",
    tuple(part(s, what, batch) for s in SIZES for what in ("forward", "vjp") for batch in (256, 1)),
)

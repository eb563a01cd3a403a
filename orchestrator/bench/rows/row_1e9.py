"""1e9: a billion parameters on one machine."""

from __future__ import annotations

from typing import Any

from orchestrator.bench.row import Part, Row, ours

# 1,000,796,832 parameters, with biases.
LAYERS = [64, *[7_906] * 17, 10]
PROBES, BATCH, STEPS = 4, 64, 10
# Our side tells seconds a step as its value, and counts: memory (peak of the process / bytes of the parameters),
# payload (bytes to a worker and from it in a step, their mean, without Ray's envelope and without the batch), excess
# (payload beyond 64 B + 8 B a probe), envelope and batch (bytes), fall (how much the loss fell in ten steps).
MINE = ours("billion", layers=LAYERS, probes=PROBES, batch=BATCH, steps=STEPS)
FLOOR = ours("billion_forwards", layers=LAYERS, batch=BATCH, forwards=2 * PROBES)
TOLD: dict[str, Any] = {
    "ours": MINE,
    "theirs": FLOOR,
    "better": "lower",
    "quick": {"layers": [64, 205, 205, 205, 10], "steps": 2},
    "deadline_s": 2400.0,
}
ROW = Row(
    "1e9",
    "Ten steps of 1e9 parameters with four probes and a batch of 64: peak memory, time in units of its forwards, bytes "
    "on the wire, and whether the loss moves (by more than rounding).",
    (
        Part("1e9/memory", "peak / bytes of parameters", peer="inference", bar=1.6, how="ours", key="memory", **TOLD),
        Part("1e9/step", "s", peer="8 forwards", bar=1.6, their_key="value", **TOLD),
        Part("1e9/wire", "B each way beyond 64 B + 8 B a probe", bar=0.0, how="ours", key="excess", **TOLD),
        Part("1e9/envelope", "B a worker and step", how="ours", key="envelope", **TOLD),
        Part("1e9/batch", "B a worker and step", how="ours", key="batch", **TOLD),
        Part("1e9/loss", "fall", bar=1e-6, how="ours", key="fall", **{**TOLD, "better": "higher"}),
    ),
)

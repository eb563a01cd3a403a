"""crossbar: forwards of a simulated crossbar against aihwkit."""

from __future__ import annotations

from orchestrator.bench.row import Part, Row, ours, peer

SIZE = {"n_in": 784, "n_out": 128, "batch": 256}
ROW = Row(
    "crossbar",
    "Forwards a second of one crossbar with equal non-idealities, 256 samples, 784 inputs, 128 outputs.",
    (
        Part(
            "crossbar",
            "forwards/s",
            ours("physics", substrate="crossbar", what="measure", seconds=2.0, **SIZE),
            peer("aihwkit_tile", **SIZE),
            "aihwkit TorchInferenceRPUConfig tile",
            3.0,
            quick={"seconds": 0.3},
        ),
    ),
)

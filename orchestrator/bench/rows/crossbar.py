"""crossbar: forwards of a simulated crossbar against aihwkit."""

from __future__ import annotations

from orchestrator.bench.row import Part, Row, ours, peer

SIZE = {"n_in": 784, "n_out": 128, "batch": 256}
OURS = ours("physics", substrate="crossbar", what="measure", seconds=2.0, **SIZE)
ROW = Row(
    "crossbar",
    "Forwards a second of one crossbar with equal non-idealities, 256 samples, 784 inputs, 128 outputs; what aihwkit "
    "does beyond that (management of noise and bounds, drift compensation) is off, or on where it is only reported; "
    "what ours does beyond that (read noise anew for each reading) is on. As many processes as cores against as many "
    "threads.",
    (
        Part(
            "crossbar",
            "forwards/s",
            OURS,
            peer("aihwkit_tile", management=False, calls=300, **SIZE),
            "aihwkit TorchInferenceRPUConfig tile",
            3.0,
            reason="three products, two exact and one of the variances, where the tile makes one",
            quick={"seconds": 0.3, "calls": 10},
        ),
        Part(
            "crossbar/managed",
            "forwards/s",
            OURS,
            peer("aihwkit_tile", management=True, calls=300, **SIZE),
            "aihwkit tile as it is by default",
        ),
    ),
)

"""start: how soon the first step is done."""

from __future__ import annotations

from orchestrator.bench.row import Part, Row, ours

BARE_JAX = "import jax, flax, optax; one compile"
BARE_RAY = "ray.init; two such actors"
REASON = "some thirty functions are traced and lowered to find what was compiled of them"
ROW = Row(
    "start",
    "Seconds from the start of a fresh `pnn train` to the end of step 1 with what was compiled before in a cache, "
    "against bare scripts that import the same libraries and compile one function.",
    (
        Part(
            "start/local",
            "s",
            ours("start", how=["--local"]),
            ours("bare", program="jax"),
            BARE_JAX,
            1.5,
            "lower",
            reason=REASON,
            quick={},
        ),
        Part(
            "start/local-untracked",
            "s",
            ours("start", how=["--local", "--tracking", "none"]),
            ours("bare", program="jax"),
            BARE_JAX,
            better="lower",
        ),
        Part(
            "start/2-workers",
            "s",
            ours("start", how=["--workers", "2"]),
            ours("bare", program="ray"),
            BARE_RAY,
            1.5,
            "lower",
            reason=REASON,
        ),
    ),
)

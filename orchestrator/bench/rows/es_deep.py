"""es-deep: the same with eight hidden layers."""

from __future__ import annotations

from orchestrator.bench.row import Part, Row
from orchestrator.bench.rows.es_1e5 import DATA, QUICK, evosax, our_es

LAYERS = [784, *[128] * 8, 10]
ROW = Row(
    "es-deep",
    "Generations a second of evolution strategies with eight hidden layers of 128, population 128, batch 256.",
    (
        Part(
            "es-deep",
            "generations/s",
            our_es(LAYERS, "mnist", generations=20),
            evosax(LAYERS, generations=20),
            "evosax Open_ES",
            3.0,
            prepare=DATA,
            quick=QUICK | {"layers": [784, 32, 32, 10]},
        ),
    ),
)

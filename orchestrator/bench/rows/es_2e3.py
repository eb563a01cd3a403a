"""es-2e3: evolution strategies on 2,410 parameters in process, against bare forwards."""

from __future__ import annotations

from orchestrator.bench.row import Part, Row, ours
from orchestrator.bench.rows.es_1e5 import QUICK, our_es, their_es

LAYERS = [64, 32, 10]
BATCH, GENERATIONS = 512, 200
DATA = ours("export", dataset="digits")
ROW = Row(
    "es-2e3",
    "Generations a second of evolution strategies on 2,410 parameters in this process, population 128, batch 512, "
    "against nothing but the vmapped forwards of as many members.",
    (
        Part(
            "es-2e3",
            "generations/s",
            our_es(LAYERS, "digits", BATCH, GENERATIONS),
            their_es("forwards", LAYERS, BATCH, GENERATIONS, loop="auto"),
            "bare vmapped forwards",
            0.9,
            reason="the update is a sixth of a generation",
            prepare=DATA,
            quick=QUICK,
        ),
    ),
)

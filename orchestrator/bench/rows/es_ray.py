"""es-ray: the same through Ray, against EvoTorch with actors."""

from __future__ import annotations

from orchestrator.bench.row import Part, Row
from orchestrator.bench.rows.es_1e5 import QUICK, RATE, our_es, their_es
from orchestrator.bench.rows.es_2e3 import BATCH, DATA, GENERATIONS, LAYERS

ROW = Row(
    "es-ray",
    "Generations a second of evolution strategies on 2,410 parameters through Ray with two workers, population 128, "
    "batch 512, against EvoTorch with two actors and distributed=True.",
    (
        Part(
            "es-ray",
            "generations/s",
            our_es(LAYERS, "digits", BATCH, GENERATIONS, pool="ray", workers=2),
            their_es("evotorch_pgpe", LAYERS, BATCH, GENERATIONS, actors=2, rate=RATE, optimizer="adam"),
            "EvoTorch PGPE, 2 Ray actors",
            6.0,
            reason="nothing but the forwards, in one process on all cores, is four times as fast as EvoTorch",
            prepare=DATA,
            quick=QUICK,
        ),
    ),
)

"""es-1e5: evolution strategies on 101,770 parameters, against evosax."""

from __future__ import annotations

from typing import Any

from orchestrator.bench.row import Part, Row, Side, ours, peer

POPULATION, BATCH, GENERATIONS = 128, 256, 40
LAYERS = [784, 128, 10]
SIGMA, RATE = 0.05, 0.01
METHOD: dict[str, Any] = {
    "name": "low-rank-es",
    "probes": POPULATION // 2,  # antithetic pairs
    "scale": SIGMA,
    "shaping": "ranks",
    "optimizer": "adam",
    "rate": RATE,
}
QUICK = {"generations": 2, "steps_total": 2, "batch": 64, "loop": "steps"}
DATA = ours("export", dataset="mnist")


def our_es(layers: list[int], dataset: str, batch: int = BATCH, generations: int = GENERATIONS, **more: Any) -> Side:
    """Our side: a whole training loop of so many generations a round, each round with another seed."""
    sizes = {"layers": layers, "batch": batch, "population": POPULATION, "generations": generations}
    return ours("es", dataset=dataset, **sizes, method=METHOD, **more)


def their_es(name: str, layers: list[int], batch: int = BATCH, generations: int = GENERATIONS, **more: Any) -> Side:
    """A peer's side with the same network, population, batch, step size and number of generations."""
    sizes = {"layers": layers, "batch": batch, "population": POPULATION, "generations": generations}
    return peer(name, **sizes, activation="relu", sigma=SIGMA, **more)


def evosax(layers: list[int], generations: int = GENERATIONS) -> Side:
    """evosax, begun anew with another seed each round."""
    return their_es(
        "evosax_open_es",
        layers,
        generations=generations,
        steps_total=generations,
        rate=RATE,
        optimizer="adam",
        loop="auto",
    )


REASON = (
    "activations, losses and Adam take longer than a twentieth of the generation of evosax, whatever is in one call"
)
MINE, EVOSAX = our_es(LAYERS, "mnist"), evosax(LAYERS)
ROW = Row(
    "es-1e5",
    "Generations a second of evolution strategies with one hidden layer, 101,770 parameters, population 128, batch "
    "256, antithetic pairs, centred ranks, Adam.",
    (
        Part("es-1e5", "generations/s", MINE, EVOSAX, "evosax Open_ES", 20.0, reason=REASON, prepare=DATA, quick=QUICK),
        Part(
            "es-1e5/loss",
            "standard errors between the mean losses after 40 generations",
            MINE,
            EVOSAX,
            "evosax Open_ES",
            3.0,
            "lower",
            "standard errors",
            key="loss",
            prepare=DATA,
            quick=QUICK,
        ),
        Part(
            "es-1e5/forwards",
            "generations/s",
            MINE,
            their_es("forwards", LAYERS, loop="auto"),
            "plain forwards, parameters materialised",
            prepare=DATA,
        ),
    ),
)

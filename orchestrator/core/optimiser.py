"""The optimisers, all of optax, named by a hashable record so that a compiled commit can be found again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import optax

if TYPE_CHECKING:
    from orchestrator.spec import Method


@dataclass(frozen=True)
class Optimiser:
    """What turns a gradient into a change of the parameters."""

    name: str
    rate: float
    schedule: str
    steps: int

    @classmethod
    def of(cls, method: Method, steps: int, itself: bool = False) -> Optimiser:
        """What a method table names; itself: the method makes its steps, so that they are taken as they are."""
        if itself:
            return cls("sgd", 1.0, "constant", steps)
        return cls(method.optimizer, method.rate, method.schedule, steps)

    def build(self) -> optax.GradientTransformation:
        return _build(self)


@cache
def _build(spec: Optimiser) -> optax.GradientTransformation:
    rate = spec.rate
    if spec.schedule == "cosine":
        rate = optax.cosine_decay_schedule(spec.rate, spec.steps)
    make = {"adam": optax.adam, "sgd": optax.sgd, "adamw": optax.adamw}
    make["momentum"] = lambda rate: optax.sgd(rate, momentum=0.9)
    return make[spec.name](rate)

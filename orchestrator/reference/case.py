"""What a case of reference is: plain values, so that cases can be listed without training anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Tree = Mapping[str, Any]
Reach = Callable[..., float]
SEEDS = (0, 1, 2, 3, 4)
SIGNS = {"higher": (">= ", "-"), "lower": ("<= ", "+"), "near": ("", "±")}


@dataclass(frozen=True)
class Bar:
    """What must be reached: `value`. It may be missed by `tolerance`, or by `errors` standard errors if that is more.

    better: "higher" or "lower", then the other side is never a miss; "near": either side is.
    """

    value: float
    tolerance: float = 0.0
    better: Literal["higher", "lower", "near"] = "higher"
    errors: float = 0.0

    def met(self, reached: float, error: float) -> bool:
        """Whether it is reached; `error`: standard error of `reached`."""
        below = self.value - reached
        missed = {"higher": below, "lower": -below, "near": abs(below)}[self.better]
        return missed <= max(self.tolerance, self.errors * error)

    def __str__(self) -> str:
        sign, margin = SIGNS[self.better]
        told = f"{sign}{self.value:.4g}" + (f" {margin} {self.tolerance:.2g}" if self.tolerance else "")
        return told + (f" or {self.errors:g} s.e." if self.errors else "")


@dataclass(frozen=True)
class Part:
    """One number of a case, measured for every seed.

    name: CASE, or CASE/PART. unit: of the number. reach(trial, *given): what it comes to for the seed of a
    `trial.Trial`; given: run files as trees, and other plain values. published: the number of the source, in that unit;
    recalled: it is only remembered, nobody has looked it up. bar: what must be reached; None: it is only reported.
    statistic: what of the values of all seeds is held against the bar. reason: why a part that misses its bar does so.
    """

    name: str
    unit: str
    reach: Reach
    given: tuple[Any, ...] = ()
    seeds: tuple[int, ...] = SEEDS
    published: float | None = None
    recalled: bool = False
    bar: Bar | None = None
    statistic: Literal["mean", "median"] = "mean"
    reason: str | None = None

    @property
    def trees(self) -> list[Tree]:
        """The run files among what is given."""
        return [g for g in self.given if isinstance(g, Mapping) and "network" in g]


@dataclass(frozen=True)
class Case:
    """A case. what: what it compares, in one sentence. source: where the numbers are from. split: what is tested on.

    long: it may need hours, is not among the quick ones, and stops when its time is over.
    """

    name: str
    what: str
    source: str
    split: str
    parts: tuple[Part, ...]
    long: bool = False


# --- pieces of run files ----------------------------------------------------------------------------------------------


def digital(*sizes: int, decode: str = "relu") -> list[Tree]:
    """Digital stages of these sizes, the last one without an activation."""
    inner = [{"substrate": "digital", "size": size, "decode": decode} for size in sizes[:-1]]
    return [*inner, {"substrate": "digital", "size": sizes[-1]}]

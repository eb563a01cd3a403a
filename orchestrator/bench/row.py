"""What a row of the table is: plain values, so that rows can be listed without measuring anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

How = Literal["ours/theirs", "theirs/ours", "ours", "upper end", "standard errors"]
ROUNDS, QUICK_ROUNDS = 5, 2
DEADLINE_S, QUICK_DEADLINE_S = 300.0, 60.0


@dataclass(frozen=True)
class Side:
    """A process that measures. kind: "ours", a module of `orchestrator.bench.ours`; "peer", a script of the peers."""

    kind: Literal["ours", "peer"]
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


def ours(name: str, /, **options: Any) -> Side:
    """A side in our own environment."""
    return Side("ours", name, options)


def peer(name: str, /, **options: Any) -> Side:
    """A side in the environment of the peers."""
    return Side("peer", name, options)


@dataclass(frozen=True)
class Part:
    """One comparison; parts of a row with the same sides share their processes and rounds.

    name: ROW, or ROW/PART. unit: of the two sides; the value is a ratio, except with how = "ours", which takes the
    value of our side as it is. key, their_key: what is looked at in the answer of each side.
    bar: what the value must reach (`better`: from below or from above); None: it is only reported.
    worst: what no single round may miss. reason: why a part that misses its bar misses it.
    prepare: a side that answers once, first, with {"options": ...} for both sides. quick: other values of options that
    make small whichever side has them; None: `--quick` leaves the part out. deadline_s: of the warm-up, and of a round.
    """

    name: str
    unit: str
    ours: Side
    theirs: Side | None = None
    peer: str | None = None
    bar: float | None = None
    better: Literal["higher", "lower"] = "higher"
    how: How = "ours/theirs"
    key: str = "value"
    their_key: str | None = None
    worst: float | None = None
    reason: str | None = None
    rounds: int = ROUNDS
    prepare: Side | None = None
    quick: Mapping[str, Any] | None = None
    deadline_s: float = DEADLINE_S

    @property
    def together(self) -> tuple[Any, ...]:
        """Equal for parts that can be measured by the same processes."""
        return self.ours, self.theirs, self.prepare, self.rounds, self.quick, self.deadline_s

    def small(self) -> Part | None:
        """As `--quick` measures it: small and without a bar, for its ratio means nothing. None: not at all."""
        if self.quick is None:
            return None
        sides: dict[str, Any] = {
            name: side and replace(side, options={k: self.quick.get(k, v) for k, v in side.options.items()})
            for name, side in (("ours", self.ours), ("theirs", self.theirs), ("prepare", self.prepare))
        }
        limits: dict[str, Any] = {"rounds": QUICK_ROUNDS, "deadline_s": QUICK_DEADLINE_S}
        return replace(self, **sides, **limits, bar=None, worst=None)


@dataclass(frozen=True)
class Row:
    """A row of the table. what: what it measures, in one sentence."""

    name: str
    what: str
    parts: tuple[Part, ...]

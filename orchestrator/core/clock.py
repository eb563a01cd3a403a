"""The clock of a chip: what it holds and how long ago that was written, as a function of the work alone.

Clones of one chip answer different items of a step, but the chip's history is one: all items in their order. Each
worker walks the same history, so drift, noise and account are equal for any number of clones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from physics.contracts import Costs, Version


class Moment(NamedTuple):
    """Of one row: version held before it, seconds on the clock, seconds since its parameters were written."""

    held: Version | None
    now: float
    since: float


@dataclass
class Clock:
    """`now` in seconds; unknown costs (None) take no time."""

    costs: Costs
    writes: bool  # a stage without device parameters is never written
    now: float = 0.0
    held: Version | None = None
    written: float = 0.0

    def row(self, version: Version, samples: int) -> Moment:
        """Account for one row: the write if it is another version, then its passes."""
        before = self.held
        if self.writes and version != self.held:
            self.now += self.costs.write_s or 0.0
            self.held, self.written = version, self.now
        moment = Moment(before, self.now, self.now - self.written)
        self.now += samples * (self.costs.pass_s or 0.0)
        return moment

    def wait(self, seconds: float) -> None:
        """Let time pass with nothing done."""
        self.now += seconds

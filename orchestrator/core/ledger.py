"""The ledger: what devices reported, exactly, by worker and in total.

Sums are rational numbers, so the total does not depend on the order of arrival or on how the work was divided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One reading's account. passes: a share of the stack (one tile of one of S stages is 1 / (S tiles))."""

    passes: Fraction
    calls: int
    writes: int
    seconds: Fraction | None
    joules: Fraction | None


ZERO = Entry(Fraction(0), 0, 0, Fraction(0), Fraction(0))


def add(a: Entry, b: Entry) -> Entry:
    """Sums; unknown plus anything is unknown."""
    seconds = None if a.seconds is None or b.seconds is None else a.seconds + b.seconds
    joules = None if a.joules is None or b.joules is None else a.joules + b.joules
    return Entry(a.passes + b.passes, a.calls + b.calls, a.writes + b.writes, seconds, joules)


def total(entries: Iterable[Entry]) -> Entry:
    """Their sum."""
    return reduce(add, entries, ZERO)


def exact(value: float | None) -> Fraction | None:
    return None if value is None else Fraction(value)


Account = dict[int, Entry]  # by worker


def write(account: Account) -> dict[str, list]:
    """As JSON, exactly."""
    return {str(w): [v if v is None else str(v) for v in entry] for w, entry in sorted(account.items())}


def read(told: dict[str, list]) -> Account:
    """The account of `write`."""
    return {
        int(w): Entry(Fraction(p), int(calls), int(writes), _fraction(s), _fraction(j))
        for w, (p, calls, writes, s, j) in told.items()
    }


def _fraction(told: str | None) -> Fraction | None:
    return None if told is None else Fraction(told)


@dataclass
class Ledger:
    """kind "train" or "evaluate" -> worker -> Entry; and bytes that crossed between coordinator and workers."""

    by_worker: dict[str, dict[int, Entry]] = field(default_factory=lambda: defaultdict(dict))
    wire_bytes: int = 0

    def add(self, kind: str, worker: int, entry: Entry) -> None:
        self.by_worker[kind][worker] = add(self.by_worker[kind].get(worker, ZERO), entry)

    def take(self, kind: str, account: Account) -> None:
        """Add what a round came to."""
        for worker, entry in account.items():
            self.add(kind, worker, entry)

    def total(self, kind: str = "train") -> Entry:
        return total(self.by_worker[kind].values())


def plain(entry: Entry) -> dict[str, Any]:
    """Numbers for people and JSON."""
    passes = entry.passes
    return {
        "passes": int(passes) if passes.denominator == 1 else float(passes),
        "calls": entry.calls,
        "writes": entry.writes,
        "device_seconds": None if entry.seconds is None else float(entry.seconds),
        "joules": None if entry.joules is None else float(entry.joules),
    }

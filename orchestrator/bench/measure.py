"""One comparison: both sides warm, rounds in turn, and what their ratio came to."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from orchestrator.bench import sides
from orchestrator.bench.row import Part, Side

Answers = list[dict[str, Any]]
Values = list[float]


@dataclass(frozen=True)
class Measured:
    """What a part came to. value, low, high: of the ratio over rounds; ours, theirs: medians of the sides.

    failure: why there is no value. versions, about: what the sides told of themselves.
    """

    part: Part
    value: float | None = None
    low: float | None = None
    high: float | None = None
    ours: Values = field(default_factory=list)
    theirs: Values = field(default_factory=list)
    failure: str | None = None
    versions: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the bar is met; without a bar, whether there is a value."""
        if self.value is None or self.low is None or self.high is None:
            return False
        higher = self.part.better == "higher"
        if self.part.worst is not None and (self.low < self.part.worst if higher else self.high > self.part.worst):
            return False
        return self.part.bar is None or (self.value >= self.part.bar if higher else self.value <= self.part.bar)

    @property
    def excused(self) -> bool:
        """Whether it may miss its bar: it was measured, and a reason is recorded."""
        return self.value is not None and self.part.reason is not None

    def json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "row": self.part.name,
            "value": self.value,
            "unit": self.part.unit,
            "bar": self.part.bar,
            "better": self.part.better,
            "met": self.met,
            "min": self.low,
            "max": self.high,
            "peer": self.part.peer,
            "ours": statistics.median(self.ours) if self.ours else None,
            "theirs": statistics.median(self.theirs) if self.theirs else None,
        }


def measure(parts: Sequence[Part], pinned: Sequence[int], say: Callable[[str], None]) -> Iterator[Measured]:
    """Measure parts, those with the same sides together; a part that fails is told, and the others go on."""
    for _, same in groupby(parts, key=lambda part: part.together):
        group = list(same)
        say(f"{', '.join(part.name for part in group)} ...")
        began = time.perf_counter()
        try:
            a, b, told = rounds(group[0], pinned)
        except sides.Failed as failed:
            yield from (Measured(part, failure=str(failed)) for part in group)
            continue
        finally:
            say(f"  {time.perf_counter() - began:.0f} s")
        for part in group:
            yield judged(part, a, b, told)


def rounds(part: Part, pinned: Sequence[int]) -> tuple[Answers, Answers, dict[str, Any]]:
    """(answers of our side, of theirs, what they told of themselves); who comes first alternates.

    Raises `sides.Failed` with the name of the side.
    """
    both = {"ours": part.ours} | ({"theirs": part.theirs} if part.theirs else {})
    found: dict[str, Answers] = {"ours": [], "theirs": []}
    running: dict[str, sides.Process] = {}
    told: dict[str, Any] = {}
    with ExitStack() as stack:
        for side in both.values():
            with named(side):
                sides.command(side, {})  # whether it is there, before anything is started
        scratch = {"scratch": stack.enter_context(tempfile.TemporaryDirectory(prefix="pnn-bench-"))}
        more = prepared(part, pinned, scratch)
        for which, side in both.items():
            own_folder = scratch if side.kind == "ours" else {}
            running[which] = stack.enter_context(sides.started(side, pinned, {**more, **own_folder}))
        for which, side in both.items():
            with named(side):
                told[which] = running[which].ready(part.deadline_s)
        for number in range(part.rounds):
            for which in sorted(running, reverse=bool(number % 2)):
                with named(both[which]):
                    found[which].append(running[which].round(part.deadline_s))
    return found["ours"], found["theirs"], told


def prepared(part: Part, pinned: Sequence[int], more: dict[str, Any]) -> dict[str, Any]:
    """The options that a preparation works out for both sides; none without one. Raises `sides.Failed`."""
    if part.prepare is None:
        return {}
    with named(part.prepare), sides.started(part.prepare, pinned, more) as process:
        process.ready(part.deadline_s)
        return dict(process.round(part.deadline_s).get("options", {}))


@contextmanager
def named(side: Side) -> Iterator[None]:
    """Says whose failure it is."""
    try:
        yield
    except sides.Failed as failed:
        raise sides.Failed(f"{side.name} ({'ours' if side.kind == 'ours' else 'a peer'}): {failed}") from None


def judged(part: Part, ours: Answers, theirs: Answers, told: dict[str, Any]) -> Measured:
    """The value of a part from the answers of all rounds."""
    about = {which: t["about"] for which, t in told.items()}
    versions = {which: t["versions"] for which, t in told.items()}
    try:
        a = picked(ours, part.key, "ours")
        b = [] if part.how == "ours" else picked(theirs, part.their_key or part.key, "theirs")
        value, low, high = HOW[part.how](a, b)
    except (sides.Failed, ZeroDivisionError, ValueError) as error:
        return Measured(part, failure=str(error), versions=versions, about=about)
    return Measured(part, value, low, high, a, b, None, versions, about)


def picked(answers: Answers, key: str, who: str) -> Values:
    """What stands under a key in every answer. Raises `sides.Failed` if one has no number there."""
    values = [answer.get(key) for answer in answers]
    if not all(sides.number(value) for value in values):
        raise sides.Failed(f"{who}: answered without a finite {key!r}: {str(answers[0])[:200]}")
    return [float(value) for value in values if value is not None]


# --- values: (value, minimum, maximum) from one value of each side a round --------------------------------------------


def ratio(a: Values, b: Values) -> tuple[float, float, float]:
    """Of a / b, round by round: median, minimum, maximum. Raises ZeroDivisionError."""
    ratios = [x / y for x, y in zip(a, b, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def own(a: Values, b: Values) -> tuple[float, float, float]:
    """Of our side alone: median, minimum, maximum."""
    return statistics.median(a), min(a), max(a)


def upper_end(a: Values, b: Values) -> tuple[float, float, float]:
    """(upper end of the 95 % interval of the mean of a / b, minimum, maximum)."""
    ratios = [x / y for x, y in zip(a, b, strict=True)]
    _, _, high = interval(ratios)
    return high, min(ratios), max(ratios)


def standard_errors(a: Values, b: Values) -> tuple[float, float, float]:
    """How far the means of two samples are apart, in standard errors of that difference; with its rounds' extremes."""
    error = math.sqrt((statistics.variance(a) + statistics.variance(b)) / len(a))
    apart = [abs(x - y) / error for x, y in zip(a, b, strict=True)]
    return abs(statistics.fmean(a) - statistics.fmean(b)) / error, min(apart), max(apart)


def interval(ratios: Values) -> tuple[float, float, float]:
    """(geometric mean of ratios, lower, upper end of its 95 % interval), by Student's t; infinite for one ratio."""
    from scipy import stats

    logs = [math.log(r) for r in ratios]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(mean), 0.0, math.inf
    half = float(stats.t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


HOW: dict[str, Callable[[Values, Values], tuple[float, float, float]]] = {
    "ours/theirs": ratio,
    "theirs/ours": lambda a, b: ratio(b, a),
    "ours": own,
    "upper end": upper_end,
    "standard errors": standard_errors,
}

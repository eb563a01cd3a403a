"""Where the time of a run goes: a trace that Perfetto opens (ui.perfetto.dev), and the split of a step in one line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from orchestrator.core import spans
from orchestrator.core.coordinator import Pool
from orchestrator.core.spans import Span

NAME = "profile.json"
BUSY = (spans.PHYSICS, spans.DIGITAL, spans.COMMIT)  # what workers do


class Profile:
    """Keeps the spans of this process and of the workers of a pool, until `write`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._ask(True)
        spans.keep(True)

    def write(self, folder: Path) -> str:
        """Write the trace; what there is to say about it. It never raises OSError: no profile is worth a run."""
        found = spans.keep(False)
        known = {id(span) for span in found}
        found += [span for span in self._ask(False) if id(span) not in known]
        told = split(found)
        try:
            (folder / NAME).write_text(json.dumps(trace(found)))
        except OSError as error:
            return f"{told} The trace could not be written: {error}."
        return f"{told} The trace is {folder / NAME}; ui.perfetto.dev opens it."

    def _ask(self, wanted: bool) -> list[Span]:
        asked = [self._pool.call(w, "profile", wanted)[1] for w in range(self._pool.size)]
        return [Span(*span) for part in self._pool.gather(asked) for span in part]


def trace(found: list[Span]) -> dict[str, Any]:
    """In the format of trace events; times in microseconds."""
    events = [
        {
            "name": f"{s.kind} {s.of}".strip(),
            "cat": s.kind,
            "ph": "X",
            "ts": s.began / 1e3,
            "dur": s.took / 1e3,
            "pid": s.process,
            "tid": s.thread,
        }
        for s in sorted(found, key=lambda s: s.began)
    ]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def shares(found: list[Span]) -> tuple[int, dict[str, float]]:
    """(steps, seconds a step by kind). Of the workers the busiest counts, for they work at the same time."""
    steps = sorted((s for s in found if s.kind == spans.STEP), key=lambda s: s.began)[
        2:
    ]  # the first compiles, the second its commit
    if not steps:
        return 0, {}
    begin, end = steps[0].began, steps[-1].began + steps[-1].took
    during = [s for s in found if begin <= s.began < end]
    by_process: dict[int, Counter[str]] = {}
    for s in during:
        by_process.setdefault(s.process, Counter())[s.kind] += s.took
    busiest = max(by_process.values(), key=lambda kinds: sum(kinds[k] for k in BUSY))
    home = by_process[steps[0].process]
    ns = {kind: busiest[kind] for kind in BUSY} | {spans.JOURNAL: home[spans.JOURNAL]}
    elsewhere = 0 if busiest is home else sum(busiest[kind] for kind in BUSY)
    ns[spans.WAITING] = max(home[spans.WAITING] - elsewhere, 0)
    ns["orchestration"] = max(sum(s.took for s in steps) - sum(ns.values()), 0)
    return len(steps), {kind: took / 1e9 / len(steps) for kind, took in ns.items()}


def split(found: list[Span]) -> str:
    """One line for a person."""
    steps, seconds = shares(found)
    if not steps:
        return "Too few steps to say where the time goes."
    total = sum(seconds.values())
    told = ", ".join(f"{kind} {100 * s / total:.0f} %" for kind, s in seconds.items())
    return f"A step of {1e3 * total:.2f} ms (mean of {steps}): {told}."

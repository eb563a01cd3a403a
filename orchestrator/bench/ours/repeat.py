"""Rates of short calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from orchestrator.bench.serve import Round
from orchestrator.core import threads


def rate(call: Callable[[], object], seconds: float, together: int = 1) -> Round:
    """A round that makes calls for about so long and tells calls a second. Compiles; each call must end its own work.

    The number of calls is chosen once, so that all rounds do the same. `together`: as many threads share them.
    """
    call()  # compiles

    def some(calls: Iterable[int]) -> None:
        for _ in calls:
            call()

    def timed(calls: int) -> float:
        began = time.perf_counter()
        threads.each(some, [range(n, calls, together) for n in range(together)])
        return time.perf_counter() - began

    calls = together
    while (took := timed(calls)) < seconds / 4:
        calls *= 2
    calls = max(together, round(calls * seconds / took))
    return lambda: {"value": calls / timed(calls)}

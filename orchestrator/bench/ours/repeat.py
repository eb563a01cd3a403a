"""Rates of short calls."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.bench.serve import Round


def rate(call: Callable[[], object], seconds: float) -> Round:
    """A round that makes calls for about so long and tells calls a second. Compiles; each call must end its own work.

    The number of calls is chosen once, so that all rounds do the same.
    """
    call()  # compiles
    began = time.perf_counter()
    calls = 0
    while time.perf_counter() - began < seconds / 4:
        call()
        calls += 1
    each_s = (time.perf_counter() - began) / calls
    calls = max(1, round(seconds / each_s))

    def measure() -> dict[str, float]:
        began = time.perf_counter()
        for _ in range(calls):
            call()
        return {"value": calls / (time.perf_counter() - began)}

    return measure

"""The threads of a worker: they share its items and its tiles.

XLA has one thread, so that what it computes does not depend on how many cores there are (decision 0003); instead,
several items are computed at the same time, each by one thread. What comes of them is taken in their order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import count
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

workers_here = 1  # workers of this machine divide its cores


def threads() -> int:
    """How many threads share the work of this process."""
    return max(len(os.sched_getaffinity(0)) // workers_here, 1)


def each(function: Callable[[A], B], things: Iterable[A], together: bool = True) -> list[B]:
    """`function` of every thing, in their order. Of several errors the one of the first thing is raised.

    Not `together`: one after the other, as is right for a first time (what one compiles, the next finds) and for
    devices that are really somewhere.
    """
    given = list(things)
    helpers = min(threads(), len(given)) - 1 if together else 0
    if helpers < 1:
        return [function(thing) for thing in given]
    done: dict[int, B] = {}
    failed: dict[int, BaseException] = {}
    numbers = count()

    def work() -> None:
        while (i := next(numbers)) < len(given) and not failed:
            try:
                done[i] = function(given[i])
            except BaseException as error:
                failed[i] = error

    waiting = [_pool(threads() - 1).submit(work) for _ in range(helpers)]
    work()
    for future in waiting:
        future.result()
    if failed:
        raise failed[min(failed)]
    return [done[i] for i in range(len(given))]


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "pnn")

"""Workers in this process, one call after the other: the same bytes as actors, without starting anything."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from orchestrator.core.worker import Worker
from orchestrator.pools.sizes import payload_bytes
from orchestrator.runfile import Run


class Kept(NamedTuple):
    """A message that stays among the workers."""

    value: Any


class InProcessPool:
    """`workers` workers. `shuffle` (for tests) hands reports back in a random order, as a network would."""

    def __init__(self, run: Run, workers: int = 1, shuffle: int | None = None) -> None:
        self.size = workers
        self.wire_bytes = 0
        self._shuffle = None if shuffle is None else random.Random(shuffle)
        self._workers = [Worker(run, i, workers) for i in range(workers)]

    def call(self, worker: int, method: str, *arguments: Any) -> tuple[Any, Any]:
        """(message for other workers, report for the coordinator); messages may be arguments of later calls."""
        self.wire_bytes += payload_bytes([a for a in arguments if not isinstance(a, Kept)])
        taken = (a.value if isinstance(a, Kept) else a for a in arguments)
        message, report = getattr(self._workers[worker], method)(*taken)
        self.wire_bytes += payload_bytes(report)
        return Kept(message), report

    def gather(self, reports: list[Any]) -> list[Any]:
        """The reports, in any order: nothing may depend on it."""
        return reports if self._shuffle is None else self._shuffle.sample(reports, len(reports))

    def before_devices(self, settle: Callable[[], None]) -> bool:
        """They will call it."""
        for worker in self._workers:
            worker.settle = settle
        return True

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

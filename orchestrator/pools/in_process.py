"""Workers in this process, one call after the other: the same bytes as actors, without starting anything."""

from __future__ import annotations

import random
from typing import Any

from orchestrator.core.worker import Worker
from orchestrator.pools.sizes import payload_bytes
from orchestrator.runfile import Run


class InProcessPool:
    """`workers` workers. `shuffle` (tests) hands results back in a random order, as a network would."""

    def __init__(self, run: Run, workers: int = 1, shuffle: int | None = None) -> None:
        self.size = workers
        self.wire_bytes = 0
        self._shuffle = None if shuffle is None else random.Random(shuffle)
        self._workers = [Worker(run, i, workers) for i in range(workers)]

    def call(self, worker: int, method: str, *arguments: Any) -> tuple[Any, Any]:
        """(message for other workers, report for the coordinator), both usable as arguments of later calls."""
        message, report = getattr(self._workers[worker], method)(*arguments)
        self.wire_bytes += payload_bytes(arguments) + payload_bytes(report)
        return message, report

    def gather(self, reports: list[Any], deadline_s: float | None = None) -> list[Any]:
        """The reports, in any order: nothing may depend on it."""
        if self._shuffle is not None:
            reports = self._shuffle.sample(reports, len(reports))
        return reports

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

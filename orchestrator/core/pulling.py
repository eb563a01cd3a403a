"""Mode `fastest`: the items of a step are a queue, and an idle chip takes the next (`physics/drivers/queue.py`).

To the passage the items of a lane are one LOT: an item with the rows of all, whose device is the queue of the host. Who
answered each item goes into the record of the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from orchestrator.core.plan import Plan
from physics.contracts import Reading

if TYPE_CHECKING:
    from orchestrator.core.work import Report, Work


class Pulled(NamedTuple):
    """Numbers of the items of a lot, int32 [items]; the replica that answered each; passes of answers not used."""

    items: np.ndarray
    who: np.ndarray
    dropped: int


def lots(mine: list[Work]) -> list[Work]:
    """The items of one lane, all of one group, as one lot; its number is that of the first."""
    if not mine:
        return []
    items = tuple(work.item for work in mine)
    rows = tuple(row for item in items for row in item.rows)
    return [mine[0]._replace(item=items[0]._replace(rows=rows), parts=items)]


def pieces(work: Work) -> tuple[tuple[int, int], ...]:
    """Rows lo..hi of each item of a lot; nothing of other work."""
    ends = [0]
    for item in work.parts:
        ends.append(ends[-1] + len(item.rows))
    return tuple(zip(ends[:-1], ends[1:], strict=True))


def pulled(work: Work, reading: Reading) -> Pulled:
    """What the devices of a lot did."""
    items = np.array([item.number for item in work.parts], np.int32)
    return Pulled(items, np.array(reading.who, np.int32), reading.dropped)


def told(plan: Plan, reports: list[Report]) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """For the record of a step: passes that were dropped; who answered, int32 [items]. In the other mode nothing."""
    if not plan.pulls:
        return {}, {}
    who, dropped = np.full(len(plan.items[0]), -1, np.int32), 0
    for report in reports:
        if report.pulled:
            who[report.pulled.items] = report.pulled.who
            dropped += report.pulled.dropped
    return {"dropped": dropped}, {"who": who}

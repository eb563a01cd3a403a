"""Mode `fastest`: the items of a step are a queue, and whichever chip is idle takes the next (`physics/drivers/queue.py`).

To the passage the items of a lane are one LOT, an item with the rows of all; its devices are the queue of the host. The
items keep their numbers: each has its losses in the report, and who answered it, which the record of the step tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from orchestrator.core import keys
from orchestrator.core.plan import Plan
from physics.contracts import Reading

if TYPE_CHECKING:
    from orchestrator.core.work import Call, Name, Report, Work


class Pulled(NamedTuple):
    """Who answered: item -> replica; and passes of answers that came too late, which are counted but not used."""

    who: dict[Name, int]
    dropped: int


def pulls(plan: Plan, call: Call) -> bool:
    """Whether devices choose what they measure; in an evaluation every chip measures everything."""
    return plan.pulls and call.purpose == keys.TRAIN


def lots(mine: list[Work]) -> list[Work]:
    """The items of one group in one lane as one lot."""
    if not mine:
        return []
    first, items = mine[0], tuple(work.item for work in mine)
    rows = tuple(row for item in items for row in item.rows)
    return [first._replace(item=first.item._replace(rows=rows), parts=items)]


def pieces(work: Work) -> tuple[tuple[int, int], ...]:
    """Rows lo..hi of each item of a lot; nothing of other work."""
    ends = np.cumsum([len(item.rows) for item in work.parts]).tolist()
    return tuple(zip([0, *ends[:-1]], ends, strict=True)) if ends else ()


def pulled(work: Work, reading: Reading) -> Pulled:
    """What the devices of a lot did."""
    names = [(work.group.index, item.number) for item in work.parts]
    return Pulled(dict(zip(names, reading.who, strict=True)), reading.dropped)


def losses(work: Work, means: np.ndarray) -> dict[Name, np.ndarray]:
    """Mean losses [rows] by item."""
    if not work.parts:
        return {work.name: means}
    return {(work.group.index, i.number): means[lo:hi] for i, (lo, hi) in zip(work.parts, pieces(work), strict=True)}


def told(plan: Plan, reports: list[Report]) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """For the record of a step: passes that were dropped, and "who/GROUP", int32 [items]; nothing in the other mode."""
    found = [report.pulled for report in reports if report.pulled]
    if not found:
        return {}, {}
    who = {name: replica for some in found for name, replica in some.who.items()}
    arrays = {
        f"who/{group.index}": np.array([who[(group.index, item.number)] for item in items], np.int32)
        for group, items in zip(plan.groups, plan.items, strict=True)
    }
    return {"dropped": sum(some.dropped for some in found)}, arrays

"""What passes between coordinator and workers: calls, messages, reports; and what there is to do in a call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from algorithms.contracts import Passes
from orchestrator.core import keys, records
from orchestrator.core.ledger import Entry
from orchestrator.core.plan import Group, Item, Plan
from orchestrator.core.pulling import Pulled

Array = Any
Name = tuple[int, int]  # (group, item)


class Call(NamedTuple):
    """What the coordinator sends in a step: its number, its purpose, the previous record. Workers draw the batch."""

    step: int
    purpose: int
    record: records.Record | None
    samples: int | None = None  # evaluation: how many test samples


class Work(NamedTuple):
    """One item of one group in one call. parts: the items that it stands for, if devices pull them."""

    group: Group
    passes: Passes
    item: Item
    parts: tuple[Item, ...] = ()

    @property
    def name(self) -> Name:
        return self.group.index, self.item.number


class Message(NamedTuple):
    """What a stage hands on for one item: h [rows, batch, n], or the outputs of some tiles, to be joined; scores."""

    h: Array | None
    parts: dict[int, Array]
    scores: Array | None = None


class Trace(NamedTuple):
    """What a worker keeps of one item in one stage until the reply: x before encoding, tile outputs, v and h joined.

    jitter: what was added to h, if anything.
    """

    h_in: Array
    parts: dict[int, Array]
    v: Array | None
    h: Array | None
    jitter: Array | None = None


@dataclass
class Report:
    """What comes back from one call; items are named by (group, number)."""

    worker: int
    losses: dict[Name, np.ndarray] = field(default_factory=dict)  # mean over samples, float32 [rows]
    gradients: dict[Name, dict] = field(default_factory=dict)  # {(stage, tile): summed over samples}
    correct: dict[Name, tuple[int, float]] = field(default_factory=dict)  # right answers, loss summed
    entries: list[Entry] = field(default_factory=list)  # summed before they are sent
    pulled: Pulled | None = None


def all_work(plan: Plan, call: Call) -> Iterator[Work]:
    """Every item of a call, for all lanes, in the one order in which a chip meets them."""
    if call.purpose == keys.TRAIN:
        for group, items in zip(plan.groups, plan.items, strict=True):
            for item in items:
                yield Work(group, group.passes, item)
        return
    passes = plan.predicts
    if call.purpose == keys.PROMISE:
        passes = Passes(passes.probe, passes.scale, passes.label, on="twin", noisy=True)
    assert call.samples is not None
    for item in plan.evaluation_items(call.samples):
        yield Work(plan.groups[-1], passes, item)

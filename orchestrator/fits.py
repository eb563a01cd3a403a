"""Whether a run fits: the work of one step into a list, and what a worker holds into the memory of this machine."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from orchestrator import machine
from orchestrator.core import memory
from orchestrator.core.plan import Plan, build
from orchestrator.data import Dataset
from orchestrator.problems import Problem, Where, dotted
from orchestrator.spec import Run

MAX_ITEMS = 1_000_000  # of one step or evaluation; each costs some 0.1 ms whatever is in it
CANDIDATES = 4  # fields tried for one that would make it fit
REPLICAS: Where = ("fleet", "replicas")
GiB = 2**30


def work_problems(plan: Plan, data: Dataset) -> list[Problem]:
    """More items of work than can be listed, counted without listing them."""
    train, found = plan.run.train, []
    for group in plan.groups:
        if group.algorithm.spread == "probes":
            key, parts = "rows", -(-len(group.passes) // train.rows)
        else:
            key, parts = "chunk", -(-train.batch // min(train.chunk, train.batch))
        found += _items(plan, key, plan.rounds * parts, "a step")
    spans = -(-_samples(plan, data) // train.evaluate_chunk)
    return list(dict.fromkeys(found + _items(plan, "evaluate_chunk", plan.replicas * spans, "an evaluation")))


def _items(plan: Plan, key: str, count: int, of: str) -> list[Problem]:
    if count <= MAX_ITEMS:
        return []
    wrong = f"cuts {of} into {count:,} pieces of work"
    allowed = f"so much that there are at most {MAX_ITEMS:,}, or fewer replicas or samples"
    return [Problem(("train", key), getattr(plan.run.train, key), wrong, allowed=allowed)]


def memory_problems(plan: Plan, data: Dataset) -> list[Problem]:
    """What surely exceeds the memory of this machine, with the field that contributes most and what would fit."""
    limit, needs = machine.total_bytes(), _needs(plan, data)
    total = sum(n.bytes for n in needs)
    if limit is None or total <= limit:
        return []
    by_field = Counter[Where]()
    for need in needs:
        if need.field:
            by_field[_adjustable(plan, need.field)] += need.bytes
    if plan.replicas > 1:
        by_field[REPLICAS] = round(total - _total(plan, data, [REPLICAS], 1))
    fields = [field for field, _ in by_field.most_common()]
    sizes = [field for field in fields if field[0] == "network"]
    for tried in ([fields[0]], *([f] for f in fields[1:CANDIDATES]), sizes, fields):
        if fit := _largest(plan, data, tried, limit):
            break
    most = max(needs, key=lambda n: n.bytes)
    wrong = (
        f"needs about {total / GiB:,.1f} GiB of memory in all, {most.bytes / GiB:,.1f} GiB of it for {most.what}; "
        f"there are {limit / GiB:,.1f} GiB"
    )
    values = {field: _value(plan, data, field) for field in tried if _value(plan, data, field) > fit}
    rest = f"with {', '.join(map(dotted, values))} alike and the rest" if len(values) > 1 else "with the rest"
    allowed = f"up to about {fit:,}, {rest} as it is" if fit else "a much smaller run"
    return [Problem(f, v, wrong, allowed=allowed, instead=fit or None) for f, v in values.items()]


def _adjustable(plan: Plan, where: Where) -> Where:
    """The field to change for a contributor: the outputs of the last stage are given by the data."""
    if where[:1] != ("network",):
        return where
    index = int(where[1])
    stage = plan.run.network[index]
    numbers = {k: v for k, v in stage.options.items() if isinstance(v, int) and v > stage.size}
    if numbers:
        return ("network", index, max(numbers, key=lambda k: numbers[k]))
    last = index == len(plan.stages) - 1
    return ("network", index - 1 if last and index else index, "size")


def _largest(plan: Plan, data: Dataset, fields: list[Where], limit: int) -> int:
    """The largest power of two with which all fits if none of these fields is above it; or 0."""
    highest = max(_value(plan, data, field) for field in fields)
    low, high = -1, max(highest, 1).bit_length() - 1  # exponents; -1 stands for 0
    while low < high:
        middle = (low + high + 1) // 2
        if _total(plan, data, fields, 2**middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return 2**low if low >= 0 else 0


def _total(plan: Plan, data: Dataset, fields: list[Where], most: int) -> float:
    """The need if none of these fields were above `most`; infinite if they cannot be so small."""
    tree = plan.run.model_dump(exclude_none=True)
    for field in fields:
        node: Any = tree
        for part in field[:-1]:
            node = node[part]
        node[field[-1]] = min(most, _value(plan, data, field))
    try:
        changed = build(Run.model_validate(tree), plan.n_features, plan.n_classes)
        return sum(n.bytes for n in _needs(changed, data))
    except Exception:  # whatever a plug-in raises
        return math.inf


def _needs(plan: Plan, data: Dataset) -> list[memory.Need]:
    arrays = (data.x_train, data.y_train, data.x_test, data.y_test)
    return memory.needs(plan, sum(a.nbytes for a in arrays))


def _samples(plan: Plan, data: Dataset) -> int:
    return min(plan.run.train.evaluate_samples or len(data.x_test), len(data.x_test))


def _value(plan: Plan, data: Dataset, where: Where) -> int:
    """The value of a field; what stands for it if it is not set."""
    node: Any = plan.run.model_dump()
    for part in where:
        node = node[part]
    unset = {"train_samples": len(data.x_train), "evaluate_samples": len(data.x_test)}
    return int(unset[str(where[-1])] if node is None else node)

"""Bundles of items that follow each other through the segments of a lane, so that its stages measure side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

WAVES = 64  # at most, of the items of one lane in one call
A = TypeVar("A")


def waves(items: Sequence[A]) -> list[Sequence[A]]:
    """The items in order, in as many bundles of about equal size as there may be."""
    n = min(WAVES, len(items))
    return [items[len(items) * i // n : len(items) * (i + 1) // n] for i in range(n)]

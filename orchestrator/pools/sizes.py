"""How many bytes of arrays and numbers a call carries: the ledger's wire bytes, counted alike by every pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def payload_bytes(value: Any) -> int:
    """Bytes of all arrays, and 8 for each number, below `value`; structure and names are not counted."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, np.generic | int | float):
        return 8
    if isinstance(value, Mapping):
        return sum(map(payload_bytes, value.values()))
    if isinstance(value, tuple | list):
        return sum(map(payload_bytes, value))
    if is_dataclass(value) and not isinstance(value, type):
        return sum(payload_bytes(getattr(value, f.name)) for f in fields(value))
    return 0

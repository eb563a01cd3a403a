"""The loop of a side: warm up, say so, then one round for each line of standard input, until it ends.

    -> {"ready": {"versions": {...}, "about": {...}}}
    <- a line
    -> {"value": 12.5, ...}

Standard output belongs to this protocol alone: whatever else is printed goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from orchestrator import environment

Round = Callable[[], dict[str, Any]]
Setup = Callable[[dict[str, Any]], tuple[dict[str, Any], Round]]


def serve(setup: Setup, options: dict[str, Any]) -> None:
    """setup(options) warms up and returns (about, round); round() measures once and returns {"value": number, ...}."""
    with os.fdopen(os.dup(1), "w", buffering=1) as out:
        os.dup2(2, 1)
        about, measure = setup(options)
        told = environment.describe()
        versions = {"python": told["python"], **{k: v for k, v in told["packages"].items() if v is not None}}
        out.write(json.dumps({"ready": {"versions": versions, "about": about}}) + "\n")
        for _ in sys.stdin:
            out.write(json.dumps(measure()) + "\n")

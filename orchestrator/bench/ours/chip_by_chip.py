"""`fleet` with one call for each chip and stage."""

from __future__ import annotations

from typing import Any

from orchestrator.bench.ours import fleet
from orchestrator.bench.serve import Round
from orchestrator.core import plan


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: as of `fleet`."""
    plan.FEWEST = options["chips"] + 1
    return fleet.setup(options)

"""The number of probes with which a step of `record` takes about so long in memory on this machine, for both sides."""

from __future__ import annotations

from typing import Any

from orchestrator.bench.ours.record import seconds_a_step
from orchestrator.bench.serve import Round

FEW, MANY = 2, 16


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: ms (of a step), steps (of a run, of which two are made)."""

    def measure() -> dict[str, Any]:
        few, many = ({probes: seconds_a_step(options["steps"], probes)[0] for probes in (FEW, MANY)}).values()
        probes = max(FEW, round(FEW + (options["ms"] / 1e3 - few) * (MANY - FEW) / (many - few)))
        return {"value": probes, "options": {"probes": probes}}

    return {"ms": options["ms"]}, measure

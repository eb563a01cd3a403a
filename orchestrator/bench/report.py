"""What is told of measurements: the machine, a table for people, and a small file for each row."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from orchestrator import machine
from orchestrator.bench.measure import Measured
from orchestrator.bench.row import Part, Row
from orchestrator.journal.files import write_text

GiB = 2**30


def about_machine(pinned: Sequence[int]) -> dict[str, Any]:
    """The processor, the cores that are used, the memory in bytes, and the load in the minute before."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "pinned": list(pinned),
        "memory_bytes": machine.total_bytes(),
        "load_before": round(os.getloadavg()[0], 2),
        "platform": platform.platform(),
    }


def cpu_name() -> str:
    """As the system calls it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def machine_line(about: dict[str, Any]) -> str:
    """The machine in one line."""
    memory = about["memory_bytes"]
    told = f"{about['cpu']}, {len(about['pinned'])} of {about['cores']} cores for each side"
    told += f", {memory / GiB:.1f} GiB" if memory else ""
    return f"{told}, load before {about['load_before']:g}"


def version_lines(found: Sequence[Measured]) -> list[str]:
    """One line for each side that told its versions."""
    told: dict[str, dict[str, str]] = {"ours": {}}
    for m in found:
        for which, versions in m.versions.items():
            side = m.part.ours if which == "ours" or m.part.theirs is None else m.part.theirs
            told.setdefault(side.name if side.kind == "peer" else "ours", {}).update(versions)
    return [
        f"{who}: {', '.join(f'{k} {v}' for k, v in versions.items())}" for who, versions in told.items() if versions
    ]


def table_of(row: Row, found: Sequence[Measured]) -> Table:
    """A row of the table with its parts, for people."""
    table = Table(title=row.what, title_justify="left")
    table.add_column("part")
    for head in ("ratio", "min", "max", "bar", "met", "ours", "theirs"):
        table.add_column(head, justify="right")
    table.add_column("unit")
    table.add_column("against")
    for m in found:
        told = m.json()
        numbers = [short(told[key]) for key in ("value", "min", "max")]
        met = "FAILED" if m.failure else "-" if m.part.bar is None else "yes" if m.met else "NO"
        table.add_row(
            m.part.name, *numbers, bar_of(m.part), met, short(told["ours"]), short(told["theirs"]), m.part.unit,
            m.part.peer or "-",
        )  # fmt: skip
    return table


def bar_of(part: Part) -> str:
    """The bar as it is read."""
    if part.bar is None:
        return "-"
    sign = ">=" if part.better == "higher" else "<="
    return f"{sign} {part.bar:g}" + (f", never {part.worst:g}" if part.worst is not None else "")


def short(value: float | None) -> str:
    """Four digits."""
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def remarks(found: Sequence[Measured]) -> list[str]:
    """Why parts failed, and why they miss their bars."""
    told: dict[str, list[str]] = {}
    for m in found:
        if m.failure:
            told.setdefault(f"failed: {m.failure}", []).append(m.part.name)
        elif not m.met:
            told.setdefault(f"misses its bar: {m.part.reason or 'no reason is recorded'}", []).append(m.part.name)
    return [f"{', '.join(names)} {what}" for what, names in told.items()]


# --- files ------------------------------------------------------------------------------------------------------------


def write(folder: Path, row: Row, found: Sequence[Measured], about: dict[str, Any], quick: bool) -> None:
    """ROW.json in a folder: what was measured of a row, with all its rounds. Raises OSError."""
    parts = []
    for m in found:
        rounds = {"ours": m.ours, "theirs": m.theirs}
        parts.append({**m.json(), "failure": m.failure, "rounds": rounds, "versions": m.versions, "about": m.about})
    whole = {"row": row.name, "what": row.what, "quick": quick, "machine": about, "parts": parts}
    write_text(folder / f"{row.name}.json", json.dumps(whole, indent=1) + "\n")


def read(folder: Path, row: Row, quick: bool) -> list[Measured] | None:
    """What `write` kept of a row, judged by the bars of today; None if a part is not there, or failed."""
    try:
        whole = json.loads((folder / f"{row.name}.json").read_text(encoding="utf-8"))
        kept = {told["row"]: told for told in whole["parts"]}
        if whole["quick"] != quick:
            return None
        found = []
        for part in row.parts:
            told = kept[part.name]
            if told["failure"] is not None:
                return None
            numbers = told["value"], told["min"], told["max"], told["rounds"]["ours"], told["rounds"]["theirs"]
            found.append(Measured(part, *numbers, None, told["versions"], told["about"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found

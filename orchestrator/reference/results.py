"""What cases came to: a small JSON file for each, a table for people, and a table for the documents.

CASE.json has one object for each part that was measured, complete in itself: parts may be measured on other days and
machines. `runs` are the seeds as they were trained; the rest follows from them and from the case.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from orchestrator import environment, machine
from orchestrator.bench.report import GiB, cpu_name, short
from orchestrator.journal.files import write_text
from orchestrator.reference.case import Case, Part
from orchestrator.reference.measure import Measured, Reached

HOME = Path(__file__).resolve().parents[2]
PACKAGES = ("pnn-orchestrator", "jax", "jaxlib", "flax", "optax", "numpy")
HEAD = (
    "| case | part | published | bar | reached (mean ± 95 % interval) | unit | seeds | passes a seed | minutes | |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def default_folder() -> Path:
    """docs/results/reference of a checkout, else ./reference."""
    return HOME / "docs" / "results" / "reference" if (HOME / "docs" / "results").is_dir() else Path("reference")


def told_of(case: Case, m: Measured, about: dict[str, Any] | None = None) -> dict[str, Any]:
    """The object of one part, in the file and on standard output. about: where it was measured, if that is not here."""
    part = m.part
    mean = sum(m.values) / len(m.values) if m.values else None
    costs = {key: _mean([getattr(r, key) for r in m.finished]) for key in ("passes", "writes", "steps")}
    started = {"finished": len(m.finished), "of": len(m.seeds), "needs_minutes": m.needs_min} if m.started else None
    return {
        "case": case.name,
        "part": part.name,
        "what": case.what,
        "source": case.source,
        "published": part.published,
        "recalled": part.recalled,
        "unit": part.unit,
        "split": case.split,
        "seeds": list(m.seeds),
        "values": m.values,
        "statistic": part.statistic,
        "reached": m.value,
        "mean": mean,
        "spread": {"std": m.std, "interval": m.interval},
        **costs,
        "minutes": m.minutes,
        "bar": None if part.bar is None else str(part.bar),
        "met": m.met,
        "reason": part.reason,
        "failure": m.failure,
        "skipped": m.skipped,
        "started": started,
        **(about or here()),
        "settings": settings(part),
        "runs": [r._asdict() for r in m.reached],
    }


def settings(part: Part) -> list[Any]:
    """What the values of a part depend on, as JSON reads it."""
    return json.loads(json.dumps([part.reach.__name__, *part.given]))


def here() -> dict[str, Any]:
    """Versions and machine of this process; neither its name nor a path."""
    about = environment.describe()
    versions = {"python": about["python"], **{p: about["packages"][p] for p in PACKAGES}}
    return {"versions": versions, "machine": machine_line()}


def machine_line() -> str:
    """The machine in one line."""
    memory = machine.total_bytes()
    return f"{cpu_name()}, {os.cpu_count()} cores" + (f", {memory / GiB:.1f} GiB" if memory else "")


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


# --- files ------------------------------------------------------------------------------------------------------------


def read(folder: Path, case: str) -> dict[str, dict[str, Any]]:
    """The objects in the file of a case by part; none if there is no file, or a damaged one."""
    try:
        parts = json.loads((folder / f"{case}.json").read_text(encoding="utf-8"))["parts"]
        return {told["part"]: told for told in parts}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def keep(folder: Path, case: Case, m: Measured) -> None:
    """Put what a part came to into the file of its case, whole or not at all. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = read(folder, case.name)
    before = parts.get(m.part.name, {})
    same = before.get("runs") == [r._asdict() for r in m.reached]  # then it was measured where it says it was
    about = {key: before[key] for key in ("versions", "machine")} if same else None
    parts[m.part.name] = told_of(case, m, about)
    lines = ",\n".join(json.dumps(told, allow_nan=False) for told in parts.values())
    write_text(folder / f"{case.name}.json", f'{{"case": "{case.name}", "parts": [\n{lines}\n]}}\n')


def known(folder: Path, case: Case, part: Part) -> list[Reached]:
    """The seeds of a part in the file of its case, unless they were trained with other settings."""
    told = read(folder, case.name).get(part.name, {})
    if told.get("settings") != settings(part):
        return []
    try:
        return [Reached(**run) for run in told["runs"]]
    except (KeyError, TypeError):
        return []


# --- tables -----------------------------------------------------------------------------------------------------------


def table_of(case: Case, found: Sequence[Measured]) -> Table:
    """A case with its parts, for people."""
    table = Table(title=case.what, title_justify="left")
    table.add_column("part")
    for head in ("published", "bar", "reached", "seeds", "passes", "minutes"):
        table.add_column(head, justify="right")
    table.add_column("unit")
    table.add_column("")
    for m in found:
        told = told_of(case, m)
        numbers = [published(told), told["bar"] or "-", reached(told), seeds(told), short(told["passes"])]
        table.add_row(m.part.name, *numbers, f"{m.minutes:.1f}", m.part.unit, verdict(told))
    return table


def line(told: dict[str, Any]) -> str:
    """A part as a line of the table of docs/reference-cases.md."""
    part = told["part"].partition("/")[2] or "-"
    bar = told["bar"] or "-"
    cells = [told["case"], part, published(told), bar, reached(told), told["unit"], seeds(told), short(told["passes"])]
    return "| " + " | ".join([*cells, f"{told['minutes']:.1f}", verdict(told)]) + " |"


def published(told: dict[str, Any]) -> str:
    """The number of the source."""
    number = short(told["published"])
    return f"{number} (recalled)" if told["recalled"] else number


def reached(told: dict[str, Any]) -> str:
    """Mean and interval; the median before them if the bar is about it."""
    if told["mean"] is None:
        return "-"
    mean, interval = short(told["mean"]), told["spread"]["interval"]
    if interval:
        mean += f" ± {(interval[1] - interval[0]) / 2:.2g}"
    return f"median {short(told['reached'])}, mean {mean}" if told["statistic"] == "median" else mean


def seeds(told: dict[str, Any]) -> str:
    """How many seeds were trained, of those that are asked for."""
    done, all_ = len(told["values"]), len(told["seeds"])
    return str(all_) if done == all_ else f"{done} of {all_}"


def verdict(told: dict[str, Any]) -> str:
    """Met, not met and why, only reported; or why there is no verdict."""
    if told["failure"]:
        return f"failed: {told['failure']}"
    if told["skipped"]:
        return f"skipped: {told['skipped']}"
    if told["started"]:
        return _started(told)
    if told["bar"] is None:
        return "reported"
    return "met" if told["met"] else f"not met: {told['reason'] or 'no reason is recorded'}"


def _started(told: dict[str, Any]) -> str:
    needs = told["started"]["needs_minutes"]
    text = f"started, would need {needs:.0f} minutes" if needs is not None else "started"
    cut = [run for run in told["runs"] if run["needs_min"] is not None]
    return f"{text}; {short(cut[-1]['value'])} after {short(cut[-1]['passes'])} passes" if cut else text

"""Write the table of docs/performance.md from what `pnn bench --out docs/results/bench` kept.

python tools/performance_table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchestrator.bench import table
from orchestrator.bench.report import bar_of, machine_line, short

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- made by tools/performance_table.py -->", "<!-- end -->"
HEAD = "| part | against | bar | reached (least to most) | ours | theirs | unit | |\n|---|---|---|---|---|---|---|---|"


def lines(row: Any, whole: dict[str, Any]) -> list[str]:
    """A line for each part of a row."""
    told = {part["row"]: part for part in whole["parts"]}
    found = []
    for part in row.parts:
        if part.name not in told or (part.bar is None and part.their_key):  # the same rounds against a slower way
            continue
        t = told[part.name]
        met = "failed" if t["failure"] else "" if part.bar is None else "met" if t["met"] else "**not met**"
        value = f"{short(t['value'])} ({short(t['min'])} to {short(t['max'])})"
        numbers = [bar_of(part) if part.bar is not None else "reported", value, short(t["ours"]), short(t["theirs"])]
        found.append(f"| `{part.name}` | {' | '.join([part.peer or '-', *numbers, part.unit, met])} |")
    return found


def main() -> None:
    """The text between the two marks is replaced."""
    found, machines = [HEAD], set()
    for row in map(table.load, table.NAMES):
        path = ROOT / "docs" / "results" / "bench" / f"{row.name}.json"
        if path.exists():
            whole = json.loads(path.read_text())
            machines.add(machine_line(whole["machine"]).rpartition(",")[0])
            found += lines(row, whole)
    page = ROOT / "docs" / "performance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    text = "\n".join([BEGIN, "", f"Machine: {'; '.join(sorted(machines))}.", "", *found, "", END])
    page.write_text(before + text + after)


if __name__ == "__main__":
    main()

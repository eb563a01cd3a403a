"""Write the table of docs/reference-cases.md from what `pnn reference run` kept in docs/results/reference.

python tools/reference_table.py
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.reference import results, table

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- made by tools/reference_table.py -->", "<!-- end -->"


def main() -> None:
    """The text between the two marks is replaced."""
    lines, machines = [results.HEAD], set()
    for case in table.choose([]):
        told = results.read(ROOT / "docs" / "results" / "reference", case.name)
        for found in (told[part.name] for part in case.parts if part.name in told):
            lines.append(results.line(found))
            machines.add(found["machine"])
    page = ROOT / "docs" / "reference-cases.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    measured = f"Measured on: {'; '.join(sorted(machines))}." if machines else "Nothing was measured yet."
    page.write_text(before + "\n".join([BEGIN, "", measured, "", *lines, "", END]) + after)


if __name__ == "__main__":
    main()

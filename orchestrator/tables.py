"""The tables of a comparison."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from orchestrator.api import Result
from orchestrator.compare import paired_difference
from orchestrator.view import number


def percent(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds, in per cent."""
    mean = 100 * sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.1f}"
    spread = (sum((100 * v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.1f} ± {spread:.1f}"


def accuracy_table(methods: dict[str, list[Result]]) -> Table:
    """What each method is worth on the chips."""
    best = max(methods, key=lambda m: sum(r.accuracy for r in methods[m]))
    table = Table(
        title="Accuracy in %: mean ± standard deviation over seeds (fresh chips for each)", title_justify="left"
    )
    columns = ("promised", "on the chips", "worst chip", f"difference to {best} (95 % interval)")
    table.add_column("method")
    for column in columns:
        table.add_column(column, justify="right")
    reference = [r.accuracy for r in methods[best]]
    for name, results in methods.items():
        accuracy = [r.accuracy for r in results]
        mean, low, high = (100 * d for d in paired_difference(accuracy, reference))
        told = "" if name == best else f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
        promised = percent([r.accuracy_promised for r in results])
        table.add_row(name, promised, percent(accuracy), percent([r.accuracy_worst for r in results]), told)
    return table


def cost_table(methods: dict[str, list[Result]]) -> Table:
    """What each method costs in training: one run, the mean over seeds where they differ."""
    table = Table(title="Cost of one training run (evaluation not counted)", title_justify="left")
    table.add_column("method")
    fields = {
        "physical\nparams": "parameters_physical",
        "digital\nparams": "parameters_digital",
        "steps": "steps",
        "passes": "passes",
        "calls": "calls",
        "writes": "writes",
        "passes a\nprediction": "passes_per_prediction",
        "device\nseconds": "device_seconds",
        "joules\n(reads)": "joules",
        "wire\nbytes": "wire_bytes",
        "wall\nseconds": "wall_s",
    }
    for head in fields:
        table.add_column(head, justify="right")
    for name, results in methods.items():
        row = []
        for attribute in fields.values():
            values = [getattr(r, attribute) for r in results]
            known = [v for v in values if v is not None]
            row.append(number(sum(known) / len(known) if known else None))
        table.add_row(name, *row)
    return table


def show(table: Table, width: int = 150) -> str:
    """A table as text, wide enough not to be cut."""
    out = Console(width=width, record=True, file=io.StringIO())
    out.print(table)
    return out.export_text().rstrip()

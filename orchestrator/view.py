"""What a person sees while a run goes on: a live line on a terminal, plain lines elsewhere. All of it on stderr."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from orchestrator import machine
from orchestrator.api import Result
from orchestrator.compare import paired_difference
from orchestrator.core.coordinator import Progress as Seen

QUIET_S = 30.0  # without a terminal, a line at least so often

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """A line for a person."""
    console.print(message)


class View:
    """Follows one run; `devices` are named so that their health can be told."""

    def __init__(self, what: str, steps: int, devices: int, plain: bool | None = None) -> None:
        self.plain = not console.is_terminal if plain is None else plain
        self._what, self._steps, self._devices = what, steps, devices
        # (step, seconds, passes) when steps began: compiling is not counted
        self._before: tuple[int, float, float] | None = None
        self._accuracy: float | None = None
        self._loss: float | None = None
        self._bar: Progress | None = None
        self._task: Any = None
        self._last_s = time.perf_counter()  # when a plain line was written

    def __enter__(self) -> View:
        if not self.plain:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console, refresh_per_second=5)
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._steps, told="compiling ...")
        else:
            console.print(f"{self._what}: {self._steps} steps, {self._devices} devices")
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, seen: Seen) -> None:
        self._accuracy = seen.accuracy if seen.accuracy is not None else self._accuracy
        self._loss = seen.loss if seen.loss is not None else self._loss
        told = self._told(seen)
        if self._bar:
            self._bar.update(self._task, completed=seen.step, told=told)
        elif seen.accuracy is not None or time.perf_counter() - self._last_s > QUIET_S:
            self._last_s = time.perf_counter()
            console.print(f"{self._what}: step {seen.step}/{seen.steps}, {told}{self._left(seen)}")

    def _told(self, seen: Seen) -> str:
        now, passes = time.perf_counter(), float(seen.passes)
        if self._before is None:
            self._before = seen.step, now, passes
        _, began, before = self._before
        parts = [] if self._loss is None else [f"loss {self._loss:.3f}"]
        if self._accuracy is not None:
            parts.append(f"accuracy {100 * self._accuracy:.1f} %")
        if passes > before:
            parts.append(f"{(passes - before) / (now - began):,.0f} passes/s")
        if used := machine.used_bytes():
            parts.append(f"{used / 1e9:.1f} GB")
        parts.append(f"{self._devices} of {self._devices} devices well")
        return ", ".join(parts)

    def _left(self, seen: Seen) -> str:
        """How long it will still take, once two steps tell."""
        assert self._before is not None
        step, began, _ = self._before
        if seen.step <= step or seen.step == seen.steps:
            return ""
        left_s = (time.perf_counter() - began) / (seen.step - step) * (seen.steps - seen.step)
        return f", {timedelta(seconds=round(left_s))} left"


def number(value: float | None, digits: int = 3) -> str:
    """For a table; `-` where there is no source for a figure."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


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

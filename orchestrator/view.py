"""What a person sees while a run goes on: a live line on a terminal, plain lines elsewhere. All of it on stderr."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

from orchestrator import machine

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from orchestrator.core.coordinator import Progress as Seen

QUIET_S = 30.0  # without a terminal, a line at least so often


@cache
def console() -> Console:
    """Of a terminal; whoever has none does without Rich, which takes its time to be imported."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def say(message: str) -> None:
    """A line for a person."""
    if sys.stderr.isatty():
        console().print(message)
    else:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()


class View:
    """Follows one run; `devices` are named so that their health can be told."""

    def __init__(self, what: str, steps: int, devices: int, plain: bool | None = None) -> None:
        self.plain = not sys.stderr.isatty() if plain is None else plain
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
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console(), refresh_per_second=5)
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._steps, told="compiling ...")
        else:
            say(f"{self._what}: {self._steps} steps, {self._devices} devices")
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
            say(f"{self._what}: step {seen.step}/{seen.steps}, {told}{self._left(seen)}")

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

"""Ctrl+C and SIGTERM: the first asks training to finish its step and stop, the second stops it now."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal ended what was going on. Not a KeyboardInterrupt: the command line takes those for Ctrl+C."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Interrupts:
    """Handlers for a `with` block; called, it says whether to stop. Until `be_patient` the first signal ends all.

    After a signal the process ends behind the block, and says so; a further one would only cut that short.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.signum: int | None = None
        self._tell = tell
        self._patient = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        self._before = {s: signal.signal(s, self._handle) for s in SIGNALS}
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler if self.signum is None else signal.SIG_IGN)

    def __call__(self) -> bool:
        return self.signum is not None

    def be_patient(self, patient: bool = True) -> None:
        """From now on the first signal waits for the step to end. Installs the handlers anew: Ray puts its own."""
        self._patient = patient
        for signum in SIGNALS:
            signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self._patient or self.signum is not None:
            self.signum = signum
            raise Interrupted(signum)
        self.signum = signum
        self._tell(f"{signal.Signals(signum).name}: finishing the step, then stopping. Again: stop now.")

"""Items on their way through devices: each is a generator that asks devices and goes on when they have answered.

Devices in this process answer at once (`through`). Those of a host are asked without waiting (`Streams`): one thread
hears whichever device answers first and lets the item go on, so that devices measure at the same time, each strictly
in the order in which it is asked. What an item computes does not depend on when it does.
"""

from __future__ import annotations

import selectors
import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from typing import Any, NamedTuple

from orchestrator.core import spans
from orchestrator.core.shards import Ask
from physics.contracts import Device, DeviceError, Disconnected
from physics.hosted import Host, HostedDevice

AHEAD = 3  # requests that a device may have beside the one that it does
SMALL = 1 << 16  # bytes of a request that may wait in a socket; a larger one is sent when the device waits for it


class Together(NamedTuple):
    """Generators to run side by side; yielded by one that wants their values, in their order."""

    parts: Sequence[Generator[Any, Any, Any]]


def through(task: Generator) -> Any:
    """The value of a task whose devices are all in this process; one thing after the other."""
    answers: Any = None
    error: DeviceError | None = None
    while True:
        try:
            asked = task.send(answers) if error is None else task.throw(error)
        except StopIteration as stop:
            return stop.value
        error = None
        if isinstance(asked, Together):
            answers = [through(part) for part in asked.parts]
            continue
        try:
            answers = []
            for ask in asked:
                with spans.span(spans.PHYSICS, ask.of):
                    answers.append(spans.ready(ask.device.execute(ask.request)))
        except DeviceError as found:
            error = found


class _Task:
    """A generator, what it waits for, and who waits for it."""

    __slots__ = ("answers", "done", "generator", "missing", "parent", "slot", "value")

    def __init__(self, generator: Generator, parent: _Task | None = None, slot: int = 0) -> None:
        self.generator, self.parent, self.slot = generator, parent, slot
        self.answers: list[Any] = []
        self.missing = 0
        self.done = False
        self.value: Any = None


class Stopped(RuntimeError):
    """The worker makes its devices safe, and waits for nothing any more."""


class Streams:
    """The items of one worker on the devices of its host. Several threads may run items at once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._turn = threading.Condition()
        self._listens = False  # whether a thread does, for all
        self._failed: BaseException | None = None
        self._waiting: dict[Device, deque[tuple[_Task, int]]] = {d: deque() for d in host.channels}
        self._later: dict[Device, deque[Ask]] = {d: deque() for d in host.channels}
        self._selector = selectors.DefaultSelector()
        for device in host.channels:
            self._selector.register(device.connection, selectors.EVENT_READ, device)

    def start(self, items: Iterable[Generator]) -> list[_Task]:
        """Let items begin, in their order. Raises what has stopped the others."""
        with self._turn:
            self._check()
            tasks = [_Task(item) for item in items]
            for task in tasks:
                self._advance(task, None)
            return tasks

    def values(self, tasks: list[_Task]) -> list[Any]:
        """Wait for items. If one fails, all do: devices are halted, the error is raised."""
        with self._turn:
            while not all(task.done for task in tasks):
                self._check()
                if self._listens:
                    self._turn.wait()
                    continue
                self._listens = True
                self._turn.release()
                try:
                    with spans.span(spans.PHYSICS, "devices of the host"):
                        heard = self._selector.select()
                finally:
                    self._turn.acquire()
                    self._listens = False
                for key, _ in heard:
                    if self._failed is None:
                        self._hear(key.data)
                self._turn.notify_all()
            return [task.value for task in tasks]

    def fresh(self) -> None:
        """A new call: forget what stopped the last one."""
        with self._turn:
            self._failed = None

    def stop(self) -> None:
        """Wake whoever waits; nothing more is measured."""
        with self._turn:
            if any(self._waiting.values()):
                self._fail(Stopped("the devices are made safe"))

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _hear(self, device: HostedDevice) -> None:
        """One answer."""
        if not self._waiting[device]:
            self._fail(Disconnected(f"{device.identity.serial}: the process that drives it is gone."))
            return
        task, i = self._waiting[device].popleft()
        try:
            task.answers[i] = device.collect()
            self._send(device)
        except DeviceError as error:
            self._advance(task, None, error)
            return
        task.missing -= 1
        if task.missing == 0:
            self._advance(task, task.answers)

    def _advance(self, task: _Task, answers: Any, error: DeviceError | None = None) -> None:
        """Let a task go on until it waits again."""
        try:
            while True:
                asked = task.generator.send(answers) if error is None else task.generator.throw(error)
                error = None
                things = asked.parts if isinstance(asked, Together) else asked
                answers = task.answers = [None] * len(things)
                task.missing = len(things)
                if isinstance(asked, Together) and things:
                    for i, part in enumerate(things):
                        self._advance(_Task(part, task, i), None)
                    return  # the last part to end has let it go on, or will
                try:
                    for i, ask in enumerate(things):
                        self._ask(task, i, ask)
                except DeviceError as found:
                    error = found
                    continue
                if task.missing:
                    return
        except StopIteration as stop:
            task.done, task.value = True, stop.value
            parent = task.parent
            if parent is not None:
                parent.answers[task.slot] = task.value
                parent.missing -= 1
                if parent.missing == 0:
                    self._advance(parent, parent.answers)
        except BaseException as found:
            self._fail(found)

    def _ask(self, task: _Task, i: int, ask: Ask) -> None:
        if not isinstance(ask.device, HostedDevice):
            task.answers[i] = ask.device.execute(ask.request)
            task.missing -= 1
            return
        self._waiting[ask.device].append((task, i))
        self._later[ask.device].append(ask)
        self._send(ask.device)

    def _send(self, device: HostedDevice) -> None:
        """As much as the device may have."""
        later = self._later[device]
        while later and (device.asked == 0 or (device.asked <= AHEAD and _bytes(later[0]) <= SMALL)):
            device.submit(later.popleft().request)

    def _fail(self, error: BaseException) -> None:
        """Halt every device and hear what was under way, so that the next request meets its own answer."""
        if self._failed is not None:
            return
        self._failed = error
        self._host.halt()
        for device, waiting in self._waiting.items():
            assert isinstance(device, HostedDevice)
            while device.asked:
                try:
                    device.collect()
                except DeviceError:
                    pass
            waiting.clear()
            self._later[device].clear()
        self._host.go()
        self._turn.notify_all()


def _bytes(ask: Ask) -> int:
    written = ask.request.written or {}
    return ask.request.x.nbytes + sum(v.nbytes for v in written.values())

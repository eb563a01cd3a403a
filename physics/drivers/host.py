"""The process that talks to instruments: one thread for each, no JAX. Started by `physics.hosted`, never by hand.

    python -m physics.drivers.host MEMORY CONTROL QUEUE DEVICE [DEVICE ...]   (numbers of inherited memory and sockets)

Each device has a socket of its own: what comes through it is done strictly in order, and answered in order. The process
lives as long as its worker. When that is gone, by whatever death, every socket ends, and every device comes to rest.
With a QUEUE (else -1), devices pull what comes through it as well, by a second thread for each device.
"""

from __future__ import annotations

import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from physics.contracts import Refused
from physics.driven import DrivenDevice, Plain, told
from physics.drivers import registry
from physics.drivers.queue import Lot, Queue, pull
from physics.drivers.shared import Place, View

HALT, GO = b"H", b"G"


def main() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):  # the worker is told, and says what is to be done
        signal.signal(signum, signal.SIG_IGN)
    memory, control_number, queue_number, *numbers = map(int, sys.argv[1:])
    control, halted = Connection(control_number), threading.Event()
    queue = Queue() if queue_number >= 0 else None
    about = [(i, Connection(number), halted, View(memory), queue) for i, number in enumerate(numbers)]
    threads = [threading.Thread(target=serve, args=args) for args in about]
    if queue:
        threads.append(threading.Thread(target=give, args=(Connection(queue_number), View(memory), queue)))
    for thread in threads:
        thread.start()
    try:
        while True:
            if control.recv_bytes() == HALT:
                halted.set()
                if queue:
                    queue.halt()
            else:
                halted.clear()
            control.send_bytes(b"")
    except (EOFError, OSError):
        halted.set()
        if queue:
            queue.end()
    for thread in threads:
        thread.join()


def serve(number: int, connection: Connection, halted: threading.Event, memory: View, queue: Queue | None) -> None:
    """One device: (what to do, arguments) -> (None, answer) or (kind of error, message), until the other side ends.

    After an error other than a refusal, which changes nothing, the device is at rest before the answer is sent.
    """
    device: Any = None
    alone, puller = threading.Lock(), None
    try:
        while True:
            what, *arguments = connection.recv()
            try:
                if what == "open":
                    name, options, fitting = arguments
                    device = DrivenDevice(registry.load(name)(fitting, **options), halted.is_set)
                    answer: Any = device.identity
                    if queue:
                        puller = threading.Thread(target=pull, args=(number, device, alone, queue))
                        puller.start()
                elif what == "measure":
                    with alone:
                        r = device.measure(_found(memory, *arguments))
                    answer = r.v, r.writes, r.seconds, r.joules, r.source
                else:
                    with alone:
                        answer = device.rest()
            except Exception as error:
                if device is not None and not isinstance(error, Refused):
                    with alone:
                        device.rest()
                connection.send((type(error).__name__, told(error)))
            else:
                connection.send((None, answer))
    except (EOFError, OSError):
        pass
    finally:
        if queue and puller:
            queue.end()  # a socket ends when the worker is gone
            puller.join()
        if device is not None:
            device.close()


def give(connection: Connection, memory: View, queue: Queue) -> None:
    """The lots of a worker, one after the other, to the queue from which devices pull."""
    try:
        while True:
            asked, pieces = connection.recv()
            try:
                answer = queue.answer(Lot(_found(memory, asked), pieces))
            except Exception as error:
                connection.send((type(error).__name__, told(error)))
            else:
                connection.send((None, tuple(answer)))
    except (EOFError, OSError):
        pass


def _found(memory: View, asked: Plain) -> Plain:
    """With arrays in place of their places in the memory."""
    assert isinstance(asked.written, dict)
    return asked._replace(written={k: memory.at(v) if isinstance(v, Place) else v for k, v in asked.written.items()})


if __name__ == "__main__":
    main()

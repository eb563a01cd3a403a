"""The process that talks to instruments: one thread for each, no JAX. Started by `physics.hosted`, never by hand.

    python -m physics.drivers.host MEMORY CONTROL DEVICE [DEVICE ...]     (numbers of inherited memory and sockets)

Each device has a socket of its own: what comes through it is done strictly in order, and answered in order. The process
lives as long as its worker. When that is gone, by whatever death, every socket ends, and every device comes to rest.
"""

from __future__ import annotations

import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from physics.contracts import DeviceError, Refused
from physics.driven import DrivenDevice
from physics.drivers import registry
from physics.drivers.shared import Place, View

HALT, GO = b"H", b"G"


def main() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):  # the worker is told, and says what is to be done
        signal.signal(signum, signal.SIG_IGN)
    memory, *numbers = map(int, sys.argv[1:])
    control, devices = Connection(numbers[0]), [Connection(number) for number in numbers[1:]]
    halted = threading.Event()
    threads = [threading.Thread(target=serve, args=(c, halted, View(memory))) for c in devices]
    for thread in threads:
        thread.start()
    try:
        while True:
            (halted.set if control.recv_bytes() == HALT else halted.clear)()
            control.send_bytes(b"")
    except (EOFError, OSError):
        halted.set()
    for thread in threads:
        thread.join()


def serve(connection: Connection, halted: threading.Event, memory: View) -> None:
    """One device: (what to do, arguments) -> (None, answer) or (kind of error, message), until the other side ends.

    After an error other than a refusal, which changes nothing, the device is at rest before the answer is sent.
    """
    device: Any = None
    try:
        while True:
            what, *arguments = connection.recv()
            try:
                if what == "open":
                    name, options, fitting = arguments
                    device = DrivenDevice(registry.load(name)(fitting, **options), halted.is_set)
                    answer: Any = device.identity
                elif what == "measure":
                    written, *names = arguments
                    found = {k: memory.at(v) if isinstance(v, Place) else v for k, v in written.items()}
                    r = device.measure(found, *names)
                    answer = r.v, r.writes, r.seconds, r.joules, r.source
                else:
                    answer = device.rest()
            except Exception as error:
                if device is not None and not isinstance(error, Refused):
                    device.rest()
                connection.send((type(error).__name__, _told(error)))
            else:
                connection.send((None, answer))
    except (EOFError, OSError):
        pass
    finally:
        if device is not None:
            device.close()


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, DeviceError) else f"the driver failed with {error!r}."


if __name__ == "__main__":
    main()

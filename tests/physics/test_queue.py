"""The queue from which devices pull: who gets what, what counts, what is dropped."""

import threading
import time

import numpy as np
import pytest

from physics.contracts import DeviceError, Reading
from physics.driven import Plain
from physics.drivers.queue import Lot, Queue


def lot(pieces=3):
    rows = 2 * pieces
    spans = tuple((2 * i, 2 * i + 2) for i in range(pieces))
    names = tuple((0, 0, 0, r) for r in range(rows))
    w, x = np.arange(rows, dtype=np.float32)[:, None], np.ones((1, 1, 1), np.float32)
    return Lot(Plain({"w": w}, x, tuple((0, 1, r) for r in range(rows)), names, 0, 1, None), spans)


def reading(taken, seconds=1.0):
    written, _, versions, requests, *_ = taken.asked
    return Reading(written["w"][:, None], versions, requests, 2, 2, 2, seconds, None, "modelled")


@pytest.fixture
def asked():
    """asked(queue, lot) -> a function that waits for the answer, or raises."""

    def ask(queue, what):
        found = []

        def answer():
            try:
                found.append(queue.answer(what))
            except Exception as error:
                found.append(error)

        thread = threading.Thread(target=answer)
        thread.start()
        while queue._lot is not what and thread.is_alive():
            time.sleep(0.001)

        def wait():
            thread.join(10)
            if isinstance(found[0], Exception):
                raise found[0]
            return found[0]

        return wait

    return ask


def test_pieces_in_order_and_the_answer_in_rows(asked):
    queue, what = Queue(), lot()
    wait = asked(queue, what)
    taken = [queue.take(device) for device in (5, 6, 7)]
    assert [t.piece for t in taken] == [0, 1, 2]
    for device, some in ((7, taken[2]), (5, taken[0]), (6, taken[1])):
        queue.answered(device, some, reading(some))
    found = wait()
    assert found.who == (5, 6, 7) and found.v.ravel().tolist() == list(range(6))
    assert (found.writes, found.passes, found.calls, found.seconds, found.joules, found.dropped) == (
        6,
        6,
        6,
        3,
        None,
        0,
    )


def test_an_idle_device_gets_what_is_out_for_the_longest_and_the_first_answer_counts(asked):
    queue, what = Queue(), lot(2)
    wait = asked(queue, what)
    slow, quick = queue.take(0), queue.take(1)
    queue.answered(1, quick, reading(quick))
    again = queue.take(1)
    assert again.piece == slow.piece == 0
    queue.answered(1, again, reading(again))
    found = wait()
    assert found.who == (1, 1) and found.dropped == 0 and found.passes == 4
    wait = asked(queue, lot(1))
    mine = queue.take(1)
    queue.answered(0, slow, reading(slow))  # of the lot before
    queue.answered(1, mine, reading(mine))
    found = wait()
    assert found.who == (1,) and (found.passes, found.dropped) == (4, 2), "counted when it comes, and once"
    wait = asked(queue, lot(1))
    mine = queue.take(0)
    queue.answered(0, mine, reading(mine))
    assert wait().dropped == 0


def test_a_device_does_not_take_what_another_will_have_done_first(asked):
    queue, what = Queue(), lot(1)
    queue._takes[1] = 10.0  # seconds
    asked(queue, what)
    queue.take(0)
    with queue._more:
        piece, wait_s = queue._next(1)
    assert piece is None and 19 < wait_s <= 20
    queue.end()


def test_what_is_written_is_a_copy(asked):
    queue, what = Queue(), lot(1)
    asked(queue, what)
    taken = queue.take(0)
    what.asked.written["w"][...] = -1
    assert taken.asked.written["w"].ravel().tolist() == [0, 1]
    queue.end()


def test_an_error_of_a_lot_and_one_of_the_lot_before(asked):
    queue = Queue()
    wait = asked(queue, lot(2))
    straggler, other = queue.take(0), queue.take(1)
    queue.failed(1, other, DeviceError("one"))
    with pytest.raises(DeviceError, match="one"):
        wait()
    queue.failed(0, straggler, DeviceError("two"))
    with pytest.raises(DeviceError, match="two"):
        asked(queue, lot(1))()
    wait = asked(queue, lot(1))
    taken = queue.take(1)
    queue.answered(1, taken, reading(taken))
    assert wait().who == (1,)


def test_a_halt_waits_for_who_is_busy(asked):
    queue = Queue()
    wait = asked(queue, lot(2))
    taken = queue.take(0)
    halting = threading.Thread(target=queue.halt)
    halting.start()
    with pytest.raises(DeviceError, match="halted"):
        wait()
    assert halting.is_alive()
    queue.failed(0, taken, DeviceError("halted before a sample"))
    halting.join(10)
    assert not halting.is_alive() and queue._error is None


def test_the_end_wakes_everyone(asked):
    queue = Queue()
    wait = asked(queue, lot(1))
    queue.take(0)
    waiting = threading.Thread(target=queue.take, args=(1,))
    waiting.start()
    queue.end()
    waiting.join(10)
    assert not waiting.is_alive()
    with pytest.raises(DeviceError):
        wait()

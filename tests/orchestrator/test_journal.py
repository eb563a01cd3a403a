"""The journal file: what is appended comes back, what is cut short is cut off, damage is refused with its place."""

import os
import shutil
import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import train
from orchestrator.api import resume
from orchestrator.core import history
from orchestrator.journal import frames, journal, lock, snapshots
from orchestrator.kept import Kept, read_history
from orchestrator.pools.in_process import InProcessPool
from orchestrator.problems import RunFileError
from orchestrator.replay import difference, replay
from physics.simulated import SimulatedDevice

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
metas = st.dictionaries(st.text(min_size=1).filter(lambda k: k not in ("kind", "time")), plain, max_size=4)
arrays = st.dictionaries(
    st.text("abc/0", min_size=1),
    st.lists(st.floats(width=32), max_size=5).map(lambda v: np.array(v, np.float32)),
    max_size=3,
)


def no_room(message, first):
    raise AssertionError(message)


@given(st.lists(st.tuples(metas, arrays), max_size=4))
def test_what_is_appended_comes_back(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("journal") / "journal.pnn"
    journal.create(path, {"run": "x"})
    (start,) = journal.read(path)
    log, torn = journal.append_to(path, start.end, start.hash, no_room)
    assert torn == 0
    for meta, found in records:
        log.append("step", meta, found)
    log.close()
    events = list(journal.read(path))[1:]
    assert len(events) == len(records)
    for event, (meta, found) in zip(events, records, strict=True):
        assert {k: v for k, v in event.meta.items() if k != "time"} == meta
        back = event.arrays()
        assert back.keys() == found.keys()
        assert all(np.array_equal(back[k], found[k], equal_nan=True) for k in found)


def test_a_transposed_array_comes_back_as_it_was(tmp_path):
    path = tmp_path / "journal.pnn"
    journal.create(path, {})
    (start,) = journal.read(path)
    log, _ = journal.append_to(path, start.end, start.hash, no_room)
    value = np.arange(12.0).reshape(3, 4).T
    log.append("step", {}, {"a": value})
    log.close()
    assert np.array_equal(list(journal.read(path))[1].arrays()["a"], value)


@pytest.fixture
def kept(small, tmp_path):
    """(folder of a finished run of three steps, its result); a snapshot after two of them."""
    path = tmp_path / "run"
    return path, train(small("spsa", journal={"snapshot_every": 2}), directory=path)


def same(result, other):
    return (result.parameters_sha256, result.accuracy, result.passes) == (
        other.parameters_sha256, other.accuracy, other.passes,
    )  # fmt: skip


def cut_after(path, kind, count=1):
    """Cut a journal behind the count-th record of a kind; returns (offset, end) of that record."""
    found = [e for e in journal.read(path / journal.NAME) if e.kind == kind][count - 1]
    with open(path / journal.NAME, "rb+") as file:
        file.truncate(found.end)
    return found.offset, found.end


@pytest.mark.parametrize("last", ["end", "step", "point", "snapshot"])
def test_a_journal_cut_at_every_byte_of_its_last_record(last, kept, tmp_path):
    path, result = kept
    offset, end = cut_after(path, last)
    whole = (path / journal.NAME).read_bytes()
    before = history.read(e for e in journal.read(path / journal.NAME) if e.offset < offset)
    for length in range(offset, end):
        (path / journal.NAME).write_bytes(whole[:length])
        told = read_history(path)
        assert (told.end, told.told.steps) == (before.end, before.told.steps), length
    for length in (offset, offset + 1, offset + 11, offset + 12, offset + 40, end - 1):
        copy = tmp_path / f"cut-{length}"
        shutil.copytree(path, copy)
        (copy / journal.NAME).write_bytes(whole[:length])
        told = []
        Kept(copy, told.append).close()
        assert bool(told) == (length > offset) and all(f"byte {offset}" in t for t in told)
        assert (copy / journal.NAME).stat().st_size == offset
        assert same(resume(copy), result)


def flipped(path):
    """(byte, what became of it) for every byte of a journal, flipped in turn."""
    whole = (path / journal.NAME).read_bytes()
    for byte in range(len(whole)):
        broken = bytearray(whole)
        broken[byte] ^= 0xFF
        (path / journal.NAME).write_bytes(broken)
        try:
            yield byte, read_history(path)
        except RunFileError as error:
            yield byte, str(error)
    (path / journal.NAME).write_bytes(whole)


def test_every_byte_flipped_in_turn_is_noticed(kept):
    path, _ = kept
    events = list(journal.read(path / journal.NAME))
    cut = 0
    for byte, found in flipped(path):
        if isinstance(found, str):
            place = next((e.offset for e in events if e.offset <= byte < e.end), 0)
            assert f"damaged at byte {place}" in found or byte < len(frames.MAGIC), (byte, found)
            assert "--from-snapshot" in found
        else:  # only the last record may be taken for one that was not finished
            assert byte >= events[-1].offset and found.end == events[-1].offset, byte
            cut += 1
    assert cut == events[-1].end - events[-1].offset


@pytest.mark.slow
def test_every_byte_of_the_last_record_flipped_resumes_right(kept, tmp_path):
    path, result = kept
    offset, end = cut_after(path, "step", 3)
    whole = (path / journal.NAME).read_bytes()
    for byte in range(offset, end):
        copy = tmp_path / "flipped"
        shutil.copytree(path, copy)
        broken = bytearray(whole)
        broken[byte] ^= 0xFF
        (copy / journal.NAME).write_bytes(broken)
        assert same(resume(copy), result), byte
        shutil.rmtree(copy)


def test_a_length_beyond_all_bounds_is_not_read(tmp_path):
    path = tmp_path / "journal.pnn"
    journal.create(path, {})
    with open(path, "ab") as file:
        file.write(frames.HEAD.pack(frames.MARK, 0xFFFFFFF0, 0) + b"x" * 64)
    assert len(list(journal.read(path))) == 1


def test_a_newer_format_is_named(kept):
    path, _ = kept
    content = bytearray((path / journal.NAME).read_bytes())
    content[4:6] = struct.pack("<H", 7)
    (path / journal.NAME).write_bytes(content)
    with pytest.raises(RunFileError, match="format 7 was written by another version"):
        read_history(path)


def test_a_damaged_journal_goes_on_from_its_snapshot_to_the_same_bytes(kept):
    path, result = kept
    middle = [e for e in journal.read(path / journal.NAME) if e.kind == "step"][1].offset + 30
    content = bytearray((path / journal.NAME).read_bytes())
    content[middle] ^= 1
    (path / journal.NAME).write_bytes(content)
    with pytest.raises(RunFileError, match=r"--from-snapshot goes on from the snapshot after step 3"):
        resume(path)
    snapshots.load(path, 3)
    (path / snapshots.FOLDER / snapshots.name_of(3)).write_bytes(b"damaged too")
    told = []
    Kept(path, told.append, from_snapshot=True).close()
    assert any("after step 2" in t for t in told) and (path / "journal.damaged-1.pnn").read_bytes() == bytes(content)
    again = resume(path)
    assert same(again, result) and [p.step for p in again.curve] == [p.step for p in result.curve]
    assert replay(path).parameters_sha256 == result.parameters_sha256
    with pytest.raises(RunFileError, match="is not needed"):
        Kept(path, from_snapshot=True)


@pytest.mark.parametrize("method", ["spsa", "physics-aware"])
def test_where_only_digests_are_journalled_the_steps_since_the_snapshot_are_run_again(method, small, tmp_path):
    run = small(method, train={"steps": 8}, journal={"snapshot_every": 3, "whole_kB": 0})
    path = tmp_path / "run"
    result = train(run, directory=path)
    assert result.parameters_sha256 == train(small(method, train={"steps": 8})).parameters_sha256
    assert replay(path).parameters_sha256 == result.parameters_sha256
    cut_after(path, "step", 8)
    found = replay(path)
    assert (found.step, found.steps) == (6, 8)
    told = []
    log = Kept(path, told.append)
    log.close()
    assert log.history.told.steps == 8
    assert same(resume(path), result)
    assert [e.kind for e in journal.read(path / journal.NAME)].count("rewind") == 1


def test_a_damaged_snapshot_costs_time_and_nothing_else(kept):
    path, result = kept
    cut_after(path, "step", 3)
    for file in (path / snapshots.FOLDER).iterdir():
        content = bytearray(file.read_bytes())
        content[-5] ^= 4
        file.write_bytes(content)
    assert same(resume(path), result)


def test_replay_reaches_every_step_and_meets_the_snapshots(kept):
    path, result = kept
    hashes = [replay(path, step).parameters_sha256 for step in range(4)]
    assert hashes[-1] == result.parameters_sha256 and len(set(hashes)) == 4
    marks = read_history(path).marks
    assert hashes[2] == marks[2].parameters_sha256
    with pytest.raises(RunFileError, match="0 to 3"):
        replay(path, 4)


def test_diff_names_the_step_at_which_two_runs_part(kept, small, tmp_path):
    path, _ = kept
    other = tmp_path / "other"
    train(small("spsa", fleet={"mismatch": 0.2}), directory=other)
    assert difference(path, path) is None
    told = difference(path, other)
    assert told.startswith("they part at step 0") and "fleet.mismatch" in told


def test_one_writer_at_a_time_and_the_other_is_told_which(kept):
    import os

    path, _ = kept
    held = Kept(path)
    with pytest.raises(RunFileError, match=f"is being written by process {os.getpid()} on .* since 20"):
        Kept(path)
    assert f"process {os.getpid()}" in lock.holder(path)
    held.close()
    assert lock.holder(path) is None
    Kept(path).close()


def test_a_changed_run_file_is_not_gone_on_with(kept):
    path, _ = kept
    file = path / "run.json"
    file.write_text(file.read_text().replace('"steps": 3', '"steps": 4'))
    with pytest.raises(RunFileError, match="is not the run of this journal"):
        resume(path)


def test_a_run_that_diverges_ends_with_null_and_not_with_an_error(small, tmp_path):
    path = tmp_path / "run"
    first = {"substrate": "crossbar", "size": 16, "decode": "tanh"}
    last = {"substrate": "digital", "size": 10, "method": {"name": "physics-aware", "rate": 1e38}}
    result = train(small("physics-aware", network=[first, last]), directory=path)
    assert result.json()["loss"] is None
    assert "NaN" not in (path / "result.json").read_text() and resume(path).json() == result.json()


@pytest.mark.parametrize("here", [True, False], ids=["workers that wait", "workers too far away to wait"])
def test_no_device_is_used_and_no_state_kept_before_the_steps_before_are_durable(here, small, tmp_path, monkeypatch):
    """The disk is slow; what is asked of a device, and what a snapshot holds, names its step."""
    durable, met = [0], []
    sync, execute, save = os.fdatasync, SimulatedDevice.execute, snapshots.save

    def late(handle):
        time.sleep(0.1)
        sync(handle)
        durable[0] = sum(event.kind == "step" for event in journal.read(tmp_path / "run" / journal.NAME))

    def asked(device, request):
        met.append(("device", request.requests[0][1], durable[0]))
        return execute(device, request)

    def saved(path, steps, *more):
        met.append(("snapshot", steps, durable[0]))
        return save(path, steps, *more)

    monkeypatch.setattr(os, "fdatasync", late)
    monkeypatch.setattr(SimulatedDevice, "execute", asked)
    monkeypatch.setattr(snapshots, "save", saved)
    if not here:
        monkeypatch.setattr(InProcessPool, "before_devices", lambda pool, settle: False)
    train(
        small("spsa", train={"steps": 6, "evaluate_every": 6}, journal={"snapshot_every": 5}),
        directory=tmp_path / "run",
    )
    assert {what for what, *_ in met} == {"device", "snapshot"} and max(step for _, step, _ in met) == 6
    assert [m for m in met if m[2] < m[1]] == []


def test_what_is_started_twice_is_written_in_order(tmp_path):
    path = tmp_path / "journal.pnn"
    journal.create(path, {})
    (start,) = journal.read(path)
    log, _ = journal.append_to(path, start.end, start.hash, no_room)
    log.start("step", {"step": 0})
    log.start("step", {"step": 1})
    log.append("point", {})
    log.start("step", {"step": 2})
    log.close()
    assert [(e.kind, e.meta.get("step")) for e in journal.read(path)][1:] == [
        ("step", 0), ("step", 1), ("point", None), ("step", 2),
    ]  # fmt: skip

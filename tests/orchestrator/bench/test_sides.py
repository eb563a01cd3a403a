"""Sides are real processes that take turns on the same cores; whatever they do is told. No time is asserted."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from orchestrator import data
from orchestrator.bench import measure, sides
from orchestrator.bench.row import ours, peer

CORES = sides.cores()

# --- two sides --------------------------------------------------------------------------------------------------------


def test_sides_take_turns_and_who_comes_first_alternates(part, log, measured):
    measured(part([1.0] * 5, [2.0] * 5))
    assert "".join(name for name, what in log() if what == "round") == "abbaabbaab"
    assert sorted(name for name, what in log() if what == "end") == ["a", "b"], "the end of input ends them"


def test_both_sides_run_on_the_same_cores_from_the_start(part, log):
    one = CORES[:1]
    list(measure.measure([part([1.0] * 5, [2.0] * 5)], one, lambda message: None))
    assert [what["cores"] for _, what in log() if isinstance(what, dict)] == [one, one]


def test_peers_get_nothing_of_what_this_package_sets_for_itself(part, log, monkeypatch, measured):
    monkeypatch.setenv("XLA_FLAGS", f"--a=1 {sides.FLAG} --b=2")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert os.environ["NPROC"] == "2"
    measured(part([1.0] * 5))
    (_, told), *_ = log()
    assert told["environment"]["XLA_FLAGS"] == "--a=1 --b=2"
    assert not {"NPROC", "PYTHONPATH"} & set(told["environment"])
    mine = sides.surroundings("ours")
    assert mine["PYTHONPATH"] == f"{sides.HOME}:/somewhere" and mine["NPROC"] == "2"


def test_the_value_is_the_median_of_the_ratios_of_the_rounds(part, measured):
    a, b = [1.0, 8.0, 9.0, 4.0, 6.0], [2.0, 2.0, 3.0, 4.0, 3.0]
    (m,) = measured(part(a, b, bar=2.0))
    assert (m.value, m.low, m.high) == (2.0, 0.5, 4.0) and m.met
    assert m.json()["ours"] == 6.0 and m.json()["theirs"] == 3.0
    assert m.versions == {"ours": {"witness": "1"}, "theirs": {"witness": "1"}}
    (m,) = measured(part(a, b, how="theirs/ours", bar=0.4, better="lower"))
    assert (m.value, m.low, m.high) == (0.5, 0.25, 2.0) and not m.met
    (m,) = measured(part(a, how="ours"))
    assert (m.value, m.low, m.high) == (6.0, 1.0, 9.0) and m.met and m.json()["theirs"] is None
    told = {who: {"about": {}, "versions": {}} for who in ("ours", "theirs")}
    ours = [{"value": 1.0, "memory": memory} for memory in a]
    assert measure.judged(part(a, b, how="ours", key="memory"), ours, [{"value": 1.0}] * 5, told).value == 6.0


def test_parts_with_the_same_sides_share_their_rounds(part, log, measured):
    sides_of = {"values": [2.0] * 5, "losses": [1.0, 2.0, 3.0, 4.0, 5.0]}
    first = part(sides_of, [1.0] * 5)
    second = replace(first, name="pair/loss", key="loss", their_key="value")
    a, b = measured(first, second)
    assert a.value == 2.0 and b.value == 3.0 and sum(what == "round" for _, what in log()) == 10


def test_the_upper_end_of_an_interval():
    ratios = [1.01, 1.05, 0.98, 1.02, 1.04]
    logs = np.log(ratios)
    expected = stats.t.interval(0.95, 4, logs.mean(), stats.sem(logs))
    mean, *ends = measure.interval(ratios)
    assert mean == pytest.approx(stats.gmean(ratios)) and ends == pytest.approx(np.exp(expected))
    assert measure.upper_end(ratios, [1.0] * 5) == (pytest.approx(ends[1]), 0.98, 1.05)


def test_how_far_means_are_apart_in_standard_errors():
    a, b = [1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 2.5, 3.0, 5.0, 9.0]
    value, low, high = measure.standard_errors(a, b)
    assert value == pytest.approx(abs(stats.ttest_ind(a, b, equal_var=False).statistic)) and low <= value <= high


def test_a_single_round_may_be_too_bad(part, measured):
    a = [1.2, 1.3, 0.8, 1.2, 1.1]
    (m,) = measured(part(a, [1.0] * 5, bar=1.0, worst=0.9))
    assert m.value >= 1.0 and not m.met
    assert not replace(m, part=replace(m.part, bar=1.5, worst=None)).met
    assert replace(m, part=replace(m.part, worst=0.8)).met


# --- sides that fail --------------------------------------------------------------------------------------------------

FAULTS = {
    "dies at once": "ended with code 1\n  no luck today",
    "dies": "ended with code 1\n  it broke in the middle",
    "kills itself": "was ended by signal 9",
    "rubbish": "printed what is not a JSON object: b'hello'",
    "number": "printed what is not a JSON object: b'12'",
    "nan": "answered without a finite \"value\": {'value': nan}",
    "no value": "answered without a finite \"value\": {'rate': 1}",
    "true": "answered without a finite \"value\": {'value': True}",
    "silent": "said nothing for 3 s",
    "flood": "printed more than 1,048,576 bytes in one answer",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_side_that_fails_is_told_and_the_others_go_on(part, fault, measured, gone):
    bad = {"values": [1.0] * 5, "fault": fault, "child": True}
    deadline_s = 3.0 if fault == "silent" else 30.0
    broken = part([1.0] * 5, bad, name="broken", bar=1.0, reason="it is known", deadline_s=deadline_s)
    failed, well = measured(broken, part([1.0] * 5, name="well", how="ours"))
    assert failed.failure == f"other (a peer): {FAULTS[fault]}"
    assert failed.value is None and not failed.met and not failed.excused, "no reason excuses a failure"
    assert well.value == 1.0
    assert gone() == 4


def test_a_side_that_hangs_before_it_is_ready(part, measured, gone):
    (failed,) = measured(part({"values": [], "fault": "hangs", "child": True}, [1.0] * 5, deadline_s=0.5))
    assert failed.failure == "witness (a peer): said nothing for 0.5 s"
    gone()


def test_a_round_without_its_number_fails_alone(part, measured):
    first = part([2.0] * 5, [1.0] * 5)
    good, bad = measured(first, replace(first, name="pair/memory", key="memory"))
    assert good.value == 2.0 and bad.failure.startswith("ours: answered without a finite 'memory'")
    (nothing,) = measured(part([1.0] * 5, [0.0] * 5))
    assert nothing.value is None and "division by zero" in nothing.failure


def test_what_is_not_there_is_told_before_anything_starts(part, log, folder, measured):
    (m,) = measured(replace(part([1.0] * 5), theirs=ours("no_such_side")))
    assert m.failure == "no_such_side (ours): not built yet"
    (m,) = measured(replace(part([1.0] * 5), theirs=peer("absent")))
    assert "absent is not installed" in m.failure and "make bench-peers" in m.failure and "PNN_PEERS" in m.failure
    (folder / ".venv" / "bin" / "python").unlink()
    (m,) = measured(part([1.0] * 5))
    assert "witness is not installed" in m.failure and ".venv/bin/python" in m.failure
    assert log() == []


# --- sides of ours ----------------------------------------------------------------------------------------------------


def test_a_side_of_ours_hands_its_samples_to_peers(tmp_path):
    with sides.started(ours("export", dataset="digits"), CORES, {"scratch": str(tmp_path)}) as process:
        told = process.ready(60)
        answer = process.round(60)
    assert told["about"] == {"dataset": "digits", "shape": [3823, 64]} and told["versions"]["numpy"] == np.__version__
    digits = data.load("digits")
    with np.load(answer["options"]["data"]) as file:
        assert np.array_equal(file["x"], digits.x_train) and np.array_equal(file["y"], digits.y_train)


def test_what_is_prepared_reaches_both_sides(part, log, measured):
    made = replace(part([1.0] * 5, [2.0] * 5), prepare=ours("export", dataset="digits"))
    told = {}

    def remember(side, options):
        told[side.name] = options
        return command(side, options)

    command, sides.command = sides.command, remember
    try:
        (m,) = measured(made)
    finally:
        sides.command = command
    assert m.value == 0.5 and told["witness"]["data"] == told["other"]["data"]
    assert not Path(told["other"]["data"]).exists(), "temporary files end with the part"
    assert "scratch" in told["export"] and "scratch" not in told["other"], "peers know no such option"


def test_what_libraries_print_is_no_answer():
    program = (
        "import os; from orchestrator.bench.serve import serve\n"
        "def setup(options):\n print('chatter'); os.system('echo more of it')\n"
        " return {}, lambda: print('and more') or {'value': 1}\n"
        "serve(setup, {})"
    )
    process = sides.Process([sys.executable, "-c", program], sides.surroundings("ours"), CORES)
    try:
        assert process.ready(60)["about"] == {} and process.round(60) == {"value": 1}
    finally:
        process.close()
    assert process.process.returncode == 0

"""The profile of a run: its shares add up to the step, its trace has what Perfetto reads, it never stops a run."""

import json

import pytest

from orchestrator import train
from orchestrator.core import spans
from orchestrator.core.spans import Span
from orchestrator.pools.in_process import InProcessPool
from orchestrator.profile import NAME, Profile, shares, split, trace


@pytest.mark.parametrize("workers", [1, 2])
def test_a_profiled_run_is_the_same_run_and_tells_where_its_time_goes(workers, small, tmp_path):
    run = small("physics-aware", train={"steps": 5})
    pool = InProcessPool(run, workers)
    profile = Profile(pool)
    result = train(run, pool, directory=tmp_path / "run")
    told = profile.write(tmp_path)
    assert result.parameters_sha256 == train(run).parameters_sha256
    assert told.startswith("A step of ") and "(mean of 3)" in told and "physics" in told
    events = json.loads((tmp_path / NAME).read_text())["traceEvents"]
    assert {e["cat"] for e in events} == {"step", "physics", "digital", "commit", "journal", "waiting"}
    assert all(e["ph"] == "X" and e["dur"] >= 0 and e["ts"] > 0 for e in events)
    with spans.span(spans.PHYSICS):
        pass
    assert spans.keep(False) == [], "nothing is kept any more"


def made(kind, began, took, process=1):
    return Span(kind, "", began, took, process, 0)


def test_shares_add_up_to_the_step_and_the_busiest_worker_counts():
    ms = 10**6
    found = [made("step", k * 100 * ms, 90 * ms) for k in range(4)]
    for k in (2, 3):
        at = k * 100 * ms
        found += [made("waiting", at, 60 * ms), made("journal", at + 70 * ms, 10 * ms)]
        found += [made("physics", at, 40 * ms, process=2), made("commit", at, 5 * ms, process=2)]
        found += [made("physics", at, 20 * ms, process=3)]
    steps, seconds = shares(found)
    assert steps == 2
    wanted = {"physics": 0.04, "digital": 0, "commit": 0.005, "journal": 0.01, "waiting": 0.015, "orchestration": 0.02}
    assert seconds == pytest.approx(wanted)
    assert sum(seconds.values()) == pytest.approx(0.09)
    assert trace(found)["traceEvents"][0]["dur"] == 90_000


def test_a_profile_that_cannot_be_written_stops_nothing(small, tmp_path):
    run = small("spsa")
    pool = InProcessPool(run)
    profile = Profile(pool)
    train(run, pool)
    assert "could not be written" in profile.write(tmp_path / "nowhere")


def test_too_short_a_run_says_so():
    assert split([]) == "Too few steps to say where the time goes."

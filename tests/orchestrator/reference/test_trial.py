"""One seed: what it trains is what `orchestrator.train` trains, and its time may be over."""

import json
from dataclasses import replace

import numpy as np
import pytest

from orchestrator import Run, train
from orchestrator.reference import trial as trials
from orchestrator.reference.case import Part, digital
from orchestrator.reference.cases import cosine
from orchestrator.reference.measure import measure
from orchestrator.reference.trial import Trial, accuracy, ahead, best, passes_to, seeded, solves

TREE = {
    "network": digital(16, 10),
    "method": {"name": "physics-aware", "rate": 0.01},
    "train": {"steps": 4, "batch": 32, "evaluate_every": 2, "evaluate_samples": 256},
}


@pytest.fixture(autouse=True)
def nothing_done(monkeypatch):
    monkeypatch.setattr(trials, "_done", {})


def test_a_seed_is_trained_as_by_hand():
    trial = Trial(3)
    found = accuracy(trial, TREE)
    result = train(Run.build(TREE, ["train.seed=3"]))
    assert found == 100 * result.accuracy and trial.needs_min is None
    assert (trial.passes, trial.writes, trial.steps) == (result.passes, result.writes, 4) == (128, 0, 4)
    assert best(Trial(3), TREE) == 100 * max(p.accuracies[0] for p in result.curve)
    assert passes_to(Trial(3), TREE, result.curve[0].loss) == 64 and passes_to(Trial(3), TREE, 0.0) is None


def test_the_seed_numbers_the_split():
    tree = seeded({**TREE, "data": {"name": "iris", "split": 0}}, 7)
    assert tree["data"]["split"] == 7 and tree["train"]["seed"] == 7 and TREE["train"].get("seed") is None
    assert seeded(TREE, 7)["data"] == {}


def test_parts_share_their_yardstick(monkeypatch):
    first = Trial(0)
    accuracy(first, TREE)
    monkeypatch.setattr(Trial, "_trained", lambda *a: pytest.fail("trained again"))
    second = Trial(0)
    assert ahead(second, TREE, TREE) == 0.0
    assert second.passes == first.passes and second.minutes == first.minutes, "the cost of a yardstick is not counted"


def test_training_stops_where_it_is_solved(monkeypatch):
    monkeypatch.setattr(trials, "right", lambda point: point.step == 2)
    trial = Trial(0)
    assert solves(trial, TREE) == 1.0 and (trial.steps, trial.passes) == (2, 64)
    monkeypatch.setattr(trials, "right", lambda point: False)
    trial = Trial(0)
    assert solves(trial, TREE) == 0.0 and trial.steps == 4


def test_a_trial_whose_time_is_over_says_what_it_would_need():
    trial = Trial(0, limit_min=0.0)
    accuracy(trial, TREE)
    assert trial.steps == 1 and trial.needs_min == pytest.approx(4 * trial.minutes)
    trial.train(TREE)
    assert trial.steps == 2 and trial.needs_min == pytest.approx(4 * trial.minutes)
    assert trials._done == {}, "what was cut short is no yardstick"


def test_a_part_whose_time_is_over_is_started(reference, case, tmp_path):
    """Told as started, without a verdict; not tried again with as little time, and finished with more."""
    long = case(Part("part", "%", accuracy, (TREE,), (0, 1), published=99.0), long=True)
    done = reference([long], "part", "--json", "--minutes", 0)
    told = json.loads(done.stdout)
    assert told["met"] is False and told["values"] == [] and told["seeds"] == [0, 1]
    (cut,) = told["runs"]
    assert told["started"]["needs_minutes"] == pytest.approx(2 * cut["needs_min"]) and cut["steps"] == 1
    again = reference([long], "part", "--json", "--minutes", 0, "--resume")
    assert json.loads(again.stdout)["runs"] == told["runs"]
    whole = json.loads(reference([long], "part", "--json", "--resume").stdout)
    assert whole["met"] and whole["started"] is None and [r["steps"] for r in whole["runs"]] == [4, 4]


def test_time_is_shared_by_the_seeds(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def takes_five_minutes(trial):
        clock[0] += 300.0
        return 1.0

    part = Part("part", "%", takes_five_minutes, (), (0, 1, 2))
    *_, last = measure(part, part.seeds, [], 9.0, lambda message: None)
    assert len(last.reached) == 2 and last.started and last.needs_min == pytest.approx(15.0)
    *_, last = measure(part, part.seeds, last.reached, 9.0, lambda message: None)
    assert len(last.reached) == 3 and not last.started and last.minutes == pytest.approx(15.0)


def test_time_is_shared_by_the_parts_that_can_be_measured(reference, part, case, monkeypatch, small_tree):
    clock, given = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def takes_a_minute(*a):
        given.append(a[3])
        clock[0] += 60.0
        return measure(*a)

    monkeypatch.setattr("orchestrator.cli.proving.measure", takes_a_minute)
    never = Part("long/never", "%", accuracy, ({**small_tree("dfa"), "method": {"name": "wishful"}},))
    long = case(part([1.0], "long/a"), never, part([1.0], "long/b"), long=True)
    reference([long], "long", "--minutes", 11)
    assert given == pytest.approx([5.5, 10.0])


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_the_cosine_is_that_of_its_law(noise):
    d, K = 300, 20
    cosines = [cosine.cosine(Trial(seed), d, K, noise) for seed in range(6)]
    error = np.std(cosines, ddof=1) / np.sqrt(len(cosines))
    expected = cosine.expected(d, K, noise)
    assert abs(np.mean(cosines) - expected) < 5 * error < 0.2 * expected
    trial = Trial(0)
    cosine.cosine(trial, d, K, noise)
    assert trial.passes == 2 * K * cosine.DRAWS


def test_the_law_of_the_cosine():
    assert cosine.law(1000, 100, 0.0) == pytest.approx(0.302, abs=5e-4)
    assert cosine.law(1000, 100, 1.0) == pytest.approx(0.250, abs=5e-4)
    for K in (100, 10_000):
        assert cosine.expected(1000, K, 0.0) == pytest.approx(cosine.law(1000, K, 0.0), rel=0.3 / K + 6e-4)


def test_a_part_as_it_is_told_is_made_of_plain_values(case):
    part = replace(cosine.CASE.parts[0], seeds=(0,))
    assert json.loads(json.dumps(part.given)) == list(part.given)

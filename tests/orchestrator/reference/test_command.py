"""`pnn reference`: what it trains, prints, keeps and returns. Cases are made up; one trains for a few steps."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from orchestrator.reference import results
from orchestrator.reference.case import Bar, Part
from orchestrator.reference.trial import accuracy


def told(done):
    """The objects on standard output, by part."""
    return {t["part"]: t for t in map(json.loads, done.stdout.splitlines())}


def kept(tmp_path, name="part"):
    """The objects in the file of a case, by part."""
    return {t["part"]: t for t in json.loads((tmp_path / "out" / f"{name}.json").read_text())["parts"]}


def test_one_object_a_part(reference, part, case, tmp_path):
    values = [90.0, 92.0, 97.0]
    both = part(values, published=94.0, bar=Bar(94.0, 1.0), statistic="mean"), part(values, "part/b", recalled=True)
    found = told(reference([case(*both)], "part", "--json"))
    a, b = found["part"], found["part/b"]
    assert (a["case"], a["source"], a["published"], a["split"]) == ("part", "Nobody 2020", 94.0, "no data")
    assert a["seeds"] == [0, 1, 2] and a["values"] == values and a["bar"] == ">= 94 - 1"
    assert a["reached"] == a["mean"] == 93.0 and a["spread"]["std"] == pytest.approx(np.std(values, ddof=1))
    interval = stats.t.interval(0.95, 2, 93.0, stats.sem(values))
    assert a["spread"]["interval"] == pytest.approx(interval)
    assert a["passes"] == 10 and a["steps"] == 1 and a["writes"] == 0 and a["minutes"] >= 0
    assert a["met"] is True and a["started"] is None and a["failure"] is None
    assert a["versions"]["numpy"] == np.__version__ and "cores" in a["machine"]
    assert b["bar"] is None and b["met"] is True and b["recalled"] is True
    assert kept(tmp_path) == found


def test_no_path_of_this_machine_is_kept(reference, part, case, tmp_path):
    reference([case(part([1.0]))], "part")
    assert not re.search(r'"/|/home|/tmp|/root', (tmp_path / "out" / "part.json").read_text())


def test_exit_codes_and_every_part_is_told(reference, part, case):
    bar = Bar(2.0)
    good, bad = part([2.0, 2.0], "good", bar=bar), part([1.0, 1.0], "bad", bar=bar)
    known = part([1.0, 1.0], "known", bar=bar, reason="the wall is light")
    dead = part([2.0, "it broke"], "dead", bar=bar, reason="no reason excuses a failure")
    lost = part([2.0, None], "lost", bar=bar)
    cases = [case(p) for p in (dead, lost, bad, known, good)]
    done = reference(cases, "--all", "--json", code=1)
    found = told(done)
    assert [found[n]["met"] for n in ("good", "bad", "known", "dead", "lost")] == [True, False, False, False, False]
    assert found["dead"]["failure"] == "ValueError: it broke" and found["lost"]["failure"] == "seed 1 came to nan"
    assert "bad: not met: no reason is recorded" in done.stderr and "known: not met: the wall is light" in done.stderr
    assert "3 of 5 parts failed, or miss their bars" in done.stderr
    reference(cases, "good", "known")
    for name in ("bad", "dead", "lost"):
        reference(cases, name, code=1)


def test_a_bar():
    assert Bar(94.0, 1.0).met(93.0, 0.0) and not Bar(94.0, 1.0).met(92.9, 0.0) and Bar(94.0).met(99.0, 0.0)
    assert Bar(1.0, 0.3, "lower").met(0.1, 0.0) and not Bar(1.0, 0.3, "lower").met(1.4, 0.0)
    near = Bar(1.0, 0.1, "near", errors=3)
    assert near.met(1.25, 0.1) and not near.met(1.35, 0.1) and near.met(0.9, 0.0) and not near.met(0.85, 0.0)
    assert str(near) == "1 ± 0.1 or 3 s.e."


def test_the_median_is_held_against_the_bar(reference, part, case):
    bar = Bar(4.0)
    values = [4.0, 5.0, 0.0]
    found = told(reference([case(part(values, bar=bar, statistic="median"))], "part", "--json"))["part"]
    assert found["met"] and found["reached"] == 4.0 and found["mean"] == 3.0
    reference([case(part(values, bar=bar))], "part", code=1)


def test_resume_trains_only_what_has_no_result(reference, part, case, seen, tmp_path):
    a, b = part([1.0, 2.0, 3.0], "part/a"), part([4.0, "not today", 6.0], "part/b")
    reference([case(a, b)], "part", code=1)
    assert kept(tmp_path)["part/b"]["values"] == [4.0], "what finished before the failure"
    assert kept(tmp_path)["part/b"]["started"]["of"] == 3 and not kept(tmp_path)["part/b"]["met"]
    seen.clear()
    reference([case(a, b)], "part", "--resume", code=1)
    assert [seed for values, seed in seen] == [1], "the seed that failed, and no other"
    seen.clear()
    reference([case(a)], "part", "--resume", "--json")
    assert seen == [] and set(kept(tmp_path)) == {"part/a", "part/b"}
    reference([case(a)], "part")
    assert len(seen) == 3, "without --resume everything is trained again"


def test_resume_judges_by_the_bar_and_the_settings_of_today(reference, part, case, seen, tmp_path):
    first = part([1.0, 2.0], bar=Bar(1.0))
    reference([case(first)], "part")
    file = tmp_path / "out" / "part.json"
    file.write_text(file.read_text().replace(results.machine_line(), "another machine"))
    seen.clear()
    stricter = replace(first, bar=Bar(5.0), reason="it is far")
    found = told(reference([case(stricter)], "part", "--resume", "--json"))["part"]
    assert seen == [] and not found["met"]
    assert kept(tmp_path)["part"]["reason"] == "it is far" and kept(tmp_path)["part"]["machine"] == "another machine"
    reference([case(part([1.0, 2.5]))], "part", "--resume")
    assert len(seen) == 2 and kept(tmp_path)["part"]["machine"] == results.machine_line()
    file.write_text("{")
    reference([case(part([1.0, 2.5]))], "part", "--resume")
    assert len(seen) == 4, "a damaged file counts as none"


def test_fewer_seeds(reference, part, case, seen):
    one = case(part([1.0, 2.0, 3.0]))
    found = told(reference([one], "part", "--seeds", 2, "--json"))["part"]
    assert found["values"] == [1.0, 2.0] and found["seeds"] == [0, 1] and found["met"]
    reference([one], "part", "--resume")
    assert [seed for _, seed in seen] == [0, 1, 2]


def test_quick_and_all(reference, part, case, seen):
    cases = [case(part([1.0], "quick")), case(part([2.0], "long"), long=True)]
    reference(cases, "--quick")
    assert seen == [((1.0,), 0)]
    reference(cases, "--all")
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"method": {"name": "wishful"}}, "there is no method 'wishful' here"),
        ({"method": {"name": "dfa"}, "network": [{"substrate": "wood", "size": 10}]}, "no substrate 'wood'"),
        ({"network": [{"substrate": "digital", "size": 10, "method": "wishful"}]}, "no method 'wishful'"),
        ({"data": {"name": "birds"}}, "there is no data set 'birds' here"),
        ({"data": {"name": "mnist"}}, "PNN_DATA"),
    ],
)
def test_what_is_not_here_is_skipped(reference, case, tmp_path, monkeypatch, small_tree, changes, wanted):
    from orchestrator.reference import measure

    monkeypatch.delenv("PNN_DATA", raising=False)
    measure._no_files.cache_clear()
    never = Part("part", "%", accuracy, ({**small_tree("dfa"), **changes},), bar=Bar(1.0))
    done = reference([case(never)], "part", "--json")
    measure._no_files.cache_clear()
    found = told(done)["part"]
    assert wanted in found["skipped"] and found["met"] is False and found["values"] == []
    assert "1 of 1 parts are skipped" in done.stderr
    assert not (tmp_path / "out" / "part.json").exists()


def test_the_table_for_people(reference, part, case):
    many = part([4.0, 6.0], published=9.0, bar=Bar(9.0, 1.0), reason="it is slow"), part([1.0], "part/b")
    done = reference([case(*many)], "part")
    assert "What part is." in done.stdout and ">= 9 - 1" in done.stdout
    assert "5 ± 13" in done.stdout and "not met: it is slow" in done.stdout and "reported" in done.stdout


def test_a_line_of_the_documents(part, case):
    from orchestrator.reference.measure import Measured, Reached

    one = part([90.0, 92.0], "part/b", published=93.0, recalled=True, bar=Bar(93.0, 3.0), statistic="median")
    runs = tuple(Reached(i, 90.0 + 2 * i, 1e6, 5, 10, 1.5) for i in range(2))
    line = results.line(results.told_of(case(one), Measured(one, (0, 1), runs)))
    cells = "part | b | 93 (recalled) | >= 93 - 3 | median 91, mean 91 ± 13 | % correct | 2 | 1,000,000 | 3.0"
    assert line == f"| {cells} | met |"
    cut = (Reached(0, 50.0, 2e6, 5, 10, 30.0, 600.0),)
    line = results.line(results.told_of(case(one), Measured(one, (0, 1), cut)))
    assert "| 0 of 2 |" in line and "started, would need 1200 minutes; 50 after 2,000,000 passes" in line


def test_a_case_that_is_none(pnn):
    done = pnn("reference", "run", "cosin", "iris/spsb", "--json", code=2).stderr
    first, second = done.strip().splitlines()
    assert "'cosin' is not a case; allowed: cosine, " in first and first.endswith("did you mean cosine?")
    assert "'iris/spsb' is not a part of this case" in second and second.endswith("did you mean iris/spsa?")


@pytest.mark.parametrize("arguments", [(), ("part", "--all"), ("part", "--quick"), ("--all", "--quick")])
def test_one_way_to_say_which(reference, part, case, arguments):
    assert "one of the three" in reference([case(part([1.0]))], *arguments, code=2).stderr

"""Journals of every format that was ever written replay to the hashes that they had then."""

import json
from pathlib import Path

import pytest

from orchestrator.kept import read_history
from orchestrator.replay import replay

KEPT = sorted(p.parent for p in (Path(__file__).parent / "journals").glob("*/*/expected.json"))


@pytest.mark.parametrize("place", KEPT, ids=lambda p: f"{p.parent.name}, {p.name}")
def test_a_kept_journal_replays_for_ever(place):
    expected = json.loads((place / "expected.json").read_text())
    assert replay(place).parameters_sha256 == expected["parameters_sha256"]
    told = read_history(place)
    assert told.told.steps == 5 and told.result["accuracy"] == expected["accuracy"]


def test_there_is_one_for_every_method():
    from algorithms import registry

    # the bits of populations follow the version of evosax, which is pinned but not for ever
    assert {p.name for p in KEPT} >= set(registry.METHODS) - {"population"}

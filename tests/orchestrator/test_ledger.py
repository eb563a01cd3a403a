"""The ledger is what devices reported, against counts made by hand."""

from fractions import Fraction

import pytest

from orchestrator import Run, train

STEPS, BATCH, CHUNKS, STAGES, PROBES = 3, 64, 4, 2, 8


def counted(small, method, **changes):
    result = train(small(method, train={"evaluate_every": 1000}, **changes))
    return result.passes, result.calls, result.writes


def test_spsa_writes_and_measures_every_row(small):
    rows = 2 * PROBES
    assert counted(small, "spsa") == (STEPS * rows * BATCH, STEPS * rows * STAGES, STEPS * rows * STAGES)


@pytest.mark.parametrize("method", ["physics-aware", "dfa"])
def test_one_pass_a_sample_and_one_write_a_stage_and_step(method, small):
    assert counted(small, method) == (STEPS * BATCH, STEPS * CHUNKS * STAGES, STEPS * STAGES)


@pytest.mark.parametrize("method", ["in-silico", "in-silico-noise"])
def test_the_twin_costs_no_device_anything(method, small):
    result = train(small(method, train={"evaluate_every": 1000}))
    assert (result.passes, result.calls, result.writes, result.device_seconds, result.joules) == (0, 0, 0, 0, 0)


def test_phyll_measures_right_and_wrong_and_writes_its_fixed_chips_once(small):
    # two rows a sample through four stages; two of them are crossbars, written once at the start
    assert counted(small, "phyll") == (STEPS * 2 * BATCH, STEPS * CHUNKS * 2 * 4, 2)


def test_prediction_passes(small):
    assert train(small("phyll")).passes_per_prediction == 10
    assert train(small("dfa")).passes_per_prediction == 1


def test_a_prefix_runs_once_for_all_rows_of_an_item(small):
    last = {"substrate": "crossbar", "size": 10, "method": {"name": "spsa", "probes": PROBES}}
    first = {"substrate": "crossbar", "size": 16, "decode": "tanh"}
    passes, calls, writes = counted(small, "physics-aware", network=[first, last])
    items = 2 * PROBES // 4  # of 4 rows
    own = BATCH  # physics-aware training of the first stage: one pass of both stages
    probes = Fraction(2 * PROBES * BATCH + items * BATCH, STAGES)  # all rows above, one a bundle below
    assert passes == STEPS * (own + probes)
    assert calls == STEPS * (CHUNKS * STAGES + 2 * PROBES + items)
    # below: one write a step; above: the unperturbed parameters for the first group, then every row
    assert writes == STEPS * (1 + 1 + 2 * PROBES)


def test_seconds_and_joules_follow_from_the_counts(small):
    result = train(small("physics-aware", train={"evaluate_every": 1000}))
    n = STEPS * BATCH
    assert result.device_seconds == pytest.approx(STEPS * STAGES * 0.001 + 2 * n * 250e-9)
    assert result.joules == pytest.approx(n * (65 * 16 + 17 * 10) * 2 / 9.76e12)


def test_what_has_no_source_stays_unknown(small_tree):
    stages = [{"substrate": "oscillators", "size": 64}, {"substrate": "oscillators", "size": 10, "nodes": 74}]
    tree = {**small_tree("physics-aware"), "network": stages, "fleet": {"mismatch": 0.1}}
    result = train(Run.build(tree))
    assert result.passes == STEPS * BATCH
    assert result.device_seconds is None and result.joules is None


def test_evaluation_is_accounted_for_apart(small):
    every = train(small("spsa", train={"evaluate_every": 1}))
    never = train(small("spsa", train={"evaluate_every": 1000}))
    assert every.passes == never.passes
    assert every.ledger.total("evaluate").passes == 3 * never.ledger.total("evaluate").passes
    assert every.parameters_sha256 == never.parameters_sha256

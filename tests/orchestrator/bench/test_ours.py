"""Our sides, small and in this process: they measure what they say."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from orchestrator import Run, folder
from orchestrator.bench.ours import (
    bare_devices,
    commit,
    device,
    es,
    growth,
    physics,
    record,
    start,
    stragglers,
    unperturbed,
)
from orchestrator.core.plan import build

ROOT = Path(__file__).parents[3]
SPSA = {"name": "spsa", "probes": 4}
ES = {"dataset": "digits", "layers": [64, 32, 10], "batch": 64, "population": 8, "generations": 4, "method": SPSA}


def test_a_training_loop_ends_with_the_same_loss_for_any_number_of_workers():
    (_, one), (_, two) = (es.setup({**ES, "workers": workers}) for workers in (1, 2))
    a, b, again = one(), two(), one()
    assert a["value"] > 0 and a["loss"] == b["loss"] != a["first_loss"]
    assert again["loss"] != a["loss"], "every round has a seed of its own"
    _, quiet = es.setup({**ES, "loss": False})
    assert set(quiet()) == {"value"}


def test_its_network_is_that_of_the_peers():
    plan = build(Run.build(es.tree_of({**ES, "layers": [64, 32, 10]})), 64, 10)
    assert sum(plan.parameters()) == 2410
    assert [stage.whole.decode_as for stage in plan.stages] == ["relu", "none"]
    big = build(Run.build(es.tree_of({**ES, "layers": [64, 128, 10]})), 784, 10)
    assert sum(big.parameters()) == 101_770


@pytest.mark.parametrize("layers", [[16, 24, 24, 10], [7, 13, 5]])
def test_blocks_of_a_layer_give_what_the_whole_layer_gives(layers):
    keys = jax.random.split(jax.random.key(0), 3)
    weights = [jax.random.normal(keys[0], (a, b)) for a, b in zip(layers, layers[1:], strict=False)]
    biases = [jax.random.normal(keys[1], (b,)) for b in layers[1:]]
    h = x = np.asarray(jax.random.normal(keys[2], (9, layers[0])))
    for index, (w, b) in enumerate(zip(weights, biases, strict=True)):
        h = h @ np.asarray(w) + np.asarray(b)
        h = np.maximum(h, 0) if index < len(weights) - 1 else h
    np.testing.assert_allclose(unperturbed.chain(weights, biases, x), h, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(unperturbed.blocked(weights, biases, x), h, rtol=1e-4, atol=1e-4)


def test_the_faster_of_two_ways_is_told():
    about, measure = unperturbed.setup({"layers": [16, 24, 10], "batch": 4, "forwards": 3, "seconds": 0.02})
    told = measure()
    assert about["parameters"] == 16 * 24 + 24 + 24 * 10 + 10
    assert told["value"] == max(told["chain"], told["blocked"]) > 0


def test_commits():
    about, measure = commit.setup({"width": 16, "method": SPSA, "seconds": 0.02})
    assert about == {"parameters": 16 * 16 + 16, "rows": 8} and measure()["value"] > 0


@pytest.mark.parametrize("substrate", ["crossbar", "oscillators", "digital"])
@pytest.mark.parametrize("what", ["forward", "measure", "vjp"])
def test_every_substrate(substrate, what):
    options = {"substrate": substrate, "n_in": 8, "n_out": 4, "batch": 3, "what": what, "seconds": 0.02}
    about, measure = physics.setup({**options, "workers": 1})
    assert substrate.capitalize() in about["model"] and measure()["value"] > 0


def test_physics_in_two_processes():
    options = {"substrate": "digital", "n_in": 8, "n_out": 4, "batch": 3, "what": "forward", "seconds": 0.02}
    about, measure = physics.setup({**options, "workers": 2})
    assert about["workers"] == 2 and measure()["value"] > 0 and measure()["value"] > 0


def test_the_width_for_so_many_parameters():
    for parameters in (10**4, 10**6, 10**8):
        h = growth.width_of(parameters)
        found = 64 * h + h + 2 * (h * h + h) + 10 * h + 10
        assert found == pytest.approx(parameters, rel=0.02)


def test_a_slope(tmp_path):
    about = {"what": "replay", "values": [2, 4], "generations": 1, "batch": 32, "method": SPSA}
    _, measure = growth.setup({**about, "scratch": str(tmp_path)})
    told = measure()
    a, b = told["seconds"]
    assert told["value"] == pytest.approx(np.log(b / a) / np.log(2))


def test_a_run_that_is_kept_and_one_in_memory(tmp_path):
    about = {"steps": record.WARM + 2, "probes": 2, "scratch": str(tmp_path), "store": None}
    for kept in (True, False):
        _, measure = record.setup({**about, "kept": kept})
        assert measure()["value"] > 0
    (journal,) = tmp_path.glob("*/run/journal.pnn")  # only what is kept has one
    assert start.stepped(journal.parent), "the record of a step is there, which is how `start` sees its end"
    folder.make_run(tmp_path / "new", "run", Run.build(es.tree_of(ES)), None)
    assert not start.stepped(tmp_path / "new") and not start.stepped(tmp_path / "none")


@pytest.mark.parametrize("stages", [1, 3])
def test_devices_that_sleep(stages):
    options = {"devices": 2, "ms": 1.0, "probes": 4, "stages": stages, "seconds": 0.05}
    most = 1e3 * (stages if stages > 1 else 2)
    _, measure = device.setup({**options, "scratch": "as every side of ours is given"})
    assert 0 < measure()["value"] < 1.05 * most
    program = "import json, sys; from orchestrator.bench.ours import bare_devices as side\n"
    program += f"print(json.dumps(side.setup({options!r})[1]()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 < json.loads(done.stdout)["value"] < 1.05 * most


@pytest.mark.parametrize("mode", ["fastest", "deterministic"])
def test_some_devices_of_a_fleet_are_slower(mode):
    options = {"devices": 3, "slow": 1, "factor": 30.0, "ms": 1.0, "probes": 12, "seconds": 0.1, "mode": mode}
    _, measure = stragglers.setup({**options, "scratch": "as every side of ours is given"})
    waits = 24 / 3 * 0.030  # until the slow one has measured its part
    assert 0 < measure()["value"] < (2.1e3 if mode == "fastest" else 24 / waits * 1.05)


def test_some_bare_devices_are_slower():
    found = bare_devices.rates(devices=3, ms=1.0, probes=4, seconds=0.1, slow=1, factor=20.0)
    assert found[0] < 60 and min(found[1:]) > 5 * found[0]

"""Runs with a fixed transform: what is trained stands behind it, by any method; and with a record in its place."""

import os
from pathlib import Path

import numpy as np
import pytest

from orchestrator import Run, train
from orchestrator.data import LOADERS, Dataset
from orchestrator.pools.in_process import InProcessPool
from orchestrator.problems import RunFileError
from physics.contracts import Refused

PNN_DATA = os.environ.get("PNN_DATA", "")
needs_data = pytest.mark.skipif(not PNN_DATA, reason="needs PNN_DATA: the folder of acoustic-pnn/ and others")
CAVITY = {"substrate": "acoustic", "size": 20, "encode": "peak", "trained": False}
NETWORK = [CAVITY, {"substrate": "digital", "size": 20, "decode": "relu"}, CAVITY, {"substrate": "digital", "size": 10}]
TRAIN = {"steps": 4, "batch": 32, "chunk": 16, "rows": 4, "evaluate_every": 2, "evaluate_samples": 64}


def tree(method="dfa", network=NETWORK, **changes):
    return {
        "data": {"name": "digits", "size": [4, 2]},  # 8 inputs; 18 with a label laid over them
        "network": network,
        "fleet": {"replicas": 2, "mismatch": 0.05},
        "method": {"name": method},
        "train": TRAIN,
        **changes,
    }


METHODS = ["spsa", "physics-aware", "in-silico-noise", "dfa", "phyll"]


@pytest.mark.parametrize(("method", "trained"), [*((m, False) for m in METHODS), ("spsa", True), ("phyll", True)])
def test_every_method_trains_what_stands_behind_it(method, trained):
    """To the same bytes on any number of workers; a transform with nothing to train may be called trained."""
    network = [{**stage, "trained": True} if trained else stage for stage in NETWORK]
    run = Run.build(tree(method, network))
    one, three = train(run), train(run, InProcessPool(run, workers=3))
    assert one.parameters_sha256 == three.parameters_sha256
    assert (one.parameters_physical, one.parameters_digital) == (0, 20 * 20 + 20 + 20 * 10 + 10)
    assert one.writes == 0 and (one.passes == 0) == (method == "in-silico-noise")


def test_a_size_that_the_cavity_does_not_have_is_refused_with_its_place():
    for network, where in (
        ([{**CAVITY, "size": 16}, NETWORK[-1]], r"network\[0\]"),
        ([{"substrate": "digital", "size": 21}, CAVITY, NETWORK[-1]], r"network\[1\]"),
    ):
        with pytest.raises(RunFileError, match=rf"{where} cannot be built: the cavity takes 1 to 20 inputs"):
            Run.build(tree(network=network))


# --- a record in the place of the cavity ------------------------------------------------------------------------------


@pytest.fixture
def recorded(monkeypatch):
    """The recorded inputs that the surrogate was not fitted to, as a task; and a network with their record."""
    file = Path(PNN_DATA) / "acoustic-pnn" / "acoustic_io.npz"
    with np.load(file) as archive:
        x, y = archive["x"][9300:], archive["y"][9300:]
    loud = (y[:, 5] > np.median(y[:, 5])).astype(np.int32)
    task = Dataset("recorded", x[:500], loud[:500], x[500:], loud[500:], 2, (20,))
    monkeypatch.setitem(LOADERS, "recorded", lambda folder: task)
    driver = {"name": "replay", "file": str(file), "first": 9300}
    cavity = {**CAVITY, "encode": "none", "device": "driven", "driver": driver}
    return tree("physics-aware", [cavity, {"substrate": "digital", "size": 2}], data={"name": "recorded"}, fleet={})


@needs_data
def test_a_network_is_trained_through_a_record(recorded):
    recorded["method"]["rate"] = 0.1
    recorded["train"] = {**TRAIN, "steps": 150, "evaluate_every": 150, "evaluate_samples": 200}
    result = train(Run.build(recorded))
    assert result.accuracy > 0.9 and abs(result.accuracy - result.accuracy_promised) < 0.05
    assert result.passes == 150 * 32 and result.writes == 0


@needs_data
def test_what_was_not_recorded_is_refused_with_its_stage(recorded):
    recorded["network"][0]["encode"] = "peak"
    recorded["data"] = {"name": "digits", "size": [4, 2]}
    recorded["network"][1]["size"] = 10
    with pytest.raises(RuntimeError, match="expected an .npz archive of x"):  # of 8 inputs
        train(Run.build(recorded))
    recorded["network"].insert(0, {"substrate": "digital", "size": 20, "decode": "relu"})
    with pytest.raises(
        Refused, match=r"network\[1\], chip 0, step 0: .* this input was not recorded: the nearest of 700"
    ):
        train(Run.build(recorded))

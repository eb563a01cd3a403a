"""Both device paths: a simulator behind a driver, one write or one sample at a time, trains as the fused one does."""

import jax
import numpy as np
import pytest

from orchestrator import Run, train
from orchestrator.core.worker import Worker
from physics.driven import DrivenDevice
from physics.simulated import SimulatedDevice

# A loop of single samples and a fused batch differ in the last bits of a float32 sum. Where such a bit moves a reading
# over the edge of a converter code, the reading differs by one code; that is rare, and small beside the noise.
BOUND = 2e-3


@pytest.mark.parametrize("method", ["spsa", "physics-aware", "in-silico", "dfa", "phyll"])
def test_the_driven_device_agrees_with_the_simulated_one(method, small_tree):
    tree = small_tree(method, train={"steps": 2, "batch": 16, "chunk": 8, "evaluate_samples": 16, "evaluate_chunk": 16})
    if method == "spsa":
        tree["method"]["probes"] = 2
    results = []
    for device in ("simulated", "driven"):
        tree["network"] = [{**stage, "device": device} for stage in tree["network"]]
        run = Run.build(tree)
        kind = DrivenDevice if device == "driven" else SimulatedDevice
        assert all(type(d) is kind for d in Worker(run, 0, 1).shards.devices.values())
        results.append(train(run))
    fused, driven = results
    for a, b in zip(jax.tree.leaves(fused.params), jax.tree.leaves(driven.params), strict=True):
        np.testing.assert_allclose(a, b, atol=BOUND, rtol=0)
    for key in ("passes", "calls", "writes"):
        assert getattr(fused, key) == getattr(driven, key), key
    assert driven.device_seconds == pytest.approx(fused.device_seconds)
    assert driven.joules == pytest.approx(fused.joules)

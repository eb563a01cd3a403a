"""Perturbed and followed activities: their mean is the gradient that backpropagation through an exact twin gives."""

from fractions import Fraction

import jax
import numpy as np
import pytest

from orchestrator import Run
from orchestrator.core import keys
from orchestrator.core.coordinator import Coordinator
from orchestrator.core.work import Call
from orchestrator.pools.in_process import InProcessPool

# no mismatch and no noise: but for the converters, the twin is exact
NETWORK = [
    {"substrate": "crossbar", "size": 6, "decode": "tanh"},
    {"substrate": "digital", "size": 5, "decode": "tanh"},
    {"substrate": "crossbar", "size": 10, "encode": "clip"},
]
STEPS, SAMPLES = 48, 8


def coordinator_of(method, **train):
    run = Run.build(
        {
            "data": {"name": "digits", "size": [4, 4], "train_samples": SAMPLES},
            "network": NETWORK,
            "fleet": {"noise": 0.0, "drift": 0.0},
            "method": method,
            "train": {"steps": STEPS, "batch": SAMPLES, "chunk": SAMPLES, **train},
        }
    )
    return Coordinator(run, InProcessPool(run))


def gradients(method, steps, **train):
    """[steps, entries]: what is learnt of the first parameters, again and again from the same samples."""
    coordinator, found = coordinator_of(method, **train), []
    for step in range(steps):
        reports, _ = coordinator._round(Call(step, keys.TRAIN, None))
        evidence = coordinator._reduce(reports)[0][0]
        leaves = [leaf for name in sorted(evidence) for leaf in jax.tree.leaves(evidence[name])]
        found.append(np.concatenate([np.ravel(leaf) for leaf in leaves]))
    return np.array(found)


@pytest.fixture(scope="module")
def exact():
    return gradients({"name": "physics-aware"}, 1)[0]


@pytest.mark.parametrize("name, options", [("node-perturbation", {"sigma": 0.05}), ("forward-gradient", {})])
def test_the_mean_is_the_gradient(name, options, exact):
    found = gradients({"name": name, "probes": 8, **options}, STEPS)
    mean, error = found.mean(0), found.std(0, ddof=1) / np.sqrt(STEPS)
    seen = error > 0
    z = (mean - exact)[seen] / error[seen]
    assert np.mean(z**2) < 1.3, "within its standard error"
    assert np.mean(((mean + exact)[seen] / error[seen]) ** 2) > 4, "and a flipped sign is not"


def test_activities_are_perturbed_without_a_write():
    for name, rows in (("node-perturbation", 9), ("forward-gradient", 1)):
        coordinator = coordinator_of({"name": name, "probes": 8})
        reports, account = coordinator._round(Call(0, keys.TRAIN, None))
        (entry,) = account.values()
        assert entry.writes == 2, "the first write of two physical stages"
        # the first stage sees the same input in every row, and runs once
        assert entry.passes == Fraction(SAMPLES * (1 + 2 * rows), 3)


def test_items_of_some_samples_learn_what_one_of_all_does():
    """Jitter is of a sample of a step, so that it differs between items: only the unperturbed rows are equal."""
    whole, cut = (gradients({"name": "node-perturbation", "probes": 4}, 1, chunk=c)[0] for c in (SAMPLES, SAMPLES // 2))
    assert whole.shape == cut.shape and not np.array_equal(whole, cut)
    assert np.all(np.isfinite(cut)) and np.any(cut)

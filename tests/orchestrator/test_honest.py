"""What a trainer may know: nothing of the chip but what was measured on it."""

import jax

from orchestrator import train
from physics.substrates.crossbar import Crossbar


def shas(small, method, before=lambda seed: None):
    """SHA-256 of the parameters that a method ends with on two sets of chips."""
    found = []
    for seed in (1, 2):
        before(seed)
        found.append(train(small(method, fleet={"seed": seed}, train={"evaluate_every": 100})).parameters_sha256)
    return found


def test_training_in_the_twin_is_the_same_whatever_the_chip(small):
    a, b = shas(small, "in-silico-noise")
    assert a == b


def test_training_on_the_chip_is_not(small):
    a, b = shas(small, "physics-aware")
    assert a != b


def test_a_twin_that_sees_the_chip_would_be_found_out(small, monkeypatch):
    def leak(seed):
        jax.clear_caches()
        monkeypatch.setattr(Crossbar, "nominal", lambda self: self.fabricate(jax.random.key(seed)))

    try:
        a, b = shas(small, "in-silico-noise", leak)
        assert a != b
    finally:
        jax.clear_caches()

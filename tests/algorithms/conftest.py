import orchestrator  # isort: skip  # noqa: F401  first of all: it gives XLA its threads, as in every run

from functools import partial

import jax
import numpy as np
import pytest

from algorithms.contracts import View
from physics import twin


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _learn(method, model, stage, stages, params, key, trace, signal):
    return method.learn(View(params, key, stage, stages, partial(twin.vjp, model, params)), trace, signal)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _score(method, model, stage, params, key, trace):
    return method.score(View(params, key, stage, 3, partial(twin.vjp, model, params)), trace)


@pytest.fixture(scope="session")
def learn():
    """learn(method, model, params, trace, signal) -> (gradient, cotangent of x), compiled, as a worker calls it."""

    def call(method, model, params, trace, signal=None, key=None, stage=0, stages=3):
        return _learn(method, model, stage, stages, params, jax.random.key(0) if key is None else key, trace, signal)

    return call


@pytest.fixture(scope="session")
def score():
    """score(method, model, params, trace, key, stage) -> class scores [classes, batch]."""
    return lambda method, model, params, trace, key, stage=0: _score(method, model, stage, params, key, trace)


@pytest.fixture(scope="session")
def draw():
    """draw(seed, *shape): normal numbers, float32."""
    return lambda seed, *shape: np.random.default_rng(seed).normal(size=shape).astype(np.float32)

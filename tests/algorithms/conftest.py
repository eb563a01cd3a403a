import orchestrator  # isort: skip  # noqa: F401  first of all: it gives XLA its threads, as in every run

from functools import partial

import jax
import numpy as np
import pytest

from algorithms.contracts import View
from physics import twin

CLASSES = 2


def view(model, stage, stages, params, key):
    halves = partial(twin.decode_vjp, model, params), partial(twin.device_vjp, model, params)
    return View(params, key, stage, stages, *halves, CLASSES)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _learn(method, model, stage, stages, params, key, trace, signal):
    return method.learn(view(model, stage, stages, params, key), trace, signal)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _score(method, model, stage, classes, params, key, trace):
    return method.score(view(model, stage, 3, params, key)._replace(n_classes=classes), trace)


@pytest.fixture(scope="session")
def learn():
    """learn(method, model, params, trace, signal) -> (gradient, cotangent of x), compiled, as a worker calls it."""

    def call(method, model, params, trace, signal=None, key=None, stage=0, stages=3):
        return _learn(method, model, stage, stages, params, jax.random.key(0) if key is None else key, trace, signal)

    return call


@pytest.fixture(scope="session")
def score():
    """score(method, model, params, trace, key, stage, classes) -> class scores [classes, batch]."""

    def call(method, model, params, trace, key, stage=0, classes=CLASSES):
        return _score(method, model, stage, classes, params, key, trace)

    return call


@pytest.fixture(scope="session")
def draw():
    """draw(seed, *shape): normal numbers, float32."""
    return lambda seed, *shape: np.random.default_rng(seed).normal(size=shape).astype(np.float32)

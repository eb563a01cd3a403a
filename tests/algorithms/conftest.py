import orchestrator  # isort: skip  # noqa: F401  first of all: it gives XLA its threads, as in every run

from functools import partial

import jax
import numpy as np
import pytest

from algorithms.contracts import Bare, Trace, View
from algorithms.methods.backprop import PhysicsAware
from physics import twin
from physics.substrates.crossbar import Crossbar
from physics.substrates.digital import Digital
from physics.substrates.oscillators import Oscillators

CLASSES = 2
STAGES = {
    "digital": Digital(4, 3, decode_as="softsign"),
    "crossbar": Crossbar(4, 3, decode_as="tanh", gain=2.0),
    "oscillators": Oscillators(4, 3, decode_as="tanh", trained_gain=True),
}


def view(model, stage, stages, params, key):
    halves = partial(twin.decode_vjp, model, params), partial(twin.device_vjp, model, params)
    return View(params, key, stage, stages, *halves, lambda v: Bare(*twin.bare(model, params, v)), CLASSES)


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


@pytest.fixture(scope="session", params=STAGES)
def any_stage(request):
    """(model, params) of a stage with 4 inputs and 3 outputs: digital, linear in its parameters, or neither."""
    model = STAGES[request.param]
    return model, jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(5)))


def forward(model, params, x):
    v = jax.vmap(partial(twin.respond, model, params["device"]))(x)
    return v, jax.vmap(jax.vmap(partial(model.decode, params["digital"])))(v)


@pytest.fixture(scope="session")
def ideal():
    """ideal(model, params, x [rows, batch, n_in]) -> Trace of a chip that is its twin."""
    compiled = jax.jit(forward, static_argnums=0)
    return lambda model, params, x: Trace(x, *map(np.asarray, compiled(model, params, x)))


@pytest.fixture(scope="session")
def slope():
    """slope(loss, model, params, x) -> gradient of loss(h [rows, batch, n_out]) through the twin, by jax."""
    return lambda loss, model, params, x: jax.jit(jax.grad(lambda p: loss(forward(model, p, x)[1])))(params)


@pytest.fixture(scope="session")
def close():
    """close(tree, other): alike in structure, and in numbers to a few units of float32."""

    def check(tree, other):
        assert jax.tree.structure(tree) == jax.tree.structure(other)
        for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(b).max()))

    return check


@pytest.fixture(scope="session")
def descent(learn, ideal, draw):
    """descent(method, steps) -> (losses, cosines): two digital stages learn to tell four classes, by a method.

    losses: mean cross-entropy before each step. cosines: of what the lower stage learns with its true gradient.
    """

    def call(method, steps=150, rate=0.5):
        models = Digital(8, 16, decode_as="tanh"), Digital(16, 4)
        shapes = [((8, 16), 8), ((16, 4), 16)]
        params = [
            {"device": {}, "digital": {"kernel": draw(i, *size) / n**0.5, "bias": np.zeros(size[1], np.float32)}}
            for i, (size, n) in enumerate(shapes)
        ]
        x = draw(2, 200, 8)
        y = np.argmax(x @ draw(3, 8, 4), axis=1).astype(np.int32)
        losses, cosines = [], []
        for _ in range(steps):
            lower = ideal(models[0], params[0], x[None])
            upper = ideal(models[1], params[1], lower.h)
            p = np.exp(upper.h - upper.h.max(axis=-1, keepdims=True))
            p /= p.sum(axis=-1, keepdims=True)
            e = (p - np.eye(4, dtype=np.float32)[y]) / len(y)
            losses.append(-np.log(p[0, np.arange(len(y)), y]).mean())
            above, cot_h = learn(method, models[1], params[1], upper, e, stage=1, stages=2)
            below, _ = learn(method, models[0], params[0], lower, e if cot_h is None else cot_h, stage=0, stages=2)
            _, true_h = learn(PhysicsAware(), models[1], params[1], upper, e, stage=1, stages=2)
            true, _ = learn(PhysicsAware(), models[0], params[0], lower, true_h, stage=0, stages=2)
            a, b = (np.ravel(g["digital"]["kernel"]) for g in (below, true))
            cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            params = [
                jax.tree.map(lambda p, g: p - rate * np.asarray(g), old, new)
                for old, new in zip(params, (below, above), strict=True)
            ]
        return losses, cosines

    return call

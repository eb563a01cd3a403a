"""Forwards of a network that nobody perturbs: the floor under a step that measures as many perturbed ones.

One round makes `forwards` of them, each with a batch of its own, in two ways: by one compiled chain of products a
forward, and by a loop over blocks of each layer's outputs, which holds no more than a block of intermediate results.
The value is the rate of the faster; both are told.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from orchestrator.bench.ours.repeat import rate
from orchestrator.bench.serve import Round

# A floor uses every core, and has no bits to keep: XLA may have as many threads as there are cores.
os.environ["NPROC"] = str(len(os.sched_getaffinity(0)))

BLOCKS = 8  # of each layer, as far as they divide its outputs
Array = Any


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: layers (inputs, then outputs of each), batch, forwards, seconds of a round. All in float32."""
    layers, batch, forwards = options["layers"], options["batch"], options["forwards"]
    k_w, k_x = jax.random.split(jax.random.key(0))
    weights = [
        jax.random.normal(jax.random.fold_in(k_w, i), (a, b)) / jnp.sqrt(float(a))
        for i, (a, b) in enumerate(zip(layers, layers[1:], strict=False))
    ]
    biases = [jnp.zeros(b) for b in layers[1:]]
    x = list(jax.random.uniform(k_x, (forwards, batch, layers[0])))

    def rounds(forward: Any) -> Round:
        return rate(lambda: jax.block_until_ready([forward(weights, biases, b) for b in x]), options["seconds"] / 2)

    ways = {"chain": rounds(chain), "blocked": rounds(blocked)}

    def measure() -> dict[str, Any]:
        rates = {name: way()["value"] for name, way in ways.items()}
        return {"value": max(rates.values()), **rates}

    return {"parameters": sum(w.size for w in weights) + sum(b.size for b in biases)}, measure


@jax.jit
def chain(weights: Sequence[Array], biases: Sequence[Array], x: Array) -> Array:
    """Outputs [batch, n] of one batch: layer after layer, rectified between them."""
    for index, (w, b) in enumerate(zip(weights, biases, strict=True)):
        x = jax.nn.relu(x @ w + b) if index < len(weights) - 1 else x @ w + b
    return x


@jax.jit
def blocked(weights: Sequence[Array], biases: Sequence[Array], x: Array) -> Array:
    """The same, block by block of the outputs of a layer."""
    for index, (w, b) in enumerate(zip(weights, biases, strict=True)):
        n_in, n_out = w.shape
        n = next(n for n in range(BLOCKS, 0, -1) if n_out % n == 0)
        width = n_out // n

        def block(i: Array, x: Array = x, w: Array = w, width: int = width, n_in: int = n_in) -> Array:
            return x @ jax.lax.dynamic_slice(w, (0, i * width), (n_in, width))

        parts = jax.lax.map(block, jnp.arange(n))
        x = jnp.moveaxis(parts, 0, 1).reshape(x.shape[0], n_out) + b
        x = jax.nn.relu(x) if index < len(weights) - 1 else x
    return x

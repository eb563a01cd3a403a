"""Seconds of so many unperturbed forwards of a network of a billion parameters, by one compiled chain of products.

Parameters are constant: their values do not change the time of a product, and random ones take a minute to draw.
"""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp

from orchestrator.bench.ours.unperturbed import chain
from orchestrator.bench.serve import Round


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: layers, batch, forwards; further ones are of the other side."""
    layers, batch, forwards = options["layers"], options["batch"], options["forwards"]
    weights = [jnp.full((a, b), 1 / a) for a, b in zip(layers, layers[1:], strict=False)]
    biases = [jnp.zeros(b) for b in layers[1:]]
    x = list(jax.random.uniform(jax.random.key(0), (forwards, batch, layers[0])))
    jax.block_until_ready(chain(weights, biases, x[0]))

    def measure() -> dict[str, Any]:
        began = time.perf_counter()
        jax.block_until_ready([chain(weights, biases, one) for one in x])
        return {"value": time.perf_counter() - began}

    return {"parameters": sum(w.size for w in weights) + sum(b.size for b in biases)}, measure

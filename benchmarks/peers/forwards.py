"""Forwards of a population whose parameters lie in memory, in plain JAX 0.10.2 (Apache-2.0): generations/s.

The floor that evolution strategies are compared with: a generation here is a batch drawn at random and the mean
cross-entropy of each of `population` members on it, by jit(vmap). Nothing is drawn for the members, nothing is ranked,
nothing is updated. The parameters [population, ...] are an argument, so they are neither folded nor made anew.

As in evosax_open_es.py: float32, the batch with replacement and one for all, a loop of calls and one lax.scan both
tried, the faster used, at least three rounds of each to warm up.

value: generations/s. members: forwards/s, each of one member and one batch. loss: the mean over members and batches.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import mlp
import side

DEFAULTS = {
    "layers": [64, 32, 10],
    "population": 128,
    "batch": 256,
    "generations": 100,
    "activation": "relu",
    "sigma": 0.05,
    "loop": "auto",
    "data": None,
    "seed": 0,
}
# Options of evosax_open_es.py that mean nothing without an update, so that both can be given the same.
IGNORED = {"steps_total": None, "rate": None, "optimizer": None}


def setup(o: dict[str, Any]) -> tuple[dict[str, Any], side.Round]:
    x, y = (jax.device_put(a) for a in side.load(o["data"], o["layers"][0], o["layers"][-1], o["seed"]))
    key, k_mean, k_members = jax.random.split(jax.random.key(o["seed"]), 3)
    mean = mlp.init(k_mean, o["layers"])

    @jax.jit
    def materialise(key: Any) -> Any:
        leaves, tree = jax.tree.flatten(mean)
        keys = jax.random.split(key, len(leaves))
        shape = (o["population"],)
        drawn = [a + o["sigma"] * jax.random.normal(k, shape + a.shape) for a, k in zip(leaves, keys, strict=True)]
        return jax.tree.unflatten(tree, drawn)

    members = jax.block_until_ready(materialise(k_members))

    def generation(carry: Any, members: Any, x: Any, y: Any) -> Any:
        key, losses = carry
        key, k_batch = jax.random.split(key)
        rows = jax.random.randint(k_batch, (o["batch"],), 0, x.shape[0])
        found = jax.vmap(mlp.loss, in_axes=(0, None, None, None))(members, x[rows], y[rows], o["activation"])
        return key, losses + found

    def begin() -> Any:
        return key, jnp.zeros(o["population"])

    loop, picked = mlp.pick(generation, o["generations"], o["loop"], begin(), members, x, y)

    def run() -> dict[str, Any]:
        value, (_, losses) = mlp.rate(loop, o["generations"], begin(), members, x, y)
        return {"value": value, "members": value * o["population"], "loss": float(jnp.mean(losses)) / o["generations"]}

    parameters = sum(a.size for a in jax.tree.leaves(mean))
    return {"parameters": parameters, "samples": x.shape[0]} | picked, run


if __name__ == "__main__":
    side.serve(setup, DEFAULTS | IGNORED, ("jax", "jaxlib", "numpy"))

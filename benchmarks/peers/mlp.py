"""The multilayer perceptron of the JAX sides, and how they find the faster loop over generations."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import side

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def init(key: Any, layers: Sequence[int]) -> list[dict[str, Any]]:
    """Weights N(0, 1 / inputs), biases 0."""
    keys = jax.random.split(key, len(layers) - 1)
    return [
        {"w": jax.random.normal(k, (i, o)) / jnp.sqrt(float(i)), "b": jnp.zeros(o)}
        for k, i, o in zip(keys, layers, layers[1:], strict=False)
    ]


def loss(params: list[dict[str, Any]], x: Any, y: Any, activation: str) -> Any:
    """Mean cross-entropy of logits, over a batch."""
    for layer in params[:-1]:
        x = ACTIVATIONS[activation](x @ layer["w"] + layer["b"])
    logits = x @ params[-1]["w"] + params[-1]["b"]
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1))


def loops(body: Callable[..., Any], generations: int) -> dict[str, Callable[..., Any]]:
    """`carry, *data -> carry` after `generations` of `body(carry, *data)`: called one by one, and as one scan."""
    one = jax.jit(body)

    def steps(carry: Any, *data: Any) -> Any:
        for _ in range(generations):
            carry = one(carry, *data)
        return carry

    @jax.jit
    def scan(carry: Any, *data: Any) -> Any:
        return jax.lax.scan(lambda c, _: (body(c, *data), None), carry, length=generations)[0]

    return {"steps": steps, "scan": scan}


def rate(loop: Callable[..., Any], generations: int, carry: Any, *data: Any) -> tuple[float, Any]:
    """(generations/s, carry after them)."""
    began = time.perf_counter()
    carry = jax.block_until_ready(loop(carry, *data))
    return generations / (time.perf_counter() - began), carry


def pick(
    body: Callable[..., Any], generations: int, wanted: str, carry: Any, *data: Any
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The loop that is wanted ("auto": the faster), warm, and the last warm rate of each that was tried."""
    found = {n: f for n, f in loops(body, generations).items() if wanted in ("auto", n)}
    rates = {}
    for name, loop in found.items():
        state = carry

        def once(loop: Callable[..., Any] = loop) -> float:
            nonlocal state
            value, state = rate(loop, generations, state, *data)
            return value

        rates[name] = side.steady(once, least=3)[-1]  # the first two trace: weak types of the first state are gone
    best = max(rates, key=lambda name: rates[name])
    return found[best], {"loop": best, "warm_rates": rates}

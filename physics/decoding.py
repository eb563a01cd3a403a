"""Digital activations that a stage may apply to what it measured; exact, and differentiated exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp

from physics.contracts import Array
from physics.sines import sin

Decode = Literal["none", "tanh", "relu", "softsign", "sin"]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "none": lambda v: v,
    "tanh": jnp.tanh,
    "relu": lambda v: jnp.maximum(v, 0.0),
    "softsign": lambda v: v / (1.0 + jnp.abs(v)),
    "sin": sin,  # of an interferometer
}

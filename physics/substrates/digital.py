"""A digital layer, exact: h = activation(W x + b), by Flax. For encoders, heads and baselines; it has no chip.

Nothing is measured or written, so it costs no device seconds and no joules; its parameters count as digital.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from physics.contracts import EXACT, MEASURE, TWIN, Array, At, Costs, Key, Port, Ports, Tree
from physics.decoding import ACTIVATIONS, Decode
from physics.directions import dense, products, shared

# Normal numbers take many times their own memory while they are made, so large layers are drawn block by block, from
# the same distribution. Frozen, like all that decides first parameters.
LARGE, BLOCK = 1 << 22, 1 << 18  # entries


@dataclass(frozen=True)
class Digital:
    """A dense layer of n_out units, with or without bias. dtype: of what is held; all is computed in float32."""

    n_in: int
    n_out: int
    decode_as: Decode = "none"
    bias: bool = True
    dtype: Literal["float32", "bfloat16"] = "float32"

    @property
    def layer(self) -> nn.Dense:
        return nn.Dense(self.n_out, use_bias=self.bias)

    @property
    def ports(self) -> Ports:
        number = Port("1", -np.inf, np.inf)
        return Ports({}, number, number)

    @property
    def costs(self) -> Costs:
        return Costs(write_s=0.0, pass_s=0.0, pass_J=0.0)

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({MEASURE, TWIN, EXACT})

    def init(self, key: Key) -> dict[str, Tree]:
        return {"device": {}, "digital": jax.tree.map(lambda p: p.astype(self.dtype), self._first(key))}

    def _first(self, key: Key) -> Tree:
        if self.n_in * self.n_out <= LARGE:
            return self.layer.init(key, jnp.zeros(self.n_in))["params"]
        rows = max(BLOCK // self.n_out, 1)
        blocks = -(-self.n_in // rows)
        block = nn.initializers.variance_scaling(rows / self.n_in, "fan_in", "truncated_normal")
        kernel = jax.lax.map(lambda i: block(jax.random.fold_in(key, i), (rows, self.n_out)), jnp.arange(blocks))
        kernel = kernel.reshape(-1, self.n_out)[: self.n_in]
        return {"kernel": kernel, **({"bias": jnp.zeros(self.n_out)} if self.bias else {})}

    def fabricate(self, key: Key) -> Tree:
        return ()

    def nominal(self) -> Tree:
        return ()

    def program(self, chip: Tree, device: Tree, key: Key | None) -> Tree:
        return ()

    def respond(self, chip: Tree, cells: Tree, x: Array, key: Key | None, at: At) -> Array:
        return x

    def decode(self, digital: Tree, v: Array) -> Array:
        return ACTIVATIONS[self.decode_as](self.layer.apply({"params": digital}, v))

    def share(self, digital: Tree, direction: Tree, v: Array) -> tuple[Array, Array | None]:
        """Of inputs [1, batch, n_in]; see `physics.directions`."""
        return shared(v, digital["kernel"], direction["kernel"])

    def decode_rows(self, digital: Tree, direction: Tree, scale: Array, v: Array, known: Any = None) -> Array:
        """h [rows, batch, n_out] for v [1 or rows, batch, n_in]; see `physics.directions`."""
        y = products(v, digital["kernel"], direction["kernel"], scale, known)
        if self.bias:
            sides = scale.shape[0] // jax.tree.leaves(direction)[0].shape[0]
            d = jnp.repeat(jax.vmap(dense)(direction["bias"]), sides, axis=0)
            y = y + (digital["bias"] + scale[:, None] * d)[:, None]
        return ACTIVATIONS[self.decode_as](y)

"""The twin: a model with the nominal chip, the only picture of a stage that a trainer may differentiate.

    physics-aware training:  cot_x = (df_m/dx)^T cot_v,  grad = (df_m/dtheta)^T cot_v,  both at the MEASURED x and v

Source: L. G. Wright et al., "Deep physical neural networks trained with backpropagation", Nature 601:549 (2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from physics.contracts import Array, At, Key, Model, Tree
from physics.decoding import ACTIVATIONS

FRESH = At(now=np.float32(0.0), since=np.float32(0.0))


def respond(model: Model, device: Tree, x: Array, key: Key | None = None) -> Array:
    """Outputs [batch, n_out] of the nominal chip for inputs [batch, n_in].

    key=None: no cycle noise, no converters. With a key: programming noise drawn once, read noise for each sample.
    """
    chip = model.nominal()
    if key is None:
        cells = model.program(chip, device, None)
        return jax.vmap(lambda x: model.respond(chip, cells, x, None, FRESH))(x)
    write, read = jax.random.split(key)
    cells = model.program(chip, device, write)
    keys = jax.vmap(lambda i: jax.random.fold_in(read, i))(jnp.arange(x.shape[0]))
    return jax.vmap(lambda x, k: model.respond(chip, cells, x, k, FRESH))(x, keys)


def vjp(model: Model, params: Tree, x: Array, v: Array, cot_h: Array) -> tuple[Tree, Array]:
    """Pull a cotangent back through one stage: exactly through the decoding at the measured v, then through the twin.

    x [batch, n_in], v [batch, n_out], cot_h like h [batch, ...]. Returns the gradient (a tree like params, summed
    over the batch) and cot_x [batch, n_in].
    """
    digital, cot_v = decode_vjp(model, params, v, cot_h)
    device, cot_x = device_vjp(model, params, x, cot_v)
    return {"device": device, "digital": digital}, cot_x


def decode_vjp(model: Model, params: Tree, v: Array, cot_h: Array) -> tuple[Tree, Array]:
    """(gradient of the digital parameters, cot_v [batch, n_out]) at the measured v."""
    _, pull = jax.vjp(lambda d, v: jax.vmap(lambda v: model.decode(d, v))(v), params["digital"], v)
    return pull(cot_h)


def device_vjp(model: Model, params: Tree, x: Array, cot_v: Array) -> tuple[Tree, Array]:
    """(gradient of the device parameters, cot_x [batch, n_in]) of the twin at the measured x."""
    _, pull = jax.vjp(lambda d, x: respond(model, d, x), params["device"], x)
    return pull(cot_v)


def bare(model: Any, params: Tree, v: Array) -> tuple[Array, Array, Callable[[Array], tuple[Tree, Array]]]:
    """(a, f'(a), pull) of a stage with activation f at the measured v: its outputs are h = f(a), [batch, n_out].

    pull(cot_a) -> (gradient of the digital parameters, cot_v), as of the stage with `decode = "none"`.
    """
    linear, f = replace(model, decode_as="none"), ACTIVATIONS[model.decode_as]
    a, pull = jax.vjp(lambda d, v: jax.vmap(lambda v: linear.decode(d, v))(v), params["digital"], v)
    _, slope = jax.jvp(f, (a,), (jnp.ones_like(a),))
    return a, slope, pull

"""Batches a second of one physical layer: measured and decoded ("forward"), or pulled back through its twin ("vjp").

Forward is what a worker does for one row: `SimulatedDevice.execute`, then the decoding, each compiled.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from orchestrator.bench.ours.repeat import rate
from orchestrator.bench.serve import Round
from orchestrator.core import kernels, keys
from physics import registry, twin
from physics.contracts import Array, Model, Request, Tree
from physics.simulated import SimulatedDevice


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: substrate, n_in, n_out, batch, what ("forward", "measure" without decoding, or "vjp"), model (further
    fields of it), seconds of a round.
    """
    model = registry.load(options["substrate"])(
        n_in=options["n_in"], n_out=options["n_out"], **options.get("model", {})
    )
    key = jax.random.key(0)
    params = model.init(key)
    x = jax.random.uniform(key, (options["batch"], options["n_in"]))
    device = SimulatedDevice(model, key, key, keys.NOISE_KEYS)
    measure = Measure(model, device, params, x)
    if options["what"] == "vjp":
        v = measure()[0]
        h = kernels.decode(model, None, params["digital"], v[None])[0]
        pull = jax.jit(twin.vjp, static_argnums=0)
        cot_h = jnp.ones_like(h)

        def call() -> object:
            return jax.block_until_ready(pull(model, params, x, v, cot_h))

    elif options["what"] == "measure":
        call = measure
    else:

        def call() -> object:
            return jax.block_until_ready(kernels.decode(model, None, params["digital"], measure()))

    about = {"model": repr(model), "batch": options["batch"], "platform": jax.default_backend()}
    return about, rate(call, options.get("seconds", 1.0))


class Measure:
    """Measures the same batch [batch, n_in] again and again, each time another reading of what one write left."""

    def __init__(self, model: Model, device: SimulatedDevice, params: Tree, x: Array) -> None:
        self._device, self._params, self._x = device, params["device"], x[None]
        self._zero = np.zeros(1, np.float32)
        self._step = 0

    def __call__(self) -> Array:
        """Outputs [1, batch, n_out]."""
        self._step += 1
        version = (0, 0, 0)
        request = Request(
            params=self._params,
            x=self._x,
            versions=(version,),
            held=(version,),
            requests=((keys.TRAIN, self._step, 0, 0),),
            now=self._zero,
            since=self._zero,
            first_sample=0,
            samples=self._x.shape[1],
        )
        return jax.block_until_ready(self._device.execute(request).v)

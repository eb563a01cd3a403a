"""Batches a second of one physical layer: measured and decoded ("forward"), or pulled back through its twin ("vjp").

Forward is what a worker does for one row: `SimulatedDevice.execute`, then the decoding, each compiled. As in a worker,
independent batches are shared by as many threads as there are cores, each on one (decision 0010).
"""

from __future__ import annotations

from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from orchestrator.bench.ours.repeat import rate
from orchestrator.bench.serve import Round
from orchestrator.core import kernels, keys, threads
from physics import registry, twin
from physics.contracts import Array, Request, Tree
from physics.simulated import SimulatedDevice


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: substrate, n_in, n_out, batch, what ("forward": each batch after a write of its own; "measure": all of
    one write, without decoding; "vjp": the gradient of the parameters), model (further fields of it), seconds of a
    round, threads (as many as cores).
    """
    model = registry.load(options["substrate"])(
        n_in=options["n_in"], n_out=options["n_out"], **options.get("model", {})
    )
    key = jax.random.key(0)
    params = model.init(key)
    x = jax.random.uniform(key, (options["batch"], options["n_in"]))
    device = SimulatedDevice(model, key, key, keys.NOISE_KEYS)
    measure = Measure(device, params, x, writes=options["what"] == "forward")
    if options["what"] == "vjp":
        v = measure()[0]
        h = kernels.decode(model, None, params["digital"], v[None])[0]
        pull = jax.jit(lambda params, x, v, cot_h: twin.vjp(model, params, x, v, cot_h)[0])
        cot_h = jnp.ones_like(h)

        def call() -> object:
            return jax.block_until_ready(pull(params, x, v, cot_h))

    elif options["what"] == "measure":
        call = measure
    else:

        def call() -> object:
            return jax.block_until_ready(kernels.decode(model, None, params["digital"], measure()))

    together = options.get("threads", threads.threads())
    about = {"model": repr(model), "batch": options["batch"], "platform": jax.default_backend(), "threads": together}
    return about, rate(call, options.get("seconds", 1.0), together)


class Measure:
    """Measures one batch [batch, n_in] again and again: readings of one write, or each after a write of its own."""

    def __init__(self, device: SimulatedDevice, params: Tree, x: Array, writes: bool) -> None:
        self._device, self._params, self._x, self._writes = device, params["device"], x[None], writes
        self._zero = np.zeros(1, np.float32)
        self._steps = count(1)

    def __call__(self) -> Array:
        """Outputs [1, batch, n_out]."""
        step = next(self._steps)
        version = (step if self._writes else 0, 0, 0)
        request = Request(
            params=self._params,
            x=self._x,
            versions=(version,),
            held=(version,),
            requests=((keys.TRAIN, step, 0, 0),),
            now=self._zero,
            since=self._zero,
            first_sample=0,
            samples=self._x.shape[1],
        )
        return jax.block_until_ready(self._device.execute(request).v)

"""Open_ES of evosax 0.3.2 (Apache-2.0) on a multilayer perceptron: generations/s.

A generation: a batch drawn at random, `ask`, the mean cross-entropy of each member by a vmapped forward, `tell`. All of
it is one jitted function; a loop of calls and one lax.scan over the generations of a round are both tried while warming
up, and the faster is used. float32 throughout.

Settings: antithetic pairs; centred ranks in -0.5..0.5 (the default of Open_ES, set explicitly); constant sigma; plain
SGD (or Adam, or SGD with momentum 0.9) from optax. One batch for all members of a generation, drawn with replacement.
Random numbers are JAX's default, threefry, on a CPU the fastest that JAX has. First mean: weights N(0, 1 / inputs),
biases 0. The state changes its weak types once, so at least three rounds of each loop are run first, on a state that is
thrown away; the metrics of `tell` are not used and thus not computed.

value: generations/s. loss: mean cross-entropy of the mean, on the first 2,000 samples, after `total` generations; it is
not part of the time. After steps_total generations training starts anew with the next seed; `finals` holds the
loss of every seed that got that far.
"""

from __future__ import annotations

from typing import Any

import jax
import mlp
import optax
import side
from evosax.algorithms import Open_ES
from evosax.core.fitness_shaping import centered_rank_fitness_shaping_fn

DEFAULTS = {
    "layers": [64, 32, 10],
    "population": 128,
    "batch": 256,
    "generations": 100,  # a round
    "steps_total": 2000,
    "activation": "relu",
    "sigma": 0.05,
    "rate": 0.05,
    "optimizer": "sgd",
    "loop": "auto",  # or steps, scan
    "data": None,  # path of an .npz: x [n, features] in 0..1, y [n]
    "seed": 0,
}
OPTIMIZERS = {
    "sgd": optax.sgd,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "adam": optax.adam,
}


def setup(o: dict[str, Any]) -> tuple[dict[str, Any], side.Round]:
    if o["steps_total"] % o["generations"]:
        raise ValueError("steps_total must be a multiple of generations")
    x, y = (jax.device_put(a) for a in side.load(o["data"], o["layers"][0], o["layers"][-1], o["seed"]))
    solution = mlp.init(jax.random.key(0), o["layers"])
    es = Open_ES(
        population_size=o["population"],
        solution=solution,
        use_antithetic_sampling=True,
        optimizer=OPTIMIZERS[o["optimizer"]](o["rate"]),
        std_schedule=optax.constant_schedule(o["sigma"]),
        fitness_shaping_fn=centered_rank_fitness_shaping_fn,
    )
    params = es.default_params

    def loss(member: Any, x: Any, y: Any) -> Any:
        return mlp.loss(member, x, y, o["activation"])

    def generation(carry: Any, x: Any, y: Any) -> Any:
        key, state = carry
        key, k_batch, k_ask, k_tell = jax.random.split(key, 4)
        rows = jax.random.randint(k_batch, (o["batch"],), 0, x.shape[0])
        population, state = es.ask(k_ask, state, params)
        fitness = jax.vmap(loss, in_axes=(0, None, None))(population, x[rows], y[rows])
        state, _ = es.tell(k_tell, population, fitness, state, params)
        return key, state

    def begin(seed: int) -> Any:
        key, k_mean, k_state = jax.random.split(jax.random.key(seed), 3)
        return key, es.init(k_state, mlp.init(k_mean, o["layers"]), params)

    loop, picked = mlp.pick(generation, o["generations"], o["loop"], begin(o["seed"]), x, y)
    evaluate = jax.jit(lambda state, x, y: loss(es.get_mean(state), x, y))
    evaluated = x[: side.EVALUATED], y[: side.EVALUATED]
    seed, total, carry, finals = o["seed"], 0, begin(o["seed"]), {}

    def run() -> dict[str, Any]:
        nonlocal seed, total, carry
        if total == o["steps_total"]:
            seed, total, carry = seed + 1, 0, begin(seed + 1)
        value, carry = mlp.rate(loop, o["generations"], carry, x, y)
        total += o["generations"]
        reached = float(evaluate(carry[1], *evaluated))
        if total == o["steps_total"]:
            finals[seed] = reached
        return {"value": value, "loss": reached, "total": total, "seed": seed, "finals": finals}

    about = {
        "first_loss": float(evaluate(carry[1], *evaluated)),
        "parameters": es.num_dims,
        "samples": x.shape[0],
        "shaping": "centred ranks, -0.5..0.5",
        "antithetic": True,
        "batches": "with replacement, one for all members",
    }
    return about | picked, run


if __name__ == "__main__":
    side.serve(setup, DEFAULTS, ("evosax", "jax", "jaxlib", "optax", "numpy"))

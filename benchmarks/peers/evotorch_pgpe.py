"""PGPE of EvoTorch 0.6.1 (Apache-2.0), on Ray 2.60.0 actors or in process: generations/s.

The settings make it the same method as evosax_open_es.py: symmetric sampling, centred ranks, plain SGD on the
mean, a constant standard deviation (stdev_rate 0; PGPE proper is 0.1 with optimizer "clipup"). `rate` is meant as
in Open_ES: EvoTorch does not divide its gradient by sigma^2, so with SGD it is given rate / sigma^2.

With actors, distributed=True: the distribution goes down, each actor draws, evaluates and ranks its share of the
population, and vectors of the size of the parameters come up. distributed=false: the population is drawn centrally and
its members go down. actors 0: in process, no Ray.

A fair use: the problem evaluates all members of its share at once by batched matrix products (no module per member, as
SupervisedNE does), without gradients, written in the fastest of several ways; threads of each process = CPUs / actors,
by OMP_NUM_THREADS and set_num_threads; no loggers. A batch is drawn at random, with replacement, by each actor for its
share. `seed=` of Problem fails together with actors, so runs on actors are not repeatable; in process torch is seeded.

value: generations/s. loss: mean cross-entropy of the centre, on the first 2,000 samples, after `total` generations.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import cluster
import numpy as np
import side
import torch
from evotorch import Problem, SolutionBatch
from evotorch.algorithms import PGPE

DEFAULTS = {
    "layers": [64, 32, 10],
    "population": 128,
    "batch": 512,
    "generations": 50,
    "activation": "relu",
    "sigma": 0.05,
    "rate": 0.05,
    "optimizer": "sgd",  # or adam, clipup
    "stdev_rate": 0.0,
    "actors": 2,
    "distributed": True,
    "data": None,
    "seed": 0,
}
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


def losses(members: torch.Tensor, layers: list[int], x: torch.Tensor, y: torch.Tensor, activation: Any) -> torch.Tensor:
    """Mean cross-entropy [members] of flat parameters [members, d], on one batch for all."""
    count, at = len(members), 0
    h = x
    for n, (i, o) in enumerate(zip(layers, layers[1:], strict=False)):
        w = members[:, at : at + i * o].view(count, i, o)
        b = members[:, at + i * o : at + i * o + o].view(count, 1, o)
        h, at = torch.matmul(h, w).add_(b), at + i * o + o
        if n < len(layers) - 2:
            h = activation(h)
    right = h.gather(2, y.expand(count, -1)[..., None])[..., 0]
    return (torch.logsumexp(h, dim=2) - right).mean(dim=1)  # a fifth of the time of cross_entropy


class Classification(Problem):
    def __init__(self, x: torch.Tensor, y: torch.Tensor, o: dict[str, Any], threads: int) -> None:
        self.x, self.y, self.layers, self.batch, self.threads = x, y, o["layers"], o["batch"], threads
        self.activation = o["activation"]
        super().__init__(
            "min",
            solution_length=sum((i + 1) * o for i, o in zip(self.layers, self.layers[1:], strict=False)),
            initial_bounds=(-1.0, 1.0),  # asked for, and unused: the centre is given
            dtype=torch.float32,
            num_actors=o["actors"] or None,
        )

    def _prepare(self) -> None:  # called once where the work is done: in each actor
        torch.set_num_threads(self.threads)

    @torch.no_grad()
    def _evaluate_batch(self, batch: SolutionBatch) -> None:
        rows = torch.randint(len(self.x), (self.batch,))
        activation = ACTIVATIONS[self.activation]
        members = batch.values.as_subclass(torch.Tensor)  # the same memory, not marked as read-only
        batch.set_evals(losses(members, self.layers, self.x[rows], self.y[rows], activation))


def setup(o: dict[str, Any]) -> tuple[dict[str, Any], side.Round]:
    share = max(1, side.threads() // max(1, o["actors"]))
    torch.set_num_threads(side.threads())
    torch.manual_seed(o["seed"])
    x, y = side.load(o["data"], o["layers"][0], o["layers"][-1], o["seed"])
    x, y = torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))
    layers = o["layers"]
    first = [
        part
        for i, out in zip(layers, layers[1:], strict=False)
        for part in (torch.randn(i * out) / i**0.5, torch.zeros(out))
    ]
    problem = Classification(x, y, o, share)
    searcher = PGPE(
        problem,
        popsize=o["population"],
        center_init=torch.cat(first),
        center_learning_rate=o["rate"] / o["sigma"] ** 2 if o["optimizer"] == "sgd" else o["rate"],
        stdev_init=o["sigma"],
        stdev_learning_rate=o["stdev_rate"],
        optimizer=o["optimizer"],
        ranking_method="centered",
        symmetric=True,
        distributed=o["distributed"] and o["actors"] > 0,
    )
    total = 0

    def run() -> dict[str, Any]:
        nonlocal total
        began = time.perf_counter()
        for _ in range(o["generations"]):
            searcher.step()
        value = o["generations"] / (time.perf_counter() - began)
        total += o["generations"]
        with torch.no_grad():
            centre = searcher.status["center"].as_subclass(torch.Tensor)[None]
            held = x[: side.EVALUATED], y[: side.EVALUATED]
            loss = losses(centre, layers, *held, ACTIVATIONS[o["activation"]])
        return {"value": value, "loss": float(loss), "total": total}

    rates = side.steady(lambda: run()["value"])
    about = {
        "parameters": problem.solution_length,
        "samples": len(x),
        "threads_per_actor": share,
        "warm_rates": rates,
        "warm_generations": total,  # they count in `total`
    }
    return about, run


def here(o: dict[str, Any]) -> Any:
    threads = max(1, side.threads() // max(1, o["actors"]))
    return cluster.ray(max(side.threads(), o["actors"]), threads) if o["actors"] else nullcontext()


if __name__ == "__main__":
    side.serve(setup, DEFAULTS, ("evotorch", "torch", "ray", "numpy"), around=here)

"""cosine: how well estimates of SPSA point along the gradient, against the law of their variance.

    cos = 1 / sqrt(1 + (d + d sigma^2 / (2 c^2)) / K)        d parameters, K probes, loss noise sigma, unit gradient

Source: the squared error of a two-sided estimate with directions of +-1 is [(d - 1) + d sigma^2 / (2 c^2)] / K exactly
(from J. C. Spall, IEEE Trans. Automatic Control 37:332 (1992)). The law divides one mean by another; its value is what
is given as published. The mean of the cosine itself lies below it by a share of 1 / (4 K), and is the bar:

    E cos = y / sqrt(y^2 + d - 1),    y = E chi_K / sqrt(1 + sigma^2 / (2 c^2)),    E chi_K = sqrt(2) G((K+1)/2)/G(K/2)

for directions that are normal along the gradient, within 0.2 % at d = 1,000. Tolerance: 3 %, or three standard errors.
Split: none, for there are no data: the loss is linear. Seeds: 10, each the mean of 25 estimates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from orchestrator.reference.case import Bar, Case, Part
from orchestrator.reference.trial import Trial

DRAWS, SCALE = 25, 0.05
SIZES, PROBES = (1000, 5728), (10, 30, 100, 300, 1000)
NOISES = (0.0, 1.0, 10.0)  # sigma / c


def law(d: int, K: int, noise: float) -> float:
    """The law as it is published; noise: sigma / c."""
    return 1 / math.sqrt(1 + (d + d * noise**2 / 2) / K)


def expected(d: int, K: int, noise: float) -> float:
    """The mean of the cosine."""
    chi = math.sqrt(2) * math.exp(math.lgamma((K + 1) / 2) - math.lgamma(K / 2))
    y = chi / math.sqrt(1 + noise**2 / 2)
    return y / math.sqrt(y**2 + d - 1)


def cosine(trial: Trial, d: int, K: int, noise: float) -> float:
    """The mean cosine of the estimates of one seed."""
    import numpy as np

    u = np.random.default_rng(trial.seed).normal(size=d)
    cosines = estimator(d, K)(trial.seed, (u / np.linalg.norm(u)).astype(np.float32), noise)
    trial.passes += DRAWS * 2 * K
    return float(np.mean(cosines))


@cache
def estimator(d: int, K: int) -> Callable[..., Any]:
    """(seed, unit gradient u [d], noise) -> cosines between u and the estimates [DRAWS], compiled."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from algorithms.directions import dense
    from algorithms.methods.spsa import SPSA

    method, params = SPSA(probes=K, scale=SCALE), np.zeros(d, np.float32)
    passes = method.passes()
    probe, scale = np.array(passes.probe), np.array(passes.scale, np.float32)

    def estimate(key: jax.Array, u: jax.Array, noise: jax.Array) -> jax.Array:
        step, other = jax.random.split(key)
        slopes = jax.lax.map(lambda k: u @ dense(method.perturb((step, (), params), k)), jnp.arange(K))
        losses = scale * slopes[probe] + noise * SCALE * jax.random.normal(other, (len(passes),))
        g = dense(method.update(step, jnp.int32(0), (), params, losses).gradient)
        return u @ g / jnp.linalg.norm(g)

    @jax.jit
    def all_draws(seed: jax.Array, u: jax.Array, noise: jax.Array) -> jax.Array:
        return jax.lax.map(lambda key: estimate(key, u, noise), jax.random.split(jax.random.key(seed), DRAWS))

    return all_draws


def part(d: int, K: int, noise: float) -> Part:
    name = f"cosine/{d}-{K}" + (f"-noise-{noise:g}" if noise else "")
    bar = Bar(expected(d, K, noise), 0.03 * expected(d, K, noise), "near", errors=3)
    return Part(name, "cosine", cosine, (d, K, noise), tuple(range(10)), law(d, K, noise), bar=bar)


CASE = Case(
    "cosine",
    "Cosine between estimates of SPSA and the gradient, by parameters, probes and noise of the loss (sigma / c).",
    "the law of the variance of zeroth-order estimates (Spall 1992)",
    "no data: a linear loss",
    tuple(part(d, K, noise) for noise in NOISES for d in SIZES for K in PROBES),
)

"""MeZO: SPSA along normal directions, for fine-tuning large models with the memory of a forward pass.

    g = 1/K sum_k  [L(theta + eps z_k) - L(theta - eps z_k)] / (2 eps)  z_k,        z_k near to normal

E[g] is the gradient of the loss smoothed by the distribution of z. Effective dimension per reward: the number of
parameters, unless the loss depends on few directions only, as is assumed of fine-tuning.

The seed replay of the source, which keeps losses and makes z again from its seed, is what every journal here does: a
record holds two losses a probe, and a stage makes its directions when it needs them, block by block. Differences to the
source: parameters are perturbed out of place, where +eps, -2 eps, +eps in place leaves rounding behind; z is binomial
with 32 throws, clipped at 3.5, so that a journal replays to the same bits on any processor and a write has a bound; the
weight decay of an optimiser ("adamw") does not spare biases.

Source: S. Malladi et al., "Fine-tuning language models with just forward passes", NeurIPS 2023 (arXiv:2305.17333).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import jax
from annotated_types import Ge, Gt, Le

from algorithms.contracts import Array, Facts, Tree
from algorithms.directions import CLIP, lazy_normal
from algorithms.methods.spsa import SPSA


@dataclass(frozen=True)
class MeZO(SPSA):
    """probes: K, 1 in the source. scale: eps, in units of the parameters."""

    facts = Facts("all parameters, or the few directions that matter", "in the mean, to second order of eps", "noise")

    probes: Annotated[int, Ge(1), Le(65536)] = 1
    scale: Annotated[float, Gt(0)] = 1e-3

    def reach(self) -> float:
        return CLIP / math.sqrt(8)

    def perturb(self, context: Tree, probe: Array) -> Tree:
        key, _, params = context
        return lazy_normal(jax.random.fold_in(key, probe), params)

"""Rank-r ES (EGGROLL): an evolution strategy whose directions are matrices of low rank.

    E_k = A_k B_k^T / sqrt(r),    g = 1/(2 K sigma) sum_k  [u_{k+} - u_{k-}] E_k,    losses at W +- sigma E_k

x (W + sigma E) = x W + sigma (x A) B^T / sqrt(r): a stage that can use it answers all probes for little more than one
pass each, without a perturbed matrix; other stages get the same directions written out. Each E_k has rank r, their sum
full rank. Entries are uncorrelated with variance 1, so that g is unbiased to first order, like SPSA; the error against
full-rank directions is O(1/r). Vectors (biases) get directions of +-1. Effective dimension per reward: the number of
parameters.

Difference to the source: A and B are +-1 instead of normal, so that a journal replays to the same bits anywhere.

Source: "Evolution strategies at the hyperscale", arXiv:2511.16652 (2025).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import jax
from annotated_types import Ge, Le

from algorithms.contracts import Array, Tree
from algorithms.directions import lazy_low_rank
from algorithms.methods.es import ES


@dataclass(frozen=True)
class LowRankES(ES):
    """rank: r. probes, scale, shaping: as of `ES`."""

    rank: Annotated[int, Ge(1), Le(16)] = 1

    def reach(self) -> float:
        return math.sqrt(self.rank)

    def perturb(self, context: Tree, probe: Array) -> Tree:
        key, _, params = context
        return lazy_low_rank(jax.random.fold_in(key, probe), params, self.rank)

"""1.5-SPSA: SPSA whose probes weigh less the more the loss bends along them; one more pass a step tells how much.

    g = 1/K sum_k  w_k [L(theta + c d_k) - L(theta - c d_k)] / (2 c)  d_k,        d_k = +-1 in every entry
    w_k = 1 / max(1, |h_k|^0.1),        h_k = [L(theta + c d_k) - 2 L(theta) + L(theta - c d_k)] / c^2

h_k is the curvature d_k.H.d_k, of the order of the trace of the Hessian H. Where it is the same along all d_k, or at
most 1, g is that of `spsa` up to a factor; else g leans towards flat directions and is no longer unbiased. Loss noise
sigma adds sqrt(6) sigma / c^2 to h_k: where that exceeds 1, w_k tells of noise. Effective dimension per reward: the
number of parameters.

The tenth root is from a table, to 0.3 %, so that a journal replays to the same bits on any processor. Without L(theta)
all w_k are 1.

Source: C. Chaubard, "1.5-SPSA" (2026), which ties the step size of the optimiser to c (5e-4 of both for OPT-13B).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from algorithms.contracts import AS_IS, Array, Facts, Key, Passes, Tree, Update, shares
from algorithms.directions import mixture
from algorithms.methods.spsa import SPSA

# 1 / x^0.1 for x from 1 on: the first bits of x are the number of its entry, 16 to a doubling
FIRST, BITS = 0x3F80_0000, 19  # x = 1, and how many bits of x are left away
_MIDDLES = (FIRST + (np.arange(128 * 16, dtype=np.uint32) << BITS) + (1 << (BITS - 1))).astype(np.uint32)
ROOTS = np.append(1.0, _MIDDLES.view(np.float32).astype(np.float64) ** -0.1).astype(np.float32)


@dataclass(frozen=True)
class OnePointFiveSPSA(SPSA):
    """probes: K. scale: c, in units of the parameters."""

    facts = Facts("all parameters", "where the loss bends alike along all directions", "noise above c^2, tied chips")

    def passes(self, size: int = 1) -> Passes:
        pairs = super().passes(size)
        return Passes((0, *pairs.probe), (0.0, *pairs.scale), (AS_IS, *pairs.label), perturbs="params")

    def update(self, key: Key, step: Array, state: Tree, params: Tree, evidence: Array) -> Update:
        middle, plus, minus = evidence[0], evidence[1::2], evidence[2::2]
        h = ((plus - middle) + (minus - middle)) / np.float32(self.scale**2)
        w = jnp.where(jnp.isfinite(middle), weight(h), 1.0)
        slope = w * ((plus - minus) / (2 * self.scale))
        g = mixture(lambda probe: self.perturb((key, state, params), probe), shares(slope))
        return Update(g, state, True, {"slope_rms": jnp.sqrt(jnp.nanmean(slope**2)), "weight": jnp.nanmean(w)})


def weight(h: Array) -> Array:
    """1 / max(1, |h|^0.1), to 0.3 %."""
    bits = jax.lax.bitcast_convert_type(jnp.abs(h), jnp.uint32)
    return jnp.asarray(ROOTS)[jnp.where(bits < FIRST, 0, ((bits - FIRST) >> BITS) + 1)]

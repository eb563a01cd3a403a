"""Direct feedback alignment: the error at the output goes to every stage at once, through a fixed random matrix.

    delta_l = (e B_l) * f'(v_l),      grad_l = x_l^T delta_l,      B_l = B[:, :width] / sqrt(width)

One B for all stages, each takes a slice; the last stage gets the error itself. f' and the local gradient are those of
the stage's own twin at what was measured; no stage waits for another.

Sources: A. Nokland, NeurIPS 2016 (arXiv 1609.01596); the shared, sliced B: J. Launay et al., NeurIPS 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from algorithms.contracts import Algorithm, Array, Facts, Trace, Tree, View, all_rows
from algorithms.directions import signs

WIDEST = 4096  # columns of the shared B: a stage wider than this takes them again


@dataclass(frozen=True)
class DFA(Algorithm):
    """No hyper-parameters of its own."""

    route = "broadcast"
    signal = "error"
    evidence = "gradients"
    spread = "data"
    facts = Facts(
        "none: the error is sent",
        "the last stage",
        "deep and convolutional networks, where the way forward does not align with the way back; a wrong local twin",
    )

    def needs(self, physical: bool) -> frozenset[str]:
        return frozenset({"twin"})

    def learn(self, view: View, trace: Trace, signal: Array | None) -> tuple[Tree, Array | None]:
        e = jnp.asarray(signal)
        if view.stage < view.stages - 1:
            e = projected(view, e, trace.h.shape[-1])
        gradient, _ = all_rows(view.vjp, trace.x, trace.v, e)
        return jax.tree.map(lambda g: g.sum(0), gradient), None


def projected(view: View, e: Array, width: int) -> Array:
    """e B_l, [rows, batch, width]."""
    B = signs(view.key, (e.shape[-1], WIDEST))
    return e @ B[:, jnp.arange(width) % WIDEST] / jnp.sqrt(width)

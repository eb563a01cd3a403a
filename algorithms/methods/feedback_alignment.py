"""Feedback alignment: the error goes down stage by stage, through fixed random matrices instead of transposed weights.

    delta_l = e_l * f'(a_l),      grad_l = x_l^T delta_l,      e_{l-1} = delta_l B_l,      B_l = +-1 / sqrt(n_in)

f' is that of the activation of the stage, grad_l that of its own twin at what was measured (exact if it is digital): no
stage above it is modelled. The entries of B_l are about as large as first weights. Learning turns the weights towards
B_l, which makes the direction useful; the deeper and narrower a network, the less. Of a stage that is cut by outputs
each tile hands down its share of delta_l B_l; tiles by inputs have one block of B_l in common.

Source: T. P. Lillicrap, D. Cownden, D. B. Tweed, C. J. Akerman, Nature Communications 7:13276 (2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from algorithms.contracts import Algorithm, Array, Facts, Trace, Tree, View, all_rows
from algorithms.directions import signs


@dataclass(frozen=True)
class FeedbackAlignment(Algorithm):
    """No hyper-parameters of its own."""

    route = "chain"
    signal = "error"
    evidence = "gradients"
    spread = "data"
    pull = ("random",)
    facts = Facts(
        "none: the error is pulled back",
        "the last stage",
        "deep and convolutional networks, where the way forward does not align with the way back; a wrong local twin",
    )

    def needs(self, physical: bool) -> frozenset[str]:
        return frozenset({"twin"}) if physical else frozenset()

    def learn(self, view: View, trace: Trace, signal: Array | None) -> tuple[Tree, Array | None]:
        n_in, n_out = trace.x.shape[-1], trace.h.shape[-1]
        B = signs(jax.random.fold_in(view.key, view.stage), (n_out, n_in)) / jnp.sqrt(n_in)

        def row(x: Array, v: Array, e: Array) -> tuple[Tree, Array]:
            delta = e * view.bare(v).slope
            digital, cot_v = view.decode_vjp(v, e)
            device, _ = view.device_vjp(x, cot_v)
            share = cot_v.shape[-1] / v.shape[-1]  # less than 1 in a tile that has some of the outputs
            return {"device": device, "digital": digital}, share * delta @ B

        gradient, cot_x = all_rows(row, trace.x, trace.v, signal)
        return jax.tree.map(lambda g: g.sum(0), gradient), cot_x

"""Augmented direct feedback alignment: as DFA, with any function of the activity in place of the derivative.

    delta_l = (e B_l) * g(a_l),      grad_l = x_l^T delta_l,      B_l = B[:, :width] / sqrt(width)

a_l is what stage l measured, as it enters its activation f. What must be known of the stage is its last linear part,
from which grad_l follows, and that by any crude twin; f' is not asked for. How well it learns depends on how g
correlates with f'. Functions offered: "cosine", cos a; "triangle", the wave through the same extremes; "one", 1. The
last stage gets the error itself, through its own f', as in DFA.

Source: M. Nakajima et al., Nature Communications 13:7847 (2022), arXiv:2204.13991. Which functions are offered here is
a choice of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from algorithms.contracts import Array, Facts, Trace, Tree, View, all_rows
from algorithms.methods.dfa import DFA, projected


def triangle(a: Array) -> Array:
    """Straight from 1 at 0 to -1 at +-pi, with period 2 pi."""
    return 1.0 - 2.0 / jnp.pi * jnp.abs(jnp.mod(a + jnp.pi, 2 * jnp.pi) - jnp.pi)


FUNCTIONS: dict[str, Callable[[Array], Array]] = {"cosine": jnp.cos, "triangle": triangle, "one": jnp.ones_like}


@dataclass(frozen=True)
class AugmentedDFA(DFA):
    """g: what stands in place of f'."""

    facts = Facts(
        "none: the error is sent",
        "the last stage",
        "where g has little in common with f'; deep networks, where the way forward does not align with the way back",
    )

    g: Literal["cosine", "triangle", "one"] = "cosine"

    def needs(self, physical: bool) -> frozenset[str]:
        return frozenset({"twin"}) if physical else frozenset()

    def learn(self, view: View, trace: Trace, signal: Array | None) -> tuple[Tree, Array | None]:
        if view.stage == view.stages - 1:
            return super().learn(view, trace, signal)
        g, e = FUNCTIONS[self.g], projected(view, jnp.asarray(signal), trace.h.shape[-1])

        def row(x: Array, v: Array, e: Array) -> Tree:
            stage = view.bare(v)
            digital, cot_v = stage.pull(e * g(stage.a))
            device, _ = view.device_vjp(x, cot_v)
            return {"device": device, "digital": digital}

        gradient = all_rows(row, trace.x, trace.v, e)
        return jax.tree.map(lambda g: g.sum(0), gradient), None

"""Backpropagation through twins: one class, three methods that differ in where the forward pass runs.

    delta_l = (df_m/dx (x_{l+1}, theta_{l+1}))^T delta_{l+1},     grad_l = (df_m/dtheta (x_l, theta_l))^T delta_l

`x_l` is what went into stage l in the forward pass, `f_m` the twin.

- physics-aware training: x_l is MEASURED on the chip (one pass); only the way back is the twin's.
- in silico: x_l is the noiseless twin's own; no device is touched. What is learnt fits the twin, not the chip.
- in silico with noise injected: x_l is the twin's with programming and read noise and converters.

Exact where the twin is exact; its direction decays with the twin's error and with depth. No variance from probes.

Sources: L. G. Wright et al., Nature 601:549 (2022); noise injection: V. Joshi et al., Nat. Commun. 11:2473 (2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax

from algorithms.contracts import Algorithm, Array, Facts, Passes, Trace, Tree, View, all_rows


@dataclass(frozen=True)
class PhysicsAware(Algorithm):
    """Forward on the device, back through the twin."""

    route = "chain"
    signal = "error"
    evidence = "gradients"
    spread = "data"
    pull = ("twin",)
    facts = Facts(
        "none: the error is pulled back",
        "where the twin is",
        "where the twin is wrong, the more the deeper the network; costs a pass of the twin, and its memory",
    )

    def needs(self, physical: bool) -> frozenset[str]:
        return frozenset({"twin"})

    def learn(self, view: View, trace: Trace, signal: Array | None) -> tuple[Tree, Array | None]:
        gradient, cot_x = all_rows(view.vjp, trace.x, trace.v, signal)
        return jax.tree.map(lambda g: g.sum(0), gradient), cot_x


@dataclass(frozen=True)
class InSilico(PhysicsAware):
    """Forward and back in the twin, without noise."""

    facts = Facts(
        "none: the error is pulled back", "for the twin, never for the chip", "mismatch, noise, stuck cells, drift"
    )

    def passes(self, size: int = 1) -> Passes:
        return Passes(on="twin")


@dataclass(frozen=True)
class InSilicoNoise(PhysicsAware):
    """Forward in the twin with its cycle noise, back through it without."""

    facts = Facts("none: the error is pulled back", "in the mean, for the twin", "mismatch, stuck cells, drift")

    def passes(self, size: int = 1) -> Passes:
        return Passes(on="twin", noisy=True)

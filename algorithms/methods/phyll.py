"""PhyLL, physical local learning: each stage tells right labels from wrong ones by itself; no error travels.

    L_l = log(1 + exp(-theta (cos(|h+_l|, p_l) - cos(|h-_l|, p_l))))

h+ and h-: the stage's output with the right and with a wrong label laid over the input; p_l: a fixed random vector.
A class is predicted by laying every label in turn (C passes) and taking the largest sum over stages of cos(|h_l|, p_l).
Of a digital stage behind a physical one it needs no model at all; a physical stage may be trained with its own twin.

Source: A. Momeni, B. Rahmani, M. Mallejac, P. del Hougne, R. Fleury, Science 382:1297 (2023); loss and theta as in the
authors' repository (MIT). One update a batch here, where the authors make 10 to 25.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Gt

from algorithms.contracts import RIGHT, WRONG, Algorithm, Array, Facts, Passes, Trace, Tree, View


@dataclass(frozen=True)
class PhyLL(Algorithm):
    """theta: sharpness of the loss (4 for acoustics and networks, 5 for optics in the source)."""

    route = "local"
    signal = "none"
    evidence = "gradients"
    spread = "data"
    facts = Facts(
        "none: a loss of its own",
        "for its own loss",
        "where telling labels apart in a stage does not serve the stages above; C passes to predict",
    )

    theta: Annotated[float, Gt(0)] = 4.0

    def needs(self, physical: bool) -> frozenset[str]:
        return frozenset({"twin"}) if physical else frozenset()

    def passes(self, size: int = 1) -> Passes:
        return Passes((0, 0), (0.0, 0.0), (RIGHT, WRONG))

    def learn(self, view: View, trace: Trace, signal: Array | None) -> tuple[Tree, Array | None]:
        def loss(h: Array) -> Array:
            right, wrong = self._cos(view, h)
            return jnp.sum(jax.nn.softplus(-self.theta * (right - wrong)))

        gradient, _ = jax.vmap(view.vjp)(trace.x, trace.v, jax.grad(loss)(trace.h))
        return jax.tree.map(lambda g: g.sum(0), gradient), None

    def predict(self, n_classes: int) -> Passes:
        return Passes((0,) * n_classes, (0.0,) * n_classes, tuple(range(n_classes)))

    def score(self, view: View, trace: Trace) -> Array | None:
        return self.theta * self._cos(view, trace.h)

    def _cos(self, view: View, h: Array) -> Array:
        """cos(|h|, p) for h [..., width]."""
        p = jax.random.uniform(jax.random.fold_in(view.key, view.stage), h.shape[-1:])
        a = jnp.abs(h)
        return a @ p / (jnp.linalg.norm(p) * jnp.sqrt(jnp.sum(a**2, -1) + 1e-12))

"""Digital stages one after the other up to the losses, in one compiled call, a few probes at a time.

What a few probes leave between two stages stays in a cache, and what all probes share is worked out once. Taken where
no boundary of workers can lie between the stages (`Plan.chain`), so that it is taken by any number of workers or by
none: a compiler that fuses over stages rounds in other places.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax

from algorithms.directions import dense
from orchestrator.core import kernels, task
from physics.directions import SMALL

Array = Any
Tree = Any
CACHE = 1 << 21  # bytes that a few probes may leave between two stages


class Link(NamedTuple):
    """A stage: how its inputs are encoded, and whether its parameters are perturbed."""

    model: Any
    encode: str
    perturbed: bool


@partial(jax.jit, static_argnums=(0, 1, 2))
def losses(
    links: tuple[Link, ...],
    direction: Any,
    sides: int,
    digital: list[Tree],
    contexts: list[Tree],
    probe: Array,
    scale: Array,
    h: Array,
    y: Array,
) -> Array:
    """Losses [rows, batch] of inputs [1 or rows, batch, n]; rows next to each other, `sides` of them, share a probe.

    digital, contexts: parameters of each stage, and what its directions follow from, () if it is not perturbed.
    """
    probes, batch = len(probe) // sides, h.shape[1]
    k = together(probes, 4 * sides * batch * max(link.model.n_out for link in links))
    moves = [kernels.directions(direction, c, probe[::sides]) if c else None for c in contexts]
    alone = h.shape[0] > 1
    x = kernels.encoded(links[0].encode, h)
    shared = by_probe = None
    if not alone:
        shared, by_probe = links[0].model.share(digital[0], moves[0], x) if links[0].perturbed else (None, None)

    def some(part: tuple) -> Array:
        moves, by_probe, scale, mine = part
        h = mine if alone else x
        for i, (link, params) in enumerate(zip(links, digital, strict=True)):
            h = h if i == 0 else kernels.encoded(link.encode, h)
            if not link.perturbed:
                h = jax.vmap(jax.vmap(partial(link.model.decode, params)))(h)
            elif i == 0 and not alone:
                h = link.model.decode_rows(params, moves[i], scale, h, (shared, by_probe))
            else:
                few = link.model.n_in * link.model.n_out <= SMALL
                h = link.model.decode_rows(params, jax.vmap(dense)(moves[i]) if few else moves[i], scale, h)
        return task.cross_entropy(h, y)

    def cut(leaf: Array) -> Array:
        """In bundles of k probes."""
        return leaf.reshape(probes // k, -1, *leaf.shape[1:])

    parts = jax.tree.map(cut, (moves, by_probe, scale, x if alone else None))
    return jax.lax.map(some, parts).reshape(len(probe), batch)


def together(probes: int, each: int) -> int:
    """How many probes go together: as many as fit into the cache, but equal bundles."""
    return max(k for k in range(1, probes + 1) if probes % k == 0 and (k == 1 or k * each <= CACHE))

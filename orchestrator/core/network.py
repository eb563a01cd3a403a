"""A whole network of one small chip, in all rows of an item, as one pure function; a bank of chips is a map over it.

The same pieces as `Passage` has, but with nothing between the stages that leaves the compiled call. A compiler that
fuses over stages rounds in other places, so it is the run file that decides who goes this way (`Plan.banked`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from algorithms import contracts
from orchestrator.core import kernels, task
from orchestrator.core.plan import Group, StagePlan
from physics.contracts import At, Noise
from physics.directions import along

Array = Any
Tree = Any


class Course(NamedTuple):
    """What the compiler must know of an item: its way through the stages, the same for all chips of a bank.

    rows: how many each stage runs (0: it is not run); moved: whether they are perturbed there, `sides` next to each
    other along one probe. on, noisy: as of the passes. trains: else it is an evaluation.
    """

    stages: tuple[StagePlan, ...]
    group: Group
    noise: Noise
    on: str
    noisy: bool
    rows: tuple[int, ...]
    moved: tuple[bool, ...]
    sides: int
    trains: bool
    n_classes: int


class Stage(NamedTuple):
    """One stage of one chip: parameters, what directions follow from, the chip itself, its keys, its clock.

    versions: int32 [rows, 3], or [1, 3] if all rows measure one write; now, since: float32 [rows], s.
    """

    params: Tree
    context: Tree
    chip: Tree
    noise_key: Array
    twin_key: Array
    versions: Array
    now: Array
    since: Array


class Item(NamedTuple):
    """The rows of one chip: probe, scale, request (int32 [rows, 4]) of each; inputs [1 or rows, batch, n]; labels.

    first: number of the first sample. row, words: numbers of the rows, and what else names the noise of the twin.
    """

    probe: Array
    scale: Array
    requests: Array
    row: Array
    words: Array
    first: Array
    x: Array
    y: Array


class Outcome(NamedTuple):
    """What comes of one chip; extents: the smallest and the largest value that each port of each stage was given."""

    losses: Array | None  # [rows, batch]
    gradients: dict[int, Tree]  # by stage, summed over the batch
    outputs: Array | None  # [batch, classes], of an evaluation
    extents: dict[int, dict[str, Array]]


class Trace(NamedTuple):
    """What came into a stage, the same encoded, measured, decoded."""

    h_in: Array
    x: Array
    v: Array
    h: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Each:
    """Arrays that differ from chip to chip: they have a leading axis for the chips. All others are shared."""

    of: Tree


@partial(jax.jit, static_argnums=(0, 1))
def many(course: Course, turns: int, key: Array, stages: list[Stage], item: Item) -> Outcome:
    """`one` for every chip, in `turns` of equally many; key: what methods get for what never changes in a run."""
    nodes, shape = jax.tree.flatten((stages, item), is_leaf=lambda node: isinstance(node, Each))
    tree: Any = shape  # its type lacks `unflatten`
    mine = {i: node.of for i, node in enumerate(nodes) if isinstance(node, Each)}

    def chip(mine: dict[int, Tree]) -> Outcome:
        return one(course, key, *tree.unflatten([mine.get(i, node) for i, node in enumerate(nodes)]))

    cut = jax.tree.map(lambda leaf: leaf.reshape(turns, -1, *leaf.shape[1:]), mine)
    found = jax.lax.map(jax.vmap(chip), cut)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)


def one(course: Course, key: Array, stages: list[Stage], item: Item) -> Outcome:
    """One chip: all rows of `item` through `stages`, and what they lose, learn or answer; see `Outcome`."""
    algorithm, h, scores = course.group.algorithm, item.x, None
    traces: list[Trace] = []
    gradients: dict[int, Tree] = {}
    extents: dict[int, dict[str, Array]] = {}
    for spec, stage in zip(course.stages, stages, strict=True):
        if course.rows[spec.index] == 0:
            break  # above a group that learns by itself
        x = kernels.encoded(spec.encode, h)
        params = _moved(course, stage, item) if course.moved[spec.index] else None
        v, extents[spec.index] = _measured(course, spec, stage, item, params, x)
        traces.append(Trace(h, x, v, _decoded(spec, stage, params, v)))
        h = traces[-1].h
        if not (spec.trained and course.group.first <= spec.index <= course.group.last):
            continue
        seen = contracts.Trace(kernels.rows(x, v), v, h)
        names = algorithm, spec, 0, len(stages), course.n_classes, stage.params, key
        if not course.trains:
            score = kernels.score(*names, seen)
            scores = score if scores is None or score is None else scores + score
        elif algorithm.signal == "none":
            gradients[spec.index], _ = kernels.learn(*names, seen._replace(y=item.y), None)
    if not course.trains:
        return Outcome(None, {}, h[0] if scores is None else scores.T, extents)
    if algorithm.evidence == "losses":
        return Outcome(task.cross_entropy(h, item.y), {}, None, extents)
    if algorithm.replies:
        gradients = _reply(course, key, stages, traces, task.error(h, item.y), item.y)
    return Outcome(None, gradients, None, extents)


def _moved(course: Course, stage: Stage, item: Item) -> Tree:
    """The parameters of each row, [rows, ...]; rows that share a probe share its direction."""

    def probe(p: Array, scales: Array) -> Tree:
        direction = course.group.algorithm.perturb(stage.context, p)
        return jax.vmap(lambda s: along(stage.params, s, direction))(scales)

    found = jax.vmap(probe)(item.probe[:: course.sides], item.scale.reshape(-1, course.sides))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)


def _measured(
    course: Course, spec: StagePlan, stage: Stage, item: Item, params: Tree | None, x: Array
) -> tuple[Array, dict[str, Array]]:
    """(v [1 or rows, batch, n_out], extents) for x [1 or rows, batch, n_in]; params: of each row, if perturbed."""
    model, n, noise = spec.whole, course.rows[spec.index], course.noise
    if spec.exact:
        return x, {}
    if course.on == "twin":
        delta = None if params is None else (stage.context, item.probe, item.scale)
        row_keys = kernels.twin_keys(stage.twin_key, item.words, item.row[:n])
        direction = course.group.algorithm.perturb
        return kernels.respond_twin(model, direction, delta, course.noisy, stage.params["device"], x, row_keys), {}
    device = stage.params["device"] if params is None else params["device"]
    index = item.first + jnp.arange(x.shape[1])

    def write(device: Tree, version: Array) -> Tree:
        return model.program(stage.chip, device, noise.program(stage.noise_key, version))

    def read(x: Array, cells: Tree, request: Array, at: At) -> Array:
        def sample(x: Array, i: Array) -> Array:
            return model.respond(stage.chip, cells, x, noise.read(stage.noise_key, request, i), at)

        return jax.vmap(sample)(x, index)

    each = params is not None and bool(device)
    cells = jax.vmap(write)(device, stage.versions) if each else write(device, stage.versions[0])
    axes = 0 if x.shape[0] > 1 else None, 0 if each else None, 0, 0
    when = At(stage.now, stage.since)
    v = jax.vmap(read, axes)(x if x.shape[0] > 1 else x[0], cells, item.requests[:n], when)
    values = {**device, "input": x}
    return v, {port: jnp.stack([jnp.min(value), jnp.max(value)]) for port, value in values.items()}


def _decoded(spec: StagePlan, stage: Stage, params: Tree | None, v: Array) -> Array:
    """h of each row; with its own digital parameters, if there are any."""
    decode = spec.whole.decode
    if params is None or not params["digital"]:
        return jax.vmap(jax.vmap(partial(decode, stage.params["digital"])))(v)
    rows = jax.tree.leaves(params)[0].shape[0]
    v = v if v.shape[0] == rows else jnp.broadcast_to(v, (rows, *v.shape[1:]))
    return jax.vmap(lambda digital, v: jax.vmap(partial(decode, digital))(v))(params["digital"], v)


def _reply(
    course: Course, key: Array, stages: list[Stage], traces: list[Trace], error: Array, y: Array
) -> dict[int, Tree]:
    """What the stages learn from the error of the readout, as it is or pulled down through the stages above."""
    group, signal, gradients = course.group, error, {}
    chain = group.algorithm.route == "chain"
    for spec, stage, trace in reversed(list(zip(course.stages, stages, traces, strict=True))):
        learns = spec.index <= group.last and spec.trained
        if spec.index < group.lowest or not (chain or learns):
            continue
        x = kernels.rows(trace.x, trace.v)
        if learns:
            seen = contracts.Trace(x, trace.v, trace.h, y)
            names = group.algorithm, spec, 0, len(stages), course.n_classes, stage.params, key
            gradients[spec.index], cot_x = kernels.learn(*names, seen, signal)
        else:
            cot_x = kernels.pull(spec, 0, stage.params, x, trace.v, signal)
        if chain:
            signal = kernels.hand_down(spec, 0, trace.h_in, cot_x)
    return gradients

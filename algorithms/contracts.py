"""The contract of a training method: `learn` runs where the physics is, `update` is pure and is all that replay calls.

A method says what it measures (`passes`), how its signal travels (`route`, `signal`) and what its update consumes
(`evidence`). The coordinator and the workers branch on these three words, never on a method's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

Array = Any
Key = Any
Tree = Any

# How the label lies over the input of a pass; 0, 1, 2 ... lays that class. MIXED: the mean of this sample and another.
AS_IS, RIGHT, WRONG, MIXED = -1, -2, -3, -4


@dataclass(frozen=True)
class Passes:
    """P passes of every sample, alike in each step; what row p perturbs:

    "params": it writes `params + scale[p] * direction(probe[p])`; + and - of one probe stand next to each other and run
    on the same chip. "activity": it adds `scale[p] * jitter(probe[p])` to what each stage decodes, and writes nothing.
    A row with scale 0 is not perturbed. on="twin": no device is touched; `noisy` then says whether the twin draws cycle
    noise.

    tangents: only row 0 is measured; in the others, activities are not perturbed but followed: twins, linearised at
    what row 0 measured, carry `scale[p] * jitter(probe[p])` up, and their loss is the derivative of the loss that way.
    """

    probe: tuple[int, ...] = (0,)
    scale: tuple[float, ...] = (0.0,)
    label: tuple[int, ...] = (AS_IS,)
    perturbs: Literal["nothing", "params", "activity"] = "nothing"
    on: Literal["device", "twin"] = "device"
    noisy: bool = False
    tangents: bool = False

    def __len__(self) -> int:
        return len(self.probe)


class Trace(NamedTuple):
    """What one stage did in the rows of a group: x [rows, batch, n_in] in, v measured, h decoded (and jittered).

    y: labels, int32 [batch]. jitter: what was added to h, [rows, batch, n_out], or None.
    """

    x: Array
    v: Array
    h: Array
    y: Array | None = None
    jitter: Array | None = None


class Place(NamedTuple):
    """Where a tile stands in its group: how many trained parameters come before its own, and how many there are."""

    first: Array | int
    size: Array | int


class Bare(NamedTuple):
    """A stage without its activation f, h = f(a): a and slope f'(a), both [batch, n_out].

    pull(cot_a) -> (gradient of the digital parameters, cot_v).
    """

    a: Array
    slope: Array
    pull: Callable[[Array], tuple[Tree, Array]]


class View(NamedTuple):
    """What a method may know of its stage.

    vjp(x, v, cot_h) -> (gradient, cot_x): the exact decoding at the measured v, then the stage's twin at the measured
    x; for one row, [batch, ...], summed over the batch. Its two halves: decode_vjp(v, cot_h) -> (gradient of the
    digital parameters, cot_v) needs no twin, device_vjp(x, cot_v) -> (gradient of the device parameters, cot_x) does.
    bare(v) is the decoding before the activation. `key` belongs to the run and never changes.
    """

    params: Tree
    key: Key
    stage: int
    stages: int
    decode_vjp: Callable[[Array, Array], tuple[Tree, Array]]
    device_vjp: Callable[[Array, Array], tuple[Tree, Array]]
    bare: Callable[[Array], Bare]
    n_classes: int

    def vjp(self, x: Array, v: Array, cot_h: Array) -> tuple[Tree, Array]:
        digital, cot_v = self.decode_vjp(v, cot_h)
        device, cot_x = self.device_vjp(x, cot_v)
        return {"device": device, "digital": digital}, cot_x


class Facts(NamedTuple):
    """What to know before choosing a method. dimension: how many unknowns one reward must explain."""

    dimension: str
    exact: str
    fails: str


class Update(NamedTuple):
    """A gradient for the optimiser (its leaves may be lazy), the state to carry, whether to move, what to log."""

    gradient: Tree
    state: Tree
    move: Any
    info: dict[str, Any]


@dataclass(frozen=True)
class Algorithm:
    """Base of all methods; fields of a subclass are its hyper-parameters, bounded by `Annotated`.

    signal "losses": one mean loss a row is the evidence, `update` needs nothing else and there is no `learn`; with
    evidence "gradients" the loss of every sample goes to every stage (broadcast).
    signal "error": dloss/doutput of the readout, sent to every stage (broadcast) or pulled down from it (chain).
    signal "none": a stage learns from its own trace at once (local).
    """

    route: ClassVar[Literal["local", "broadcast", "chain"]]
    signal: ClassVar[Literal["losses", "error", "none"]]
    evidence: ClassVar[Literal["losses", "gradients"]]
    spread: ClassVar[Literal["probes", "data"]]
    pull: ClassVar[tuple[str, ...]] = ()
    facts: ClassVar[Facts | None] = None
    answers: ClassVar[bool] = True  # whether a network whose last stages it trains can predict
    # "itself": `update` gives minus the change, so that the optimiser is a plain step of rate 1
    steps: ClassVar[Literal["gradient", "itself"]] = "gradient"

    @property
    def replies(self) -> bool:
        """Whether stages learn from what the readout sends back."""
        return self.evidence == "gradients" and self.signal != "none"

    def needs(self, physical: bool) -> frozenset[str]:
        """Capabilities a trained stage must offer; `physical`: it has device parameters."""
        return frozenset()

    def passes(self, size: int = 1) -> Passes:
        """The passes of a step; size: how many trained parameters its group has."""
        return Passes()

    def hold(self) -> int:
        """For how many steps a batch stays."""
        return 1

    def reach(self) -> float:
        """The largest entry that a direction can have: how far a probe of scale 1 may move a parameter."""
        return 1.0

    def init(self, key: Key, params: Tree, place: Place) -> Tree:
        """First state of the method for one tile."""
        return ()

    def perturb(self, context: Tree, probe: Array) -> Tree:
        """A direction like the parameters; `context` is `(key of the step, state, params)`.

        Its leaves are arrays, or make themselves when needed (`algorithms.directions.Lazy`).
        """
        raise NotImplementedError(f"{type(self).__name__} perturbs nothing")

    def jitter(self, key: Key, shape: tuple[int, ...]) -> Array:
        """What is added to the outputs of a stage, times the scale of the row: [batch, n_out], mean 0, variance 1."""
        raise NotImplementedError(f"{type(self).__name__} perturbs no activity")

    def learn(self, view: View, trace: Trace, signal: Array | None) -> tuple[Tree, Array | None]:
        """(gradient summed over the batch, cotangent of the input or None), all rows at once.

        `signal`: the error at the output of the network (broadcast) or of this stage (chain), [rows, batch, ...]; or
        the losses [rows, batch].
        """
        raise NotImplementedError(f"{type(self).__name__} learns from losses only")

    def update(self, key: Key, step: Array, state: Tree, params: Tree, evidence: Tree) -> Update:
        """Evidence (losses [P], or the mean gradient) -> a gradient. Pure: replay calls it with what was recorded.

        A loss that was not measured is NaN: the others count (`shares`); without any nothing moves.
        """
        return Update(evidence, state, True, {})

    def predict(self, n_classes: int) -> Passes:
        """The passes of one prediction."""
        return Passes()

    def score(self, view: View, trace: Trace) -> Array | None:
        """Class scores [classes, batch] of one trained stage, summed over the stages; None: the readout decides."""
        return None


@dataclass(frozen=True)
class Perturbation:
    """`algorithm.perturb` as a value: equal for equal methods, so that compiled code is found again."""

    algorithm: Algorithm

    def __call__(self, context: Tree, probe: Array) -> Tree:
        return self.algorithm.perturb(context, probe)


def shares(values: Array) -> Array:
    """Each value over the number of those that are finite, which alone count: 0 for the others; NaN if none is."""
    finite = jnp.isfinite(values)
    return jnp.where(finite, values, 0.0) / jnp.where(jnp.any(finite), jnp.sum(finite), jnp.nan)


def all_rows(function: Callable[..., Any], *arguments: Array) -> Any:
    """`function` on each row, [rows, ...] -> stacked."""
    return jax.vmap(function)(*arguments)

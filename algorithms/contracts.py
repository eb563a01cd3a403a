"""The contract of a training method: `learn` runs where the physics is, `update` is pure and is all that replay calls.

A method says what it measures (`passes`), how its signal travels (`route`, `signal`) and what its update consumes
(`evidence`). The coordinator and the workers branch on these three words, never on a method's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax

Array = Any
Key = Any
Tree = Any

# How the label lies over the input of a pass; 0, 1, 2 ... lays that class.
AS_IS, RIGHT, WRONG = -1, -2, -3


@dataclass(frozen=True)
class Passes:
    """P passes of every sample, alike in each step: row p writes `params + scale[p] * direction(probe[p])`.

    + and - of one probe stand next to each other and run on the same chip. on="twin": no device is touched;
    `noisy` then says whether the twin draws cycle noise.
    """

    probe: tuple[int, ...] = (0,)
    scale: tuple[float, ...] = (0.0,)
    label: tuple[int, ...] = (AS_IS,)
    perturbs: Literal["nothing", "params"] = "nothing"
    on: Literal["device", "twin"] = "device"
    noisy: bool = False

    def __len__(self) -> int:
        return len(self.probe)


class Trace(NamedTuple):
    """What one stage did in the rows of a group: x [rows, batch, n_in] in, v measured, h decoded."""

    x: Array
    v: Array
    h: Array


class View(NamedTuple):
    """What a method may know of its stage.

    vjp(x, v, cot_h) -> (gradient, cot_x): the exact decoding at the measured v, then the stage's twin at the measured
    x; for one row, [batch, ...], summed over the batch. `key` belongs to the run and never changes.
    """

    params: Tree
    key: Key
    stage: int
    stages: int
    vjp: Callable[[Array, Array, Array], tuple[Tree, Array]]


class Update(NamedTuple):
    """A gradient for the optimiser (its leaves may be lazy), the state to carry, whether to move, what to log."""

    gradient: Tree
    state: Tree
    move: Any
    info: dict[str, Any]


@dataclass(frozen=True)
class Algorithm:
    """Base of all methods; fields of a subclass are its hyper-parameters, bounded by `Annotated`.

    signal "losses": one mean loss a row is the evidence, `update` needs nothing else and there is no `learn`.
    signal "error": dloss/doutput of the readout, sent to every stage (broadcast) or pulled down from it (chain).
    signal "none": a stage learns from its own trace at once (local).
    """

    route: ClassVar[Literal["local", "broadcast", "chain"]]
    signal: ClassVar[Literal["losses", "error", "none"]]
    evidence: ClassVar[Literal["losses", "gradients"]]
    spread: ClassVar[Literal["probes", "data"]]
    pull: ClassVar[tuple[str, ...]] = ()

    def needs(self, physical: bool) -> frozenset[str]:
        """Capabilities a trained stage must offer; `physical`: it has device parameters."""
        return frozenset()

    def passes(self) -> Passes:
        return Passes()

    def reach(self) -> float:
        """The largest entry that a direction can have: how far a probe of scale 1 may move a parameter."""
        return 1.0

    def init(self, key: Key, params: Tree) -> Tree:
        """First state of the method for one tile."""
        return ()

    def perturb(self, context: Tree, probe: Array) -> Tree:
        """A direction like the parameters; `context` is `(key of the step, state, params)`.

        Its leaves are arrays, or make themselves when needed (`algorithms.directions.Lazy`).
        """
        raise NotImplementedError(f"{type(self).__name__} perturbs nothing")

    def learn(self, view: View, trace: Trace, signal: Array | None) -> tuple[Tree, Array | None]:
        """(gradient summed over the batch, cotangent of the input or None), all rows at once.

        `signal`: the error at the output of the network (broadcast) or of this stage (chain), [rows, batch, ...].
        """
        raise NotImplementedError(f"{type(self).__name__} learns from losses only")

    def update(self, key: Key, step: Array, state: Tree, params: Tree, evidence: Tree) -> Update:
        """Evidence (losses [P], or the mean gradient) -> a gradient. Pure: replay calls it with what was recorded."""
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


def all_rows(function: Callable[..., Any], *arguments: Array) -> Any:
    """`function` on each row, [rows, ...] -> stacked."""
    return jax.vmap(function)(*arguments)

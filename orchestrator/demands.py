"""What methods ask of a whole run: a batch that stays, one chip for what is compared, twins for tangents, a state.

Findings are problems with their places, as in `checks`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import numpy as np

from algorithms import registry as methods
from algorithms.contracts import Algorithm, Passes, Place
from orchestrator.core.plan import Group, Plan, StagePlan
from orchestrator.core.shapes import shapes
from orchestrator.problems import Problem, Where
from orchestrator.spec import Fleet, Method, Run
from physics.contracts import TWIN, Model


def state_problems(run: Run, plan: Plan, where: Where, common: Where) -> list[Problem]:
    """Tiles for which a method refuses to make its state, as one that is too large."""
    found = []
    for stage in plan.stages:
        own, group = run.network[stage.index].method, plan.groups[stage.group]
        for tile in stage.tiles if stage.trained else ():
            try:
                _state(group.algorithm, tile)
            except ValueError as error:
                at = (*where, stage.index, "method") if own else common
                name, allowed = (own or run.method).name, "a smaller stage, or other options of the method"
                found.append(Problem(at, name, f"cannot train network[{stage.index}]: {error}", allowed=allowed))
    return list(dict.fromkeys(found))


def _state(algorithm: Algorithm, tile: Model) -> Any:
    """Of a method for one tile, as shapes."""
    hashable: Any = tile
    return _shapes(algorithm, hashable)


@lru_cache(maxsize=256)
def _shapes(algorithm: Algorithm, tile: Any) -> Any:
    return jax.eval_shape(lambda s: algorithm.init(jax.random.key(s), shapes(tile), Place(0, 1)), np.uint32(0))


def activity_problems(run: Run, plan: Plan, group: Group, name: str, where: Where) -> list[Problem]:
    """Stages that cannot take activities that a group perturbs, or cannot carry its tangents."""
    found: list[Problem] = []
    if group.passes.perturbs == "activity" and not group.passes.tangents:
        above = [stage for stage in plan.stages[1:] if _leaves_range(plan, group, stage)]
        found += [_range_problem(run, stage, name, where) for stage in above]
    if group.passes.tangents:
        for stage in plan.stages[group.first :]:
            at, spec = (*where, stage.index), run.network[stage.index]
            if TWIN not in stage.whole.capabilities:
                wrong = f"has no twin that could carry the tangents of {name}"
                found.append(Problem((*at, "substrate"), spec.substrate, wrong, allowed="a substrate with a twin"))
            if spec.tiles > 1:
                wrong = f"cannot be cut: {name} carries tangents through whole stages"
                found.append(Problem((*at, "tiles"), spec.tiles, wrong, allowed="1"))
    return found


def _leaves_range(plan: Plan, group: Group, stage: StagePlan) -> bool:
    """Whether activities that a group perturbs go as they are into a stage that takes a range only."""
    below, port = plan.stages[stage.index - 1], stage.whole.ports.inputs
    perturbed = below.trained and group.first <= below.index <= group.last
    return perturbed and stage.encode in ("none", "rms") and bool(np.isfinite([port.low, port.high]).any())


def _range_problem(run: Run, stage: StagePlan, name: str, where: Where) -> Problem:
    port = stage.whole.ports.inputs
    wrong = f"takes inputs of {port.low:g} to {port.high:g}, which outputs that {name} perturbs may leave"
    at = (*where, stage.index, "encode")
    return Problem(at, stage.encode, wrong, allowed=["clip", "peak"], instead="clip")


def together_problems(run: Run, plan: Plan, where: Where, common: Where) -> list[Problem]:
    """What methods ask of the whole run: how long a batch stays, who takes the steps, one chip for what is compared."""
    found = []
    if run.fleet.trim_rate != Fleet.model_fields["trim_rate"].default and not plan.trims:
        wrong, given = f"is of no use to chips that are {run.fleet.share}", (("fleet", "share"),)
        allowed = 'share = "base+trim"'
        found.append(Problem(("fleet", "trim_rate"), None, wrong, allowed=allowed, unknown=True, given=given))
    for group in plan.groups:
        spec = run.network[group.first].method or run.method
        at = (*where, group.first, "method") if run.network[group.first].method else common
        if group.algorithm.hold() != plan.hold:
            wrong = f"keeps a batch for {group.algorithm.hold()} steps, the first stage for {plan.hold}"
            found.append(Problem(at, spec.name, wrong, allowed="one number for all stages"))
        if group.algorithm.steps == "itself":
            for key in ("optimizer", "rate", "schedule"):
                if getattr(spec, key) == Method.model_fields[key].default:
                    continue
                wrong = f"is of no use to {spec.name}, which makes its steps itself"
                found.append(Problem((*at, key), getattr(spec, key), wrong, allowed="nothing", unknown=True))
        if _compares(group.passes) and run.fleet.share != "own" and plan.replicas > 1:
            wrong = "cannot divide its losses among chips: it compares them with the one without a perturbation"
            fits = [n for n in methods.METHODS if not _compares(methods.load(n)().passes(group.size))]
            found.append(Problem(at, spec.name, wrong, allowed=fits, given=(("fleet", "share"), ("fleet", "replicas"))))
        if not group.algorithm.answers and group is plan.groups[-1]:
            wrong = "learns without labels, so that the network would predict nothing"
            allowed = "another method for the last stage"
            found.append(Problem(at, spec.name, wrong, allowed=allowed))
        if plan.trims:
            found += _trim_problems(run, plan, group, at, spec.name)
    return found


def _compares(passes: Passes) -> bool:
    """Whether the losses of several probes are compared with one without a perturbation, which one chip measures."""
    return passes.perturbs == "params" and not all(passes.scale) and len(set(passes.probe)) > 1


def _trim_problems(run: Run, plan: Plan, group: Group, at: Where, name: str) -> list[Problem]:
    """A trim needs something that its chip measured, and directions that follow from nothing but the step."""
    found, given = [], (("fleet", "share"),)
    items = plan.items[group.index]
    if len(items) < plan.replicas:
        key = "rows" if group.algorithm.spread == "probes" else "chunk"
        most = (len(group.passes) if key == "rows" else run.train.batch) // plan.replicas
        wrong = f"leaves chips without work: {len(items)} pieces of it for {plan.replicas} chips, each with a trim"
        allowed = f"at most {most}" if most else "more passes or fewer chips"
        found.append(Problem(("train", key), getattr(run.train, key), wrong, allowed=allowed, given=given))
    tile = plan.stages[group.first].tiles[0]
    if _remembers(group.algorithm, tile):
        wrong = "cannot learn a trim: its perturbations follow from what it has met, which differs between chips"
        fits = [n for n in methods.METHODS if not _remembers(methods.load(n)(), tile)]
        found.append(Problem(at, name, wrong, allowed=fits, given=given))
    return found


def _remembers(algorithm: Algorithm, tile: Model) -> bool:
    """Whether it has a state from which its directions may follow."""
    if algorithm.evidence != "losses":
        return False
    return bool(jax.tree.leaves(_state(algorithm, tile)))

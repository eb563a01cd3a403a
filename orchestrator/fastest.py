"""What mode `fastest` cannot do, and chips that are driven otherwise but are not there."""

from __future__ import annotations

from algorithms import registry as methods
from algorithms.contracts import Algorithm
from orchestrator.core.plan import Plan
from orchestrator.problems import Problem, Where
from orchestrator.spec import Run

MODE: Where = ("train", "mode")


def mode_problems(plan: Plan, network: Where, method: Where) -> list[Problem]:
    """`network`, `method`: where those of this run are told."""
    run = plan.run
    if run.train.mode != "fastest":
        return []
    found, given = [], (MODE,)
    if run.fleet.share != "tied":
        wrong = "cannot be trained in mode fastest: chips with parameters of their own cannot do each other's work"
        found.append(Problem(("fleet", "share"), run.fleet.share, wrong, allowed=["tied"], given=given))
    for stage in plan.stages:
        spec, at = run.network[stage.index], (*network, stage.index)
        if not (stage.hosted or stage.exact):
            wrong = "cannot be in mode fastest: only an instrument with a driver can be idle"
            key = "driver" if stage.driven else "device"
            value, allowed = (None, "a driver") if stage.driven else (spec.device, ["driven"])
            found.append(Problem((*at, key), value, wrong, allowed=allowed, unknown=stage.driven, given=given))
        if stage.hosted and len(stage.tiles) > 1:
            wrong = "cannot be in mode fastest: its tiles would be measured on different chips"
            found.append(Problem((*at, "tiles"), spec.tiles, wrong, allowed="1", given=given))
    hosted = [stage.index for stage in plan.stages if stage.hosted]
    if len(hosted) > 1:
        wrong = "cannot be in mode fastest: its stages would be measured on different chips"
        allowed = "one stage with a driver, others digital"
        found.append(Problem((*network, hosted[1], "driver"), None, wrong, allowed=allowed, unknown=True, given=given))
    if len(plan.groups) > 1:
        wrong, second = "cannot be in mode fastest: its groups would wait for each other", plan.groups[1].first
        allowed = "one method for all stages"
        found.append(Problem((*network, second, "method"), None, wrong, allowed=allowed, unknown=True, given=given))
    if not hosted:
        allowed = ["deterministic"]
        found.append(Problem(MODE, run.train.mode, "is for instruments, and no stage has a driver", allowed=allowed))
    for group in plan.groups:
        if not _by_losses(group.algorithm):
            spec = run.network[group.first]
            where, name = (*network, group.first, "method") if spec.method else method, (spec.method or run.method).name
            wrong = "cannot be in mode fastest: it learns from more than the loss of each perturbation"
            allowed = [n for n in methods.METHODS if _by_losses(methods.load(n)())]
            found.append(Problem(where, name, wrong, allowed=allowed, given=given))
    return found


def _by_losses(algorithm: Algorithm) -> bool:
    """Whether rows are all that is divided, and their losses all that is learnt from."""
    about = algorithm.evidence, algorithm.spread, algorithm.passes().perturbs
    return about == ("losses", "probes", "params")


def chip_problems(run: Run, network: Where) -> list[Problem]:
    """Chips that are driven otherwise: each is one of the fleet, and told once."""
    found = []
    for i, stage in enumerate(run.network):
        seen: set[int] = set()
        for k, chip in enumerate(stage.driver.chips if stage.driver else ()):
            at = (*network, i, "driver", "chips", k, "replica")
            if chip.replica >= run.fleet.replicas:
                wrong, allowed = "is no chip of the fleet", f"0 to {run.fleet.replicas - 1}"
                found.append(Problem(at, chip.replica, wrong, allowed=allowed, given=(("fleet", "replicas"),)))
            if chip.replica in seen:
                found.append(Problem(at, chip.replica, "is told twice", allowed="each chip once"))
            seen.add(chip.replica)
    return found

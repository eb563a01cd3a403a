"""What can be wrong with a run beyond the types of its fields; each finding is a `Problem` with its place.

Names and options of plug-ins first, then sizes, then what only the plan shows: a method that needs what a stage cannot
do, a chain without a way back, a stage that cannot be cut, more work or memory than there can be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
from pydantic import ValidationError

from algorithms import registry as methods
from orchestrator.core.plan import Group, Plan, StagePlan, build
from orchestrator.core.shapes import shapes
from orchestrator.core.task import dataset
from orchestrator.data import LOADERS, Dataset
from orchestrator.demands import activity_problems, state_problems, together_problems
from orchestrator.fastest import chip_problems, mode_problems
from orchestrator.fits import memory_problems, work_problems
from orchestrator.options import option_names, options_problems
from orchestrator.places import elsewhere
from orchestrator.problems import UNKNOWN, Problem, Where, from_pydantic, misread
from orchestrator.spec import Compare, Data, Entry, Fleet, Method, Run, Stage
from physics import registry as substrates
from physics.contracts import MEASURE, TILE
from physics.drivers import registry as drivers

MAX_STAGES = 256
MAX_SEEDS = 1000
# Fields that may not fit a data set, in the order in which they are applied to it -> what it allows.
DATA_ALLOWS = {"split": "0", "size": "two divisors of {shape}", "part": '"test"', "train_samples": "1 to {n}"}


def problems(run: Run) -> list[Problem]:
    """Everything, of the run itself and of each entry of its [compare] table."""
    networks: dict[Where, tuple[Stage, ...]] = {("network",): run.network}
    found = _network_problems(run, run.network, run.method, ("network",))
    entries = run.compare.entries if run.compare else {}
    known = methods.names()
    for name, entry in entries.items():
        where = ("compare", name)
        if name not in known:
            allowed = [*Compare.model_fields, *known]
            found.append(Problem(where, None, "is not a method", allowed=allowed, unknown=True))
            continue
        method, mistakes = _method_of(name, entry, where)
        found += mistakes
        if entry.network:
            networks[(*where, "network")] = entry.network
            found += _network_problems(run, entry.network, method, (*where, "network"))
    found += _seeds_problems(run.compare.seeds) if run.compare else []
    found += _data_problems(run.data) or _size_problems(run, networks)
    if not found:
        found += _plan_problems(run, ())
        for name in entries:
            found += _plan_problems(run.with_method(name), ("compare", name), ("compare", name, "network") in networks)
    return list(dict.fromkeys(found))


def _seeds_problems(seeds: tuple[int, ...]) -> list[Problem]:
    at, found = ("compare", "seeds"), []
    if len(seeds) > MAX_SEEDS:
        found.append(Problem(at, None, f"has {len(seeds):,} seeds", allowed=f"at most {MAX_SEEDS:,}", unknown=True))
    if not seeds:
        found.append(Problem(at, [], "is empty", allowed="at least one seed"))
    if len(set(seeds)) < len(seeds):
        found.append(Problem(at, list(seeds), "names a seed twice", allowed="each seed once"))
    return found


def _method_of(name: str, entry: Entry, where: Where) -> tuple[Method, list[Problem]]:
    """The method table that an entry of [compare] stands for, and what is wrong with it."""
    base = [*(f for f in Method.model_fields if f != "name"), *Entry.model_fields]
    options = {k: v for k, v in entry.options.items() if k != "name"}
    found = [Problem((*where, "name"), None, UNKNOWN, allowed=base, unknown=True)] if "name" in entry.options else []
    try:
        method = Method(name=name, **options)
        found += misread(options, method.model_dump(), where)
    except ValidationError as error:
        found += [from_pydantic(e, Method, where) for e in error.errors()]
        bad = {e["loc"][0] for e in error.errors()}
        method = Method(name=name, **{k: v for k, v in options.items() if k not in bad})
    return method, found + options_problems(methods.load(name), method.options, where, base)


def _method_problems(method: Method, where: Where) -> list[Problem]:
    names = methods.names()
    if method.name not in names:
        return [Problem((*where, "name"), method.name, "is not a method", allowed=names)]
    return options_problems(methods.load(method.name), method.options, where, Method.model_fields)


def _network_problems(run: Run, network: tuple[Stage, ...], method: Method, where: Where) -> list[Problem]:
    found = _method_problems(method, ("method",)) if where == ("network",) else []
    names, known = substrates.names(), set[str]()  # names are looked up in every package that is installed
    for i, stage in enumerate(network):
        at = (*where, i)
        if stage.method is not None:
            found += _method_problems(stage.method, (*at, "method"))
        if stage.driver is not None:
            found += _driver_problems(stage, (*at, "driver"))
        if stage.substrate not in names:
            found.append(Problem((*at, "substrate"), stage.substrate, "is not a substrate", allowed=names))
            continue
        cls = substrates.load(stage.substrate)
        known |= option_names(cls)
        found += options_problems(cls, stage.options, at, Stage.model_fields)
        chosen = {k: v for k, v in run.fleet.options.items() if k in option_names(cls)}
        found += options_problems(cls, chosen, ("fleet",), Fleet.model_fields)
    if where == ("network",) and all(stage.substrate in names for stage in network):
        allowed = [*Fleet.model_fields, *sorted(known)]
        wrong, stages = "is a field of no substrate in this network", tuple((*where, i) for i in range(len(network)))
        for key in run.fleet.options.keys() - known:
            given = stages if elsewhere(key) else ()  # else there is no substrate to which it could belong
            found.append(Problem(("fleet", key), None, wrong, allowed=allowed, unknown=True, given=given))
    return found


def _driver_problems(stage: Stage, at: Where) -> list[Problem]:
    assert stage.driver is not None
    name, options = stage.driver.name, stage.driver.options
    if stage.device != "driven":
        found = Problem((*at[:-1], "device"), stage.device, "has no driver", allowed=["driven"], given=(at,))
        return [found]
    try:
        cls: Any = drivers.load(name)
    except Exception as error:  # whatever the module raises
        known = drivers.names()
        wrong = "is not a driver" if isinstance(error, KeyError) else f"cannot be loaded: {error}"
        return [Problem((*at, "name"), name, wrong, allowed=[*known, "package.module:Class"])]
    if not hasattr(cls, "__dataclass_fields__"):
        return []
    wrongs = options_problems(cls, options, at, ["name", "chips"])
    for i, chip in enumerate(stage.driver.chips):
        wrongs += options_problems(cls, chip.options, (*at, "chips", i), ["replica"])
    return wrongs


def _data_problems(data: Data) -> list[Problem]:
    """A data set that is not there, or not as asked for."""
    if data.name not in LOADERS:
        return [Problem(("data", "name"), data.name, "is not a data set", allowed=list(LOADERS))]
    try:
        dataset(data)
        return []
    except ValueError:
        found, usable = [], data.model_copy(update={key: Data.model_fields[key].default for key in DATA_ALLOWS})
    try:
        whole = dataset(usable)
    except ValueError as error:
        at, given = ("data", "name" if data.path is None else "path"), (("data", "path"),)
        wrong, allowed = _unusable(error), "a folder with its files"
        return [Problem(at, getattr(data, at[1]), wrong, allowed=allowed, given=given)]
    for key, must in DATA_ALLOWS.items():
        asked = usable.model_copy(update={key: getattr(data, key)})
        try:
            whole, usable = dataset(asked), asked
        except ValueError as error:
            allowed = must.format(n=len(whole.x_train), shape=" x ".join(map(str, whole.shape)))
            found.append(Problem(("data", key), getattr(data, key), _unusable(error), allowed=allowed))
    return found


def _unusable(error: ValueError) -> str:
    return f"cannot be used: {str(error).rstrip('.')}"


def _size_problems(run: Run, networks: dict[Where, tuple[Stage, ...]]) -> list[Problem]:
    """Sizes that do not fit the data or each other."""
    found, n_classes = [], dataset(run.data).n_classes
    for where, network in networks.items():
        if len(network) > MAX_STAGES:
            wrong = f"has {len(network):,} stages"
            found.append(Problem(where, None, wrong, allowed=f"at most {MAX_STAGES}", unknown=True))
        if network[-1].size != n_classes and not (network[-1].size == 1 and n_classes == 2):
            at = (*where, len(network) - 1, "size")
            allowed, wrong = f"{n_classes}, its classes", f"does not fit {run.data.name}"
            allowed += ", or 1, the log-odds of the second" if n_classes == 2 else ""
            given: tuple[Where, ...] = (("data",),)
            found.append(Problem(at, network[-1].size, wrong, allowed=allowed, instead=n_classes, given=given))
    if run.train.batch % min(run.train.chunk, run.train.batch):
        allowed, at = f"a divisor of train.batch = {run.train.batch}", ("train", "chunk")
        wrong, given = "does not divide the batch", (("train", "batch"),)
        found.append(Problem(at, run.train.chunk, wrong, allowed=allowed, instead=run.train.batch, given=given))
    return found


def _plan_problems(run: Run, base: Where, own_network: bool = False) -> list[Problem]:
    """What only the plan can show: sizes that do not chain, methods that a stage cannot do, work that cannot be cut.

    `base`: the place of the entry of [compare] that this run is of, and whether the entry has its own network.
    """
    data = dataset(run.data)
    where: Where = (*base, "network") if own_network else ("network",)
    try:
        plan = build(run, data.x_train.shape[1], data.n_classes)
    except Exception as error:  # whatever a plug-in raises
        return [_unbuilt(run, data, where, error)]
    found = chip_problems(run, where) + mode_problems(plan, where, base or ("method",))
    found += together_problems(run, plan, where, base or ("method",))
    if not any(s.trained for s in plan.stages):
        found.append(Problem(where, None, "has no trained stage", allowed="trained = true in one", unknown=True))
    for group in plan.groups:
        name = (run.network[group.first].method or run.method).name
        for stage in plan.stages[group.first : group.last + 1]:
            found += _stage_problems(run, plan, group, stage, name, (*where, stage.index), base or ("method",))
        if group.algorithm.route == "chain":
            for stage in plan.stages[group.lowest :]:
                trained_here = stage.trained and stage.group == group.index  # then what it needs was checked above
                if not trained_here and not set(group.algorithm.pull) & stage.whole.capabilities:
                    wrong = f"offers no way back for {name} below it"
                    allowed = f"a substrate with one of {sorted(group.algorithm.pull)}"
                    at = (*where, stage.index, "substrate")
                    found.append(Problem(at, run.network[stage.index].substrate, wrong, allowed=allowed))
        found += activity_problems(run, plan, group, name, where)
    if stateless := state_problems(run, plan, where, base or ("method",)):
        return found + stateless
    too_much = work_problems(plan, data) or memory_problems(plan, data)
    return found + [p if p.where[0] != "network" else _at(p, where) for p in too_much]


def _at(problem: Problem, network: Where) -> Problem:
    return replace(problem, where=(*network, *problem.where[1:]))


def _unbuilt(run: Run, data: Dataset, where: Where, error: Exception) -> Problem:
    """A plan that cannot be built, at the first stage that it fails with."""
    for n in range(1, len(run.network)):
        try:
            build(run.model_copy(update={"network": run.network[:n]}), data.x_train.shape[1], data.n_classes)
        except Exception:
            where = (*where, n - 1)
            break
    else:
        where = (*where, len(run.network) - 1)
    return Problem(where, None, f"cannot be built: {error}", allowed="options that fit together", unknown=True)


def _stage_problems(
    run: Run, plan: Plan, group: Group, stage: StagePlan, name: str, at: Where, common: Where
) -> list[Problem]:
    """`common`: where the method of all stages without their own is told."""
    found = []
    spec = run.network[stage.index]
    offers = stage.whole.capabilities | {MEASURE}
    physical = bool(stage.whole.ports.params)
    missing = group.algorithm.needs(physical) - offers if stage.trained else frozenset()
    if missing:
        fits = [n for n in methods.METHODS if not (methods.load(n)().needs(physical) - offers)]
        wrong = f"cannot be trained by {name}: it lacks {sorted(missing)}"
        found.append(
            Problem((*at, "substrate"), spec.substrate, wrong, allowed=f"one of the methods {', '.join(fits)}")
        )
    for port, limits in stage.whole.ports.params.items() if stage.trained else ():
        if 2 * group.margin >= limits.high - limits.low:
            unit = "" if limits.unit == "1" else f" {limits.unit}"
            wrong = f"perturbs {port} of {spec.substrate} by {group.margin:g}{unit}, which leaves no room for it"
            allowed = f"less than half of its range, {limits.low:g} to {limits.high:g}{unit}"
            where = (*at, "method") if spec.method else common
            found.append(Problem(where, name, wrong, allowed=allowed))
    if spec.tiles > 1:
        if TILE not in stage.whole.capabilities:
            found.append(Problem((*at, "tiles"), spec.tiles, f"cannot cut {spec.substrate}", allowed="1"))
        length = stage.n_out if stage.tile_by == "outputs" else stage.n_in
        if spec.tiles > length:
            wrong = f"are more than the {stage.tile_by}"
            found.append(Problem((*at, "tiles"), spec.tiles, wrong, allowed=f"1 to {length}"))
        if jax.tree.leaves(shapes(stage.whole)["digital"]):
            found.append(Problem((*at, "tiles"), spec.tiles, "cannot cut a stage with digital parameters", allowed="1"))
        if group.algorithm.route == "local" and stage.trained:
            wrong = f"cannot cut a stage trained by {name}: its loss is over the whole stage"
            found.append(Problem((*at, "tiles"), spec.tiles, wrong, allowed="1"))
    return found

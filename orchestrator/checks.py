"""What can be wrong with a run beyond the types of its fields; each finding is a `Problem` with its place.

Names and options of plug-ins first, then sizes, then what only the plan shows: a method that needs what a stage cannot
do, a chain without a way back, a stage that cannot be cut.
"""

from __future__ import annotations

import jax

from algorithms import registry as methods
from orchestrator.core.plan import Group, Plan, StagePlan, build, shapes
from orchestrator.core.task import dataset
from orchestrator.problems import Problem, nearest, option_names, options_problems
from orchestrator.spec import Fleet, Method, Run, Stage
from physics import registry as substrates
from physics.contracts import MEASURE, TILE

HIDDEN = ("n_in", "n_out", "decode_as")  # fields of a model that follow from the network


def problems(run: Run) -> list[Problem]:
    """Everything, of the run itself and of each entry of its [compare] table."""
    found = _network_problems(run, run.network, run.method, ("network",))
    entries = run.compare.entries if run.compare else {}
    for name, entry in entries.items():
        where = ("compare", name)
        if name not in methods.names():
            found.append(Problem(where, name, "is not a method", allowed=methods.names(), unknown=True))
            continue
        method = Method(name=name, **entry.options)
        found += _method_problems(method, where)
        if entry.network:
            found += _network_problems(run, entry.network, method, (*where, "network"))
    found += _size_problems(run)
    if not found:
        found += _plan_problems(run, ("network",))
        for name, entry in entries.items():
            place: tuple = ("compare", name, "network") if entry.network else ("network",)
            found += _plan_problems(run.with_method(name), place)
    return list(dict.fromkeys(found))


def _method_problems(method: Method, where: tuple) -> list[Problem]:
    if method.name not in methods.names():
        return [Problem((*where, "name"), method.name, "is not a method", allowed=methods.names())]
    return options_problems(methods.load(method.name), method.options, where, Method)


def _network_problems(run: Run, network: tuple[Stage, ...], method: Method, where: tuple) -> list[Problem]:
    found = _method_problems(method, ("method",)) if where == ("network",) else []
    used: set[str] = set()
    for i, stage in enumerate(network):
        at = (*where, i)
        if stage.substrate not in substrates.names():
            found.append(Problem((*at, "substrate"), stage.substrate, "is not a substrate", allowed=substrates.names()))
            continue
        cls = substrates.load(stage.substrate)
        used |= {k for k in run.fleet.options if k in option_names(cls)}
        found += options_problems(cls, stage.options, at, Stage, hidden=HIDDEN)
        chosen = {k: v for k, v in run.fleet.options.items() if k in option_names(cls)}
        found += options_problems(cls, chosen, ("fleet",), Fleet, hidden=HIDDEN)
        if stage.method is not None:
            found += _method_problems(stage.method, (*at, "method"))
    if where == ("network",):
        known = sorted(
            {
                f
                for n in {s.substrate for s in network}
                if n in substrates.names()
                for f in option_names(substrates.load(n))
            }
            - set(HIDDEN)
        )
        for key, value in run.fleet.options.items():
            if key not in used:
                allowed = [*Fleet.model_fields, *known]
                found.append(
                    Problem(
                        ("fleet", key),
                        value,
                        "is a field of no substrate in this network",
                        allowed=allowed,
                        near=nearest(key, allowed),
                        unknown=True,
                    )
                )
    return found


def _size_problems(run: Run) -> list[Problem]:
    """Sizes that do not fit the data or each other."""
    found = []
    try:
        n_classes = dataset(run.data).n_classes
    except ValueError as error:
        return [Problem(("data", "name"), run.data.name, f"cannot be used: {error}")]
    networks: dict[tuple, tuple[Stage, ...]] = {("network",): run.network}
    for name, entry in (run.compare.entries if run.compare else {}).items():
        if entry.network:
            networks[("compare", name, "network")] = entry.network
    for where, network in networks.items():
        if network[-1].size != n_classes:
            at = (*where, len(network) - 1, "size")
            allowed = f"{n_classes}, its classes"
            found.append(Problem(at, network[-1].size, f"does not fit {run.data.name}", allowed=allowed))
    if run.train.batch % min(run.train.chunk, run.train.batch):
        allowed = f"a divisor of train.batch = {run.train.batch}"
        found.append(Problem(("train", "chunk"), run.train.chunk, "does not divide the batch", allowed=allowed))
    return found


def _plan_problems(run: Run, where: tuple) -> list[Problem]:
    """What only the plan can show: sizes that do not chain, methods that a stage cannot do, work that cannot be cut."""
    data = dataset(run.data)
    n_features, n_classes = data.x_train.shape[1], data.n_classes
    try:
        plan = build(run, n_features, n_classes)
    except (ValueError, TypeError) as error:
        return [Problem(where, None, f"cannot be built: {error}", unknown=True)]
    found = []
    if not any(s.trained for s in plan.stages):
        found.append(Problem(where, None, "has no trained stage", allowed="trained = true in one", unknown=True))
    for group in plan.groups:
        name = (run.network[group.first].method or run.method).name
        for stage in plan.stages[group.first : group.last + 1]:
            found += _stage_problems(run, plan, group, stage, name, (*where, stage.index))
        if group.algorithm.route == "chain":
            for stage in plan.stages[group.first :]:
                trained_here = stage.trained and stage.group == group.index  # then what it needs was checked above
                if not trained_here and not set(group.algorithm.pull) & stage.whole.capabilities:
                    found.append(
                        Problem(
                            (*where, stage.index, "substrate"),
                            run.network[stage.index].substrate,
                            f"offers no way back for {name} below it",
                            allowed=f"a substrate with one of {sorted(group.algorithm.pull)}",
                        )
                    )
    return found


def _stage_problems(run: Run, plan: Plan, group: Group, stage: StagePlan, name: str, at: tuple) -> list[Problem]:
    found = []
    spec = run.network[stage.index]
    offers = stage.whole.capabilities | {MEASURE}
    physical = bool(stage.whole.ports.params)
    missing = group.algorithm.needs(physical) - offers if stage.trained else frozenset()
    if missing:
        fits = [n for n in methods.METHODS if not (methods.load(n)().needs(physical) - offers)]
        found.append(
            Problem(
                (*at, "substrate"),
                spec.substrate,
                f"cannot be trained by {name}: it lacks {sorted(missing)}",
                allowed=fits,
            )
        )
    if spec.tiles > 1:
        if TILE not in stage.whole.capabilities:
            found.append(Problem((*at, "tiles"), spec.tiles, f"cannot cut {spec.substrate}", allowed="1"))
        length = stage.n_out if stage.tile_by == "outputs" else stage.n_in
        if spec.tiles > length:
            found.append(
                Problem((*at, "tiles"), spec.tiles, f"are more than the {stage.tile_by}", allowed=f"1 to {length}")
            )
        if jax.tree.leaves(shapes(stage.whole)["digital"]):
            found.append(Problem((*at, "tiles"), spec.tiles, "cannot cut a stage with digital parameters", allowed="1"))
        if group.algorithm.route == "local" and stage.trained:
            wrong = f"cannot cut a stage trained by {name}: its loss is over the whole stage"
            found.append(Problem((*at, "tiles"), spec.tiles, wrong, allowed="1"))
    return found

"""Run files: what is trained, on what, how. TOML, read by these pydantic models, which are the Python API as well.

Everything that can be wrong with a run is found here, before anything starts, and reported at once (`problems.py`).
"""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from algorithms import registry as methods
from orchestrator.problems import Problem, RunFileError, nearest, option_names, options_problems, read_toml, validate
from physics import registry as substrates

Positive = Annotated[int, Field(gt=0, le=2**31 - 1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Open(BaseModel):
    """Further keys are the options of a plug-in: of a substrate or of a method, checked against its own fields."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Data(Strict):
    """Which data set. part="validation": train on 4/5 of the training part and evaluate on the rest of it."""

    name: str = "digits"
    path: str | None = None
    size: tuple[Positive, Positive] | None = None
    part: Literal["test", "validation"] = "test"
    train_samples: Positive | None = None


class Method(Open):
    """A training method by name, its optimiser, and its own hyper-parameters as further keys."""

    name: str = "spsa"
    optimizer: Literal["adam", "sgd", "momentum", "adamw"] = "adam"
    rate: Annotated[Finite, Field(gt=0)] = 0.01
    schedule: Literal["constant", "cosine"] = "constant"


class Stage(Open):
    """One physical layer with its digital encode and decode; further keys are options of the substrate.

    encode: how what comes in is brought to the input range ("none": it must be legal; "clip"; "peak": divide each
    sample by its largest magnitude if that exceeds 1). decode: activation on what was measured.
    """

    substrate: str
    size: Positive
    encode: Literal["none", "clip", "peak"] = "none"
    decode: Literal["none", "tanh", "relu", "softsign"] = "none"
    trained: bool = True
    method: Method | None = None
    tiles: Annotated[int, Field(ge=1, le=64)] = 1
    tile_by: Literal["outputs", "inputs"] = "outputs"
    device: Literal["simulated", "driven"] = "simulated"

    @model_validator(mode="before")
    @classmethod
    def _short_method(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("method"), str):
            return {**data, "method": {"name": data["method"]}}
        return data


class Fleet(Open):
    """The chips: how many replicas, whose parameters they hold, and how imperfect they are.

    own: each chip its parameters; tied: one set for all. Further keys (mismatch, noise, drift, stuck_off, stuck_full
    ...) set the field of that name in every substrate that has it. real_time: simulated devices really take their time.
    """

    replicas: Annotated[int, Field(ge=1, le=4096)] = 1
    share: Literal["own", "tied"] = "own"
    seed: Seed | None = None
    real_time: bool = False


class Train(Strict):
    """Steps and batches. rows and chunk: how many rows and samples one device call holds (they fix the bits).

    evaluate_every: steps between points of the curve (None: ten points). placement: what workers divide among them:
    whole networks on clones, stages, or tiles.
    """

    steps: Positive = 100
    batch: Positive = 128
    seed: Seed = 0
    rows: Positive = 16
    chunk: Positive = 32
    evaluate_every: Positive | None = None
    evaluate_samples: Positive | None = None
    evaluate_chunk: Positive = 256
    placement: Literal["clones", "stages", "tiles"] = "clones"


class Entry(Open):
    """What `compare` changes for one method: method fields, and optionally the network and the number of steps."""

    network: tuple[Stage, ...] | None = None
    steps: Positive | None = None


class Compare(BaseModel):
    """seeds, and one entry for each method by its name."""

    model_config = ConfigDict(extra="allow", frozen=True)
    seeds: tuple[Seed, ...] = (0, 1, 2, 3, 4)
    __pydantic_extra__: dict[str, Entry]

    @property
    def entries(self) -> dict[str, Entry]:
        return dict(self.__pydantic_extra__ or {})


class Run(Strict):
    """One run: `Run.load(path)`, or built in Python with the same names."""

    data: Data = Data()
    network: Annotated[tuple[Stage, ...], Field(min_length=1)]
    fleet: Fleet = Fleet()
    method: Method = Method()
    train: Train = Train()
    compare: Compare | None = None

    @classmethod
    def load(cls, path: str | Path, sets: list[str] | tuple[str, ...] = ()) -> Self:
        """Read a run file and apply `--set key=value`. Raises `RunFileError` with every problem found."""
        text, tree = read_toml(path)
        return cls.build(tree, sets, file=str(path), text=text)

    @classmethod
    def build(
        cls, tree: dict[str, Any], sets: list[str] | tuple[str, ...] = (), *, file: str = "run", text: str = ""
    ) -> Self:
        """From a tree of plain values. Raises `RunFileError`."""
        base = validate(cls, tree, file, text, more=cls.problems)
        if not sets:
            return base
        changed, origin = apply_sets(tree, sets)
        return validate(cls, changed, file, text, origin, more=cls.problems)

    def with_method(self, name: str, seed: int | None = None) -> Run:
        """This run by another method: its entry in [compare] (or its defaults) replaces the method table."""
        tree = self.model_dump(exclude_none=True)
        tree = _with_method(tree, name)
        tree.pop("compare", None)
        if seed is not None:
            tree["train"]["seed"] = seed
        return type(self).model_validate(tree)

    def problems(self) -> list[Problem]:
        """What the types cannot say: names, options, sizes that do not chain, methods that a stage cannot do."""
        found = [*_network_problems(self, self.network, self.method, ("network",))]
        for name, entry in (self.compare.entries if self.compare else {}).items():
            where = ("compare", name)
            if name not in methods.names():
                found.append(Problem(where, name, "is not a method", allowed=methods.names(), unknown=True))
                continue
            method = Method(name=name, **entry.options)
            found += _method_problems(method, where)
            if not found:
                network = entry.network or self.network
                found += _network_problems(self, network, method, (*where, "network") if entry.network else where)
        from orchestrator.core.plan import plan_problems, size_problems

        found += size_problems(self)
        if not found:
            found += plan_problems(self, ("method",))
            for name in self.compare.entries if self.compare else {}:
                found += plan_problems(self.with_method(name), ("compare", name))
        return found


def _with_method(tree: dict[str, Any], name: str) -> dict[str, Any]:
    entry = dict((tree.get("compare") or {}).get(name) or {})
    tree = {**tree, "method": {"name": name, **{k: v for k, v in entry.items() if k not in ("network", "steps")}}}
    if "network" in entry:
        tree["network"] = entry["network"]
    if "steps" in entry:
        tree["train"] = {**tree.get("train", {}), "steps": entry["steps"]}
    return tree


def apply_sets(tree: dict[str, Any], sets: list[str] | tuple[str, ...]) -> tuple[dict[str, Any], dict]:
    """The tree with `--set`s applied (method.name first, the others win), and which fields they set."""
    tree, origin, problems = copy.deepcopy(tree), {}, []
    pairs = []
    for item in sets:
        key, eq, value = item.partition("=")
        if not eq or not key:
            problems.append(Problem(("--set",), item, "is not KEY=VALUE", example="--set train.steps=100"))
            continue
        pairs.append((tuple(key.strip().split(".")), _literal(value.strip()), item))
    pairs.sort(key=lambda p: p[0] != ("method", "name"))
    for path, value, item in pairs:
        if path == ("method", "name"):
            if value not in methods.names():
                problems.append(Problem(path, value, "is not a method", allowed=methods.names(), source=item))
                continue
            tree = _with_method(tree, value)
        node: Any = tree
        for i, part in enumerate(path[:-1]):
            if isinstance(node, list):
                if not part.isdigit() or int(part) >= len(node):
                    wrong = f"has no entry {part}"
                    allowed = [str(i) for i in range(len(node))]
                    problems.append(Problem(path[:i], None, wrong, allowed, unknown=True, source=item))
                    node = None
                    break
                node = node[int(part)]
            else:
                if i == 0 and part not in Run.model_fields:
                    allowed = list(Run.model_fields)
                    problems.append(Problem((part,), None, "is not a field", allowed, unknown=True, source=item))
                    node = None
                    break
                node = node.setdefault(part, {})
        if isinstance(node, dict):
            node[path[-1]] = value
            origin[tuple(int(p) if p.isdigit() else p for p in path)] = item
    if problems:
        raise RunFileError(problems, "--set", "")
    return tree, origin


def _literal(text: str) -> Any:
    """A TOML value, or else a plain string: `--set method.name=dfa` needs no quotes."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


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
        found += options_problems(cls, stage.options, at, Stage, hidden=("n_in", "n_out", "decode_as"))
        chosen = {k: v for k, v in run.fleet.options.items() if k in option_names(cls)}
        found += options_problems(cls, chosen, ("fleet",), Fleet, hidden=("n_in", "n_out", "decode_as"))
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
            - {"n_in", "n_out", "decode_as"}
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
    return list(dict.fromkeys(found))

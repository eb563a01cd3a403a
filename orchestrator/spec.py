"""The fields of a run: what is trained, on what chips, how. Pydantic models, for run files and for Python alike."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
    """Which data set. part="validation": train on 4/5 of the training part and evaluate on the rest of it.

    split: number of the random split, of a set that was published without one.
    """

    name: str = "digits"
    path: str | None = None
    size: tuple[Positive, Positive] | None = None
    part: Literal["test", "validation"] = "test"
    split: Seed = 0
    train_samples: Positive | None = None


class Method(Open):
    """A training method by name, its optimiser, and its own hyper-parameters as further keys."""

    name: str = "spsa"
    optimizer: Literal["adam", "sgd", "momentum", "adamw"] = "adam"
    rate: Annotated[Finite, Field(gt=0)] = 0.01
    schedule: Literal["constant", "cosine"] = "constant"


class Chip(Open):
    """One chip that is driven otherwise: further keys are options of its driver, in place of those of the others."""

    replica: Annotated[int, Field(ge=0, lt=4096)]


class Driver(Open):
    """Who drives an instrument: a driver by name, or `package.module:Class`; further keys are its options.

    chips: options that are others on some chips, as an address is.
    """

    name: str
    chips: tuple[Chip, ...] = ()


class Stage(Open):
    """One physical layer with its digital encode and decode; further keys are options of the substrate.

    encode: how what comes in is brought to the input range ("none": it must be legal; "clip"; "peak": divide each
    sample by its largest magnitude if that exceeds 1) or to one length ("rms": divide each sample by its root mean
    square; what comes of it has no bound). decode: activation on what was measured. driver: of a driven device; without
    one it is a simulated chip behind a driver.
    """

    substrate: str
    size: Positive
    encode: Literal["none", "clip", "peak", "rms"] = "none"
    decode: Literal["none", "tanh", "relu", "softsign", "sin"] = "none"
    trained: bool = True
    method: Method | None = None
    tiles: Annotated[int, Field(ge=1, le=64)] = 1
    tile_by: Literal["outputs", "inputs"] = "outputs"
    device: Literal["simulated", "driven"] = "simulated"
    driver: Driver | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_tables(cls, data: Any) -> Any:
        if isinstance(data, dict):
            short = {key: {"name": data[key]} for key in ("method", "driver") if isinstance(data.get(key), str)}
            return {**data, **short}
        return data


class Fleet(Open):
    """The chips: how many replicas, whose parameters they hold, and how imperfect they are.

    own: each chip its parameters; tied: one set for all; base+trim: one set for all, the base, learnt by all chips, and
    a trim of each chip's own, learnt by itself at trim_rate times the rate. Further keys (mismatch, noise, drift,
    stuck_off, stuck_full ...) set the field of that name in every substrate that has it. real_time: simulated devices
    really take their time.
    """

    replicas: Annotated[int, Field(ge=1, le=4096)] = 1
    share: Literal["own", "tied", "base+trim"] = "own"
    trim_rate: Annotated[Finite, Field(gt=0)] = 1.0
    seed: Seed | None = None
    real_time: bool = False


class Train(Strict):
    """Steps and batches. rows and chunk: how many rows and samples one device call holds (they fix the bits).

    evaluate_every: steps between points of the curve (None: ten points). placement: what workers divide among them:
    whole networks on clones, stages, or tiles. mode: who measures what: the plan says it (deterministic), or tied chips
    that are instruments take the next rows as they become idle, and the record says who it was (fastest).
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
    mode: Literal["deterministic", "fastest"] = "deterministic"


class Journal(Strict):
    """How a run is kept. It changes no bit of the result.

    snapshot_every: steps between two snapshots of the whole state. whole_kB: evidence of a step up to this size is
    journalled whole, and replay needs nothing else; of larger evidence only a digest is, and a run that was killed
    repeats the steps since its last snapshot.
    """

    snapshot_every: Positive = 100
    whole_kB: Annotated[int, Field(ge=0, le=100_000)] = 1000


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
    """One run, as data; `orchestrator.Run` can also be loaded from a file and checked."""

    data: Data = Data()
    network: Annotated[tuple[Stage, ...], Field(min_length=1)]
    fleet: Fleet = Fleet()
    method: Method = Method()
    train: Train = Train()
    journal: Journal = Journal()
    compare: Compare | None = None

    def with_method(self, name: str) -> Self:
        """This run by another method: its entry in [compare] (or its defaults) replaces the method table."""
        tree = self.model_dump(exclude_none=True)
        tree = with_method(tree, name)
        tree.pop("compare", None)
        return type(self).model_validate(tree)


def with_method(tree: dict[str, Any], name: str) -> dict[str, Any]:
    """The tree of a run file with the [compare] entry of a method (or its defaults) as its method table."""
    entry = dict((tree.get("compare") or {}).get(name) or {})
    tree = {**tree, "method": {"name": name, **{k: v for k, v in entry.items() if k not in ("network", "steps")}}}
    if "network" in entry:
        tree["network"] = entry["network"]
    if "steps" in entry:
        tree["train"] = {**tree.get("train", {}), "steps": entry["steps"]}
    return tree

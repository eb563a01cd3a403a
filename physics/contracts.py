"""The contracts of a physical layer: `Model` is mathematics, `Device` and `Driver` are input and output.

A `Model` is pure (jit, vmap, grad) and is told which chip it describes; a `Device` holds one chip and may be slow,
drift and fail. Only a device ever sees its chip: what the trainer may know of it is the model with `nominal()` in
place of the chip (the twin, see `physics/twin.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

Array = Any  # a jax or numpy array; shapes stand in the docstrings
Key = Any  # a jax PRNG key
Tree = Any  # a tree of arrays

# What a stage can do. Plain strings, so that a third party may add its own.
MEASURE = "measure"  # forward responses: every device has it
TWIN = "twin"  # `respond` on the nominal chip is differentiable and may be used by the trainer
TILE = "tile"  # outputs are independent of each other and inputs add up: the stage may be cut into tiles
EXACT = "exact"  # digital arithmetic: no chip, v = x; nothing is written or measured


@dataclass(frozen=True)
class Port:
    """A block of parameters, inputs or outputs of a device.

    `unit` is an SI unit, or "1" for a ratio. `low <= value <= high`; a value outside is refused, never clamped.
    `rest` is the safe value. `bits` is the resolution of the converter over `low..high` (None: continuous).
    """

    unit: str
    low: float
    high: float
    rest: float = 0.0
    bits: int | None = None

    def outside(self, values: Array) -> float | None:
        """The value furthest out of range (NaN counts as out), or None if all are legal."""
        v = np.asarray(values)
        bad = v[~((v >= self.low) & (v <= self.high))]  # NaN compares false
        if bad.size == 0:
            return None
        excess = np.where(np.isnan(bad), np.inf, np.maximum(bad - self.high, self.low - bad))
        return float(bad[int(np.argmax(excess))])


@dataclass(frozen=True)
class Ports:
    """The ports of a device; `params` has one entry for each leaf of the device parameters, by name."""

    params: dict[str, Port]
    inputs: Port
    outputs: Port


@dataclass(frozen=True)
class Costs:
    """What one write and one pass cost on the device's own clock.

    `write_s`, `pass_s` in seconds (write: until settled), `pass_J` in joules; None where there is no source for one.
    """

    write_s: float | None = None
    pass_s: float | None = None
    pass_J: float | None = None


class At(NamedTuple):
    """When a response is measured, in seconds: on the device's clock, and since its parameters were last written."""

    now: Array
    since: Array


class Model(Protocol):
    """The mathematics of one substrate: pure, for ONE sample; a frozen dataclass (its hash is the jit key).

    `params` is `{"device": ..., "digital": ...}`; only "device" is ever written to a chip. With `key=None`,
    `program` and `respond` answer without cycle noise and without converters: smooth, as the twin needs them.
    A class whose models do not exist in every size has `sizes`, (most n_in, the one n_out), and raises ValueError for
    any other.
    """

    n_in: int
    n_out: int

    @property
    def ports(self) -> Ports: ...
    @property
    def costs(self) -> Costs: ...
    @property
    def capabilities(self) -> frozenset[str]: ...
    def init(self, key: Key) -> dict[str, Tree]:
        """First parameters, legal for the ports."""

    def fabricate(self, key: Key) -> Tree:
        """One chip: its frozen mismatch and faults."""

    def nominal(self) -> Tree:
        """The ideal chip, with no mismatch and no faults."""

    def program(self, chip: Tree, device: Tree, key: Key | None) -> Tree:
        """What the cells become when `device` parameters are written; write noise is drawn from `key`."""

    def respond(self, chip: Tree, cells: Tree, x: Array, key: Key | None, at: At) -> Array:
        """One measured output [n_out] for one input [n_in]; read noise is drawn from `key`.

        A model may split what it does with a key in two: `still(chip, cells, at)`, which all readings at one moment
        share, and `read(still, x, key)`.
        """

    def decode(self, digital: Tree, v: Array) -> Array:
        """The exact digital part after the measurement: [n_out] -> h; differentiated at the measured v."""


Version = tuple[int, int, int]
"""Names one write: (commit that last changed the parameters, 0, 0), or of a perturbed row (step, group + 1, row)."""

RequestId = tuple[int, int, int, int]
"""Names one reading of a batch: (purpose, step, group, row)."""


class Noise(NamedTuple):
    """How a simulated chip finds its keys: pure functions of the names of a write and of a reading, jittable."""

    program: Callable[[Key, Array], Key]
    read: Callable[[Key, Array, Array], Key]  # (key of the chip, request, index of the sample in its batch)


@dataclass(frozen=True)
class Delta:
    """A perturbation of the parameters, a different one for each row of a request.

    `direction(context, probe)` is a tree like the parameters; row r writes
    `params + scale[r] * direction(context, probe[r])`. Its leaves are arrays or lazy: see `physics.directions`.
    """

    direction: Callable[[Tree, Array], Tree]
    context: Tree
    probe: np.ndarray  # int32 [rows]
    scale: np.ndarray  # float32 [rows]
    sides: int = 1  # rows next to each other that share a probe


@dataclass(frozen=True)
class Request:
    """Rows of measurements: each row is one setting of the parameters, with one batch of inputs.

    x: [1 or rows, batch, n_in] (1: all rows see the same inputs). `held` names what the chip held before each row;
    clones of a chip are told it, for the chip's history is one, whichever clone answers. Inputs beyond `samples`
    only pad the batch to its fixed size: they are not counted. `written`: what the rows write, as numpy arrays
    [1 or rows, ...], for devices that make no directions themselves; else it follows from `params` and `delta`.
    `pieces`: rows lo..hi that go to one device, for devices that pull.
    """

    params: Tree
    x: Array
    versions: tuple[Version, ...]
    held: tuple[Version | None, ...]
    requests: tuple[RequestId, ...]
    now: np.ndarray  # float32 [rows], s
    since: np.ndarray  # float32 [rows], s
    first_sample: int
    samples: int
    delta: Delta | None = None
    deadline_s: float | None = None
    written: Tree | None = None
    pieces: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Reading:
    """What came back and what it cost, as the device counts it.

    v: [rows, batch, n_out]. `passes` counts samples through THIS device, `calls` batches, `seconds` the device's
    own clock; `seconds` and `joules` are None where there is no source. `source`: counted by a meter or by a model.
    Of devices that pull: `who` answered each piece, and how many of the `passes` were made for answers that came too
    late and were dropped; all that was made is counted, when it comes.
    """

    v: Array
    versions: tuple[Version, ...]
    requests: tuple[RequestId, ...]
    writes: int
    passes: int
    calls: int
    seconds: float | None
    joules: float | None
    source: Literal["measured", "modelled"]
    flags: frozenset[str] = field(default_factory=frozenset)
    who: tuple[int, ...] = ()
    dropped: int = 0


class Device(Protocol):
    """What a worker calls: batch first."""

    def execute(self, request: Request) -> Reading:
        """Raises a `DeviceError`; nothing out of range reaches the chip."""

    def rest(self) -> None:
        """To rest values; the next request writes anew."""

    def close(self) -> None:
        """To rest values, and let go."""


# --- what the author of a lab driver writes: one thing at a time -----------------------------------------------------


class Fitting(NamedTuple):
    """What the stage of a driver is: its ports, numbers of inputs and outputs, and a name for messages."""

    ports: Ports
    n_in: int
    n_out: int
    serial: str


class Identity(NamedTuple):
    """Who answers: kind of instrument and serial number."""

    kind: str
    serial: str


class Held(NamedTuple):
    """What the drive electronics accepted: the converter codes. Never what the cells became."""

    version: Version
    codes: Tree


class Violation(NamedTuple):
    """One value that a port does not allow."""

    port: str
    value: float
    low: float
    high: float
    unit: str


class Sample(NamedTuple):
    """One measurement by a driver: outputs [n_out], and the names of what it answers."""

    v: Array
    version: Version
    request: tuple[RequestId, int]
    seconds: float | None
    joules: float | None


class Driver(Protocol):
    """Input and output of one instrument; slow, noisy, can fail. Never actuates in `open` or `check`.

    A driver that a run file names is made as `Class(fitting, **options)` in a process that imports no JAX, so neither
    may its module. `check_rows(device, x)`, if it has one, checks many settings [rows, ...] and inputs in one call.
    """

    def open(self) -> Identity: ...
    def check(self, device: Tree, x: Array) -> list[Violation]: ...
    def write(self, device: Tree, version: Version) -> tuple[Held, float | None]:
        """Ramp and settle; returns what was accepted and the device seconds it took (None: not known)."""

    def measure(
        self, x: Array, *, version: Version, request: tuple[RequestId, int], deadline_s: float | None
    ) -> Sample:
        """One sample [n_in]. Raises `Stale` if `version` is not what it holds."""

    def safe(self) -> None:
        """To rest values, from any state, idempotent."""

    def close(self) -> None: ...


class DeviceError(RuntimeError):
    """A device could not do what it was asked; the message names what was asked and what came back."""

    remedy = "Look at the device, then go on with the run."


class Refused(DeviceError):
    """A value is out of range: nothing was written."""

    remedy = "A smaller perturbation or rate keeps parameters in range, encode = 'clip' keeps inputs in range."


class Timeout(DeviceError):
    """No answer before the deadline."""


class Disconnected(DeviceError):
    """The other side is gone."""

    remedy = "Connect the device again, then go on with the run."


class Interlock(DeviceError):
    """A safety circuit stopped the device."""

    remedy = "Find out why before anything else."


class Stale(DeviceError):
    """The device holds, or answers for, another version than the one asked for."""

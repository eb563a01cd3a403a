"""What every side of a benchmark speaks: `python SIDE.py --options '{"key": value}'`.

The side sets itself up, warms up, and prints one line of JSON, `{"ready": {"versions": {...}, "about": {...}}}`. Then
each line on stdin asks for one round, which is answered by one line, `{"value": rate, ...}`; stdin closed ends it.
All else that is printed, by libraries and by processes below them too, goes to stderr.

The parent pins the CPUs before it starts a side, so a side's threads are as many as its affinity has CPUs.
The environment is left alone; how long OpenMP threads spin (GOMP_SPINCOUNT, see README.md) is the parent's to set.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

EVALUATED = 2000  # the first so many samples are those that a loss is reported for
Round = Callable[[], dict[str, Any]]
Around = Callable[[dict[str, Any]], AbstractContextManager[Any]]
Setup = Callable[[dict[str, Any]], tuple[dict[str, Any], Round]]


def serve(
    setup: Setup,
    defaults: dict[str, Any],
    packages: Iterable[str] = (),
    around: Around = lambda options: nullcontext(),
) -> None:
    """Run a side. `setup(options)` gets the defaults with the options given over them; a name without one is refused.

    It returns what is to be known about the side, and a function that runs one round. `around(options)` is entered
    before it and left at the end, also when the side is told to end by SIGTERM.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what a side started is ended too
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--options", type=json.loads, default={}, help=f"JSON; defaults: {json.dumps(defaults)}")
    given = parser.parse_args().options
    if unknown := set(given) - set(defaults):
        parser.error(f"no option {', '.join(sorted(unknown))}; there are {', '.join(sorted(defaults))}")
    options = defaults | given

    with around(options):
        about, run = setup(options)
        versions = {name: importlib.metadata.version(name) for name in packages}
        versions["python"] = platform.python_version()
        about = {"threads": threads(), "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT"), "options": options} | about
        print(json.dumps({"ready": {"versions": versions, "about": about}}), file=answers)
        for _ in sys.stdin:
            print(json.dumps(run()), file=answers)


def threads() -> int:
    return len(os.sched_getaffinity(0))


def steady(run: Callable[[], float], least: int = 2, most: int = 8, within: float = 0.1) -> list[float]:
    """Run until two rates in a row differ by less than `within` of the second; the rates, of `most` rounds at most."""
    rates = [run() for _ in range(least)]
    while abs(rates[-1] - rates[-2]) > within * rates[-1] and len(rates) < most:
        rates.append(run())
    return rates


def load(path: str | None, features: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(x [n, features] float32, y [n] int32) of an .npz; without one, 4,000 samples labelled by a random linear map."""
    if path is None:
        rng = np.random.default_rng(seed)
        x = rng.random((4000, features), dtype=np.float32)
        return x, np.argmax((x - 0.5) @ rng.standard_normal((features, classes)), axis=1).astype(np.int32)
    with np.load(path) as file:
        x, y = file["x"].astype(np.float32), file["y"].astype(np.int32)
    if x.ndim != 2 or x.shape[1] != features or y.shape != x.shape[:1]:
        raise ValueError(f"{path}: x {x.shape} and y {y.shape}, but the network takes {features} features")
    return x, y

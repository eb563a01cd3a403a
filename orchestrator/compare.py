"""`compare`: every method on the same chips, through the one training loop, and what each is worth.

Whole runs lie side by side over the workers; then one of them is repeated, sharded over two workers, and must end with
the same bytes. Methods are compared paired by seed, which is paired by chip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from algorithms import registry
from orchestrator import folder
from orchestrator.api import Result, resume, train
from orchestrator.pools.in_process import InProcessPool
from orchestrator.problems import Problem, RunFileError, read_toml
from orchestrator.runfile import Run

DEFAULT = ("spsa", "physics-aware", "in-silico", "dfa", "phyll")


@dataclass(frozen=True)
class Cell:
    """One run of a comparison."""

    method: str
    seed: int
    run: Run


def cells(path: str | Path, sets: Sequence[str] = ()) -> tuple[Run, list[Cell]]:
    """(the base run, all cells) of a run file with a [compare] table. Raises `RunFileError`."""
    text, tree = read_toml(path)
    base = Run.build(tree, list(sets), file=str(path), text=text)
    if base.compare is None:
        example = "[compare]\nseeds = [0, 1, 2]\n[compare.dfa]"
        raise RunFileError([Problem(("compare",), None, "is missing", unknown=True, example=example)], str(path), text)
    others = [s for s in sets if not s.replace(" ", "").startswith("method.name=")]
    names = list(base.compare.entries) or list(DEFAULT)
    found = []
    for name in names:
        run = Run.build(tree, [f"method.name={name}", *others], file=str(path), text=text)
        for seed in base.compare.seeds:
            tree_run = run.model_dump(exclude_none=True, exclude={"compare"})
            tree_run["train"]["seed"] = seed
            found.append(Cell(name, seed, Run.model_validate(tree_run)))
    # the long ones first, so that no worker waits for a last one
    return base, sorted(found, key=lambda c: -_work(c.run))


def _work(run: Run) -> int:
    return run.train.steps * int(run.method.options.get("probes", 1))


def place_of(root: Path, cell: Cell) -> Path:
    """Where the run of a cell is kept."""
    return root / f"{cell.method}-{cell.seed}"


def train_all(
    root: Path, todo: list[Cell], cluster: Any, workers: int, done: Callable[[Cell, Result], None]
) -> dict[tuple[str, int], Result]:
    """Train every cell in its folder below `root`, from wherever it is; `done` is called as they end.

    cluster None: one after the other in this process.
    """
    for cell in todo:
        if not place_of(root, cell).exists():
            folder.make_run(place_of(root, cell), cell.method, cell.run, None)
    results = {}
    stream: Iterator[tuple[int, Result]]
    if cluster is None:
        stream = ((i, train_kept(place_of(root, cell))) for i, cell in enumerate(todo))
    else:
        stream = cluster.train_all([(c.run, place_of(root, c)) for c in todo], workers)
    for index, result in stream:
        cell = todo[index]
        result.directory = str(place_of(root, cell))
        results[(cell.method, cell.seed)] = result
        done(cell, result)
    return results


def train_kept(path: Path) -> Result:
    """Train the run of a folder in this process, from wherever it is; its result without parameters."""
    return replace(resume(path), params={})


def repeat_sharded(todo: list[Cell], results: dict[tuple[str, int], Result], cluster: Any) -> tuple[Cell, Result]:
    """Repeat the quickest run that measures devices, sharded over two workers."""
    measuring = [c for c in todo if results[(c.method, c.seed)].passes > 0] or todo
    cell = min(measuring, key=lambda c: (_work(c.run), c.run.train.steps * len(c.run.network), c.seed))
    with closing(InProcessPool(cell.run, 2) if cluster is None else cluster.pool(cell.run, 2)) as pool:
        return cell, train(cell.run, pool)


def paired_difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high) of a - b, with a 95 % interval by Student's t over the pairs (infinite for one pair)."""
    d = np.asarray(a) - np.asarray(b)
    if len(d) < 2:
        return float(d.mean()), -np.inf, np.inf
    from scipy import stats

    half = float(stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d)))
    return float(d.mean()), float(d.mean()) - half, float(d.mean()) + half


def by_method(todo: list[Cell], results: dict[tuple[str, int], Result]) -> dict[str, list[Result]]:
    """Results of each method in the order of the seeds; methods in the order of the registry."""
    names = {c.method for c in todo}
    seeds = sorted({c.seed for c in todo})
    return {n: [results[(n, s)] for s in seeds] for n in registry.names() if n in names}

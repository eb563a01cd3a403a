"""`pnn compare`: train all, print the tables, save the figure, show that the bytes agree."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from orchestrator import compare, folder
from orchestrator.api import Result
from orchestrator.cli.running import WORKERS
from orchestrator.runfile import Run
from orchestrator.view import accuracy_table, console, cost_table, show


def compare_command(
    path: str, local: bool, workers: int | None, address: str | None, out: str | None, sets: list[str], as_json: bool
) -> None:
    """Validate every cell, then start."""
    base, todo = compare.cells(path, sets)
    if out is not None:
        folder.check(Path(out))
    started = time.perf_counter()
    stem = Path(path).stem
    with ExitStack() as stack:
        cluster: Any = None
        if not local:
            from orchestrator.pools.ray import Cluster

            cluster = stack.enter_context(Cluster(address))
        n = 1 if local else workers or WORKERS
        console.print(f"{stem}: {len(todo)} runs, {n} side by side")
        done = 0

        def follow(cell: compare.Cell, result: Result) -> None:
            nonlocal done
            done += 1
            console.print(
                f"  {done:2d}/{len(todo)} {cell.method}, seed {cell.seed}: {100 * result.accuracy:.1f} % on the chips, "
                f"{result.wall_s:.0f} s ({time.perf_counter() - started:.0f} s so far)"
            )

        results = compare.train_all(todo, cluster, n, follow)
        cell, again = compare.repeat_sharded(todo, results, cluster)
    methods = compare.by_method(todo, results)
    place = folder.create(out, f"compare-{stem}")
    (place / "run.toml").write_text(Path(path).read_text())
    for c in todo:
        folder.save(place / f"{c.method}-{c.seed}", c.run, results[(c.method, c.seed)])
    report = "\n".join(
        [show(accuracy_table(methods)), "", show(cost_table(methods)), "", *notes(base, cell, again, results)]
    )
    (place / "table.txt").write_text(report + "\n")
    from orchestrator.figure import draw

    draw(place / "figure.png", methods, stem)
    told = sys.stderr if as_json else sys.stdout
    told.write(f"\n{report}\nFigure: {place / 'figure.png'}\n")
    told.write(f"All of it took {time.perf_counter() - started:.0f} s.\n")
    if as_json:
        for c in sorted(todo, key=lambda c: (list(methods).index(c.method), c.seed)):
            sys.stdout.write(json.dumps(results[(c.method, c.seed)].json()) + "\n")
    if again.parameters_sha256 != results[(cell.method, cell.seed)].parameters_sha256:
        raise SystemExit(1)


def notes(base: Run, cell: compare.Cell, again: Result, results: dict[tuple[str, int], Result]) -> list[str]:
    """The chips, the promise and the check, in words."""
    fleet = base.fleet
    effects = ", ".join(f"{k} {v}" for k, v in fleet.options.items())
    first = results[(cell.method, cell.seed)].parameters_sha256
    agree = "the same bytes" if again.parameters_sha256 == first else f"OTHER BYTES ({again.parameters_sha256[:16]})"
    per_worker = ", ".join(
        f"worker {w}: {float(e.passes):,.0f} passes" for w, e in sorted(again.ledger.by_worker["train"].items())
    )
    return [
        f"Chips: {fleet.replicas} ({fleet.share}) for each seed; {effects or 'ideal'}. noise and drift are in units of "
        "the source's constants.",
        "promised: the nominal twin with cycle noise and converters, without mismatch and faults; a method that learns "
        "on the chip fits the chip, not the twin. -: no source.",
        f"{cell.method}, seed {cell.seed}, repeated on two workers: {agree} ({first[:16]}); {per_worker}.",
    ]

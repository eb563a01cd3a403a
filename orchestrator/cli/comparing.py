"""`pnn compare`: train all, print the tables, save the figure, show that the bytes agree."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from orchestrator import compare, folder, garbage, tracking
from orchestrator.api import Result
from orchestrator.cli.interrupts import Interrupted, Interrupts
from orchestrator.cli.running import WORKERS, Where, all_of
from orchestrator.problems import Problem, RunFileError, read_toml
from orchestrator.runfile import Run
from orchestrator.tables import accuracy_table, cost_table, show
from orchestrator.tracking.tracker import Tracker
from orchestrator.view import say


def compare_command(path: str, where: Where, out: str | None, sets: list[str], as_json: bool) -> None:
    """Validate every cell, make the folder, then start."""
    asked = [where.check, *([lambda: folder.check(Path(out))] if out is not None else [])]
    all_of([*asked, lambda: compare.cells(path, sets)])
    text, _ = read_toml(path)
    go(folder.make_comparison(out, Path(path).stem, text, sets), where, as_json)


def go(root: Path, where: Where, as_json: bool) -> None:
    """Train what is left of a comparison; then tables and figure."""
    started = time.perf_counter()
    garbage.as_usual()
    stem, sets = _about(root)
    base, todo = compare.cells(root / "run.toml", sets)
    how = f"pnn resume {root}{where.options()}"
    with ExitStack() as stack:
        stop = stack.enter_context(Interrupts(say))
        tracker = stack.enter_context(Tracker(root, tracking.resolve(where.tracking)))
        cluster: Any = None
        if not where.local:
            from orchestrator.pools.ray import Cluster

            cluster = stack.enter_context(Cluster(where.address))
            stop.be_patient(False)  # Ray has put its own handlers
            if where.address:
                cluster.require_shared(root)
        n = 1 if where.local else where.workers or WORKERS
        say(f"{root}: {len(todo)} runs, {n} side by side")
        done = 0

        def follow(cell: compare.Cell, result: Result) -> None:
            nonlocal done
            done += 1
            say(
                f"  {done:2d}/{len(todo)} {cell.method}, seed {cell.seed}: {100 * result.accuracy:.1f} % on the chips, "
                f"{result.wall_s:.0f} s ({time.perf_counter() - started:.0f} s so far)"
            )

        try:
            results = compare.train_all(root, todo, cluster, n, follow)
            cell, again = compare.repeat_sharded(todo, results, cluster)
        except Interrupted:
            say(f"{done} of {len(todo)} runs are done. Go on with: {how}")
            raise
        methods = compare.by_method(todo, results)
        report = "\n".join(
            [show(accuracy_table(methods)), "", show(cost_table(methods)), "", *notes(base, cell, again, results)]
        )
        (root / "table.txt").write_text(report + "\n")
        from orchestrator.figure import draw

        draw(root / "figure.png", methods, stem)
        tracker.finish()
        if any(tracker.missing(compare.place_of(root, c)) for c in todo):
            say(f"The tracking store lacks something. Later: pnn track sync {root}")
        for c in todo:
            results[(c.method, c.seed)].tracking_run_id = tracker.run_id(compare.place_of(root, c))
    told = sys.stderr if as_json else sys.stdout
    told.write(f"\n{report}\nFigure: {root / 'figure.png'}\n")
    told.write(f"All of it took {time.perf_counter() - started:.0f} s.\n")
    if as_json:
        for c in sorted(todo, key=lambda c: (list(methods).index(c.method), c.seed)):
            sys.stdout.write(json.dumps(results[(c.method, c.seed)].json()) + "\n")
    if again.parameters_sha256 != results[(cell.method, cell.seed)].parameters_sha256:
        raise SystemExit(1)


def _about(root: Path) -> tuple[str, list[str]]:
    """(name, --set options) of a comparison. Raises `RunFileError`."""
    file = root / folder.COMPARISON
    try:
        about = json.loads(file.read_text())
        return str(about["stem"]), [str(s) for s in about["sets"]]
    except (ValueError, KeyError, TypeError) as error:
        problem = Problem((folder.COMPARISON,), None, f"is damaged: {error}", unknown=True)
        raise RunFileError([problem], str(file), "") from None


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

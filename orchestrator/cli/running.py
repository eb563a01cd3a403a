"""`pnn train` and `pnn evaluate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator import api, folder
from orchestrator.core.coordinator import Pool
from orchestrator.runfile import Run
from orchestrator.view import View, console, number

WORKERS = 2


@contextmanager
def pool_for(run: Run, local: bool, workers: int | None, address: str | None) -> Iterator[Pool]:
    """The pool that the options ask for: in process, or actors of a cluster that is shut down by us if it is ours."""
    if local:
        from orchestrator.pools.in_process import InProcessPool

        pool: Pool = InProcessPool(run)
        try:
            yield pool
        finally:
            pool.close()
        return
    from orchestrator.pools.ray import Cluster

    with Cluster(address) as cluster:
        pool = cluster.pool(run, workers or WORKERS)
        try:
            yield pool
        finally:
            pool.close()


def train_command(
    path: str, local: bool, workers: int | None, address: str | None, out: str | None, sets: list[str], as_json: bool
) -> None:
    """Validate everything, then start."""
    run = Run.load(path, sets)
    if out is not None:
        folder.check(Path(out))
    with pool_for(run, local, workers, address) as pool:
        stages = sum(s.tiles for s in run.network)
        with View(f"{Path(path).stem} by {run.method.name}", run.train.steps, stages * run.fleet.replicas) as view:
            result = api.train(run, pool, view)
    place = folder.create(out, f"{Path(path).stem}-{run.method.name}")
    (place / "run.toml").write_text(Path(path).read_text())
    folder.save(place, run, result)
    from orchestrator.figure import draw

    draw(place / "figure.png", {run.method.name: [result]}, Path(path).stem)
    tell(result, as_json)


def evaluate_command(directory: str, local: bool, workers: int | None, address: str | None, as_json: bool) -> None:
    """The same chips, the same parameters, measured again; the account is that of this evaluation."""
    run, params = folder.load(Path(directory))
    with pool_for(run, local, workers, address) as pool:
        result = api.evaluate(run, params, pool)
    result.directory = directory
    tell(result, as_json)


def tell(result: api.Result, as_json: bool) -> None:
    """A few lines for a person on stderr, one object on stdout."""
    console.print(
        f"accuracy {100 * result.accuracy:.2f} % on the chips (worst {100 * result.accuracy_worst:.2f} %), "
        f"{100 * result.accuracy_promised:.2f} % promised by the nominal twin"
    )
    console.print(
        f"{number(result.passes)} passes, {number(result.calls)} calls, {number(result.writes)} writes, "
        f"{number(result.device_seconds)} device seconds, {number(result.joules)} joules, {result.wall_s:.1f} s"
    )
    console.print(f"parameters {result.parameters_sha256[:16]}, in {result.directory}")
    if as_json:
        sys.stdout.write(json.dumps(result.json()) + "\n")

"""`pnn train`, `pnn resume` and `pnn evaluate`."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orchestrator import environment, folder, garbage, tracking
from orchestrator.cli.interrupts import Interrupted, Interrupts
from orchestrator.problems import RunFileError, read_toml
from orchestrator.public import public
from orchestrator.runfile import Run, fields_of
from orchestrator.tracking.tracker import Tracker

if TYPE_CHECKING:  # JAX is imported when the folder has been made
    from orchestrator.api import Result
    from orchestrator.core.coordinator import Pool, Progress
    from orchestrator.kept import Kept

WORKERS = 2
RETRIES = 3  # times that workers are replaced without a step in between


class Where(NamedTuple):
    """Options that say where work is done and tracked."""

    local: bool = False
    workers: int | None = None
    address: str | None = None
    tracking: str | None = None

    def check(self) -> str | None:
        """Raises `RunFileError` if the address or the store cannot be; returns the store."""
        if self.address:
            from orchestrator.pools import address

            address.check(self.address)
        return tracking.resolve(self.tracking)

    def options(self) -> str:
        """As they are typed."""
        told = " --local" if self.local else ""
        told += f" --workers {self.workers}" if self.workers else ""
        return told + (f" --address {self.address}" if self.address else "")


def train_command(
    path: str, where: Where, out: str | None, sets: list[str], as_json: bool, profile: bool = False
) -> None:
    """Make the folder, check everything, then start."""
    asked = [where.check, *([lambda: folder.check(Path(out))] if out is not None else [])]
    text, fields = "", None
    try:
        text, tree = read_toml(path)
        fields = fields_of(tree, sets)
        all_of(asked)
    except RunFileError:
        fields = None
    if fields is None:  # something is wrong: say all of it
        all_of([*asked, lambda: Run.load(path, sets)])
        raise AssertionError("options are wrong and right")
    place = folder.make_run(out, f"{Path(path).stem}-{fields.method.name}", fields, text)
    threading.Thread(target=environment.describe).start()  # it asks git
    try:
        Run.load(path, sets)
    except Exception:
        folder.discard(place)
        raise
    go(place, where, as_json, profile=profile)


def all_of(checks: Sequence[Callable[[], object]]) -> None:
    """Run checks; raises one `RunFileError` with everything that they found."""
    found = []
    for check in checks:
        try:
            check()
        except RunFileError as error:
            found.append(error)
    if found:
        together = RunFileError([p for error in found for p in error.problems], "", "")
        together.args = ("\n".join(map(str, found)),)
        raise together


def resume_command(directory: str, where: Where, from_snapshot: bool, as_json: bool) -> None:
    """Go on with a run or a comparison where it was."""
    where.check()
    path = Path(directory)
    if (path / folder.COMPARISON).is_file():
        from orchestrator.cli import comparing

        comparing.go(path, where, as_json)
        return
    go(path, where, as_json, from_snapshot)


def go(place: Path, where: Where, as_json: bool, from_snapshot: bool = False, profile: bool = False) -> None:
    """Train the run of a folder from wherever it is, and tell its result."""
    from orchestrator import api, outcome
    from orchestrator.core.coordinator import Stopped
    from orchestrator.kept import Kept
    from orchestrator.view import say

    how = f"pnn resume {place}{where.options()}"
    store = tracking.resolve(where.tracking)
    with Interrupts(say) as stop:
        kept = Kept(place, say, from_snapshot)
        with closing(kept):
            kept.stop = stop
            if kept.history.result is not None:
                result = api.finished(kept)
                outcome.mend(kept, result, figure=True)
                result.tracking_run_id = Tracker(place, store).run_id(place)
                tell(result, as_json)
                return
            say(f"{place}: {'from step ' + str(kept.steps) if kept.history.session else 'begins'}")
            with Tracker(place, store, later=True) as tracker:
                try:
                    result = _train(kept, where, stop, profile, tracker.begin)
                    outcome.write(kept, result, figure=True)
                except Stopped as stopped:
                    say(f"Stopped after step {stopped.step} of {kept.run.train.steps}. Go on with: {how}")
                    raise Interrupted(stop.signum or 2) from None
                except Interrupted:
                    say(f"Stopped at once; {kept.steps} steps are journalled. Go on with: {how}")
                    raise
                except Exception:
                    say(f"{kept.steps} of {kept.run.train.steps} steps are journalled. Go on with: {how}")
                    raise
                finally:
                    kept.close()
                    stop.be_patient(False)
                tracker.finish()
                result.tracking_run_id = tracker.run_id(place)
                outcome.write_result(kept, result)
                if tracker.missing(place):
                    name = public(str(store))
                    say(f"The tracking store {name} lacks something. Later: pnn track sync {place}")
        tell(result, as_json)


def _train(kept: Kept, where: Where, stop: Interrupts, profile: bool, begun: Callable[[], None]) -> Result:
    """Train a kept run; where workers are lost, go on with new ones from what is journalled. `begun`: after a step."""
    from orchestrator import api
    from orchestrator.pools import WorkerLost
    from orchestrator.profile import Profile
    from orchestrator.view import View, say

    run = kept.run
    devices = sum(s.tiles for s in run.network) * run.fleet.replicas
    failures = 0
    with pools(where) as new_pool:
        stop.be_patient()
        with View(f"{kept.path.name} by {run.method.name}", run.train.steps, devices) as view:

            def observe(seen: Progress) -> None:
                view(seen)
                begun()

            garbage.as_usual()
            while True:
                before = kept.steps
                try:
                    with closing(new_pool(run)) as pool:
                        profiled = Profile(pool) if profile else None
                        result = api.go_on(kept, pool, observe)
                        if profiled:
                            say(profiled.write(kept.path))
                        return result
                except WorkerLost as lost:
                    failures = 1 if kept.steps > before else failures + 1
                    if failures == RETRIES:
                        raise
                    say(f"{lost} Going on from step {kept.steps} with new workers.")


@contextmanager
def pools(where: Where) -> Iterator[Callable[[Run], Pool]]:
    """Makes pools: in process, or of actors of a cluster that is shut down by us if it is ours."""
    if where.local:
        from orchestrator.pools.in_process import InProcessPool

        yield InProcessPool
        return
    from orchestrator.pools.ray import Cluster

    with Cluster(where.address) as cluster:
        yield lambda run: cluster.pool(run, where.workers or WORKERS)


def evaluate_command(directory: str, where: Where, as_json: bool) -> None:
    """The same chips, the same parameters, measured again; the account is that of this evaluation."""
    import time

    from orchestrator import api
    from orchestrator.kept import Kept
    from orchestrator.view import say

    where.check()
    with ExitStack() as stack:
        stack.enter_context(Interrupts(say))
        kept = stack.enter_context(closing(Kept(Path(directory), say)))
        new_pool = stack.enter_context(pools(where))
        started = time.perf_counter()
        result = api.evaluate(kept, stack.enter_context(closing(new_pool(kept.run))))
    result.wall_s = time.perf_counter() - started
    result.directory = str(kept.path)
    result.tracking_run_id = Tracker(kept.path, tracking.resolve(where.tracking)).run_id(kept.path)
    tell(result, as_json)


def tell(result: Result, as_json: bool) -> None:
    """A few lines for a person on stderr, one object on stdout."""
    from orchestrator.view import number, say

    say(
        f"accuracy {100 * result.accuracy:.2f} % on the chips (worst {100 * result.accuracy_worst:.2f} %), "
        f"{100 * result.accuracy_promised:.2f} % promised by the nominal twin"
    )
    say(
        f"{number(result.passes)} passes, {number(result.calls)} calls, {number(result.writes)} writes, "
        f"{number(result.device_seconds)} device seconds, {number(result.joules)} joules, {result.wall_s:.1f} s"
    )
    say(f"parameters {result.parameters_sha256[:16]}, in {result.directory}")
    if as_json:
        sys.stdout.write(json.dumps(result.json()) + "\n")

"""Workers as Ray actors: the only module that imports ray.

A cluster is met at an address, or started by us: loopback, no dashboard, its own temporary folder and token, and shut
down by us however we leave. One call per worker and step; messages between workers stay in Ray's object store.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Ray reads these when it is imported. Without a word from the user every cluster has a token, and ours one of its own;
# and actors are no less urgent than other processes (Ray's own default starves them on a busy machine).
os.environ.setdefault("RAY_worker_niceness", "0")
if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

import ray

from orchestrator import garbage
from orchestrator.core.waves import WAVES
from orchestrator.pools import ClusterError, WorkerLost
from orchestrator.pools.sizes import payload_bytes
from orchestrator.runfile import Run

CLOSE_S = 20.0  # to make devices safe; after that the cluster ends them
DEADLINE_S = 1800.0  # Ray's own time-outs are effectively off: nobody waits longer than this for one answer
PREFIX = "pnn-"  # of the temporary folder of a cluster; the process that started it follows
LOSSES = 10  # of actors in one comparison, before it gives up
CPUS_PER_ACTOR = 0.001  # actors may exceed the cores; with whole CPUs the last of them would wait for ever


class _Actor:
    """One process: a worker of a sharded run, or a place where whole runs are trained."""

    def __init__(self) -> None:
        self._worker: Any = None

    def host(self, run: str, index: int, workers: int) -> tuple[None, None]:
        """Become worker `index` of `workers` of a run (JSON)."""
        garbage.rarely()
        from orchestrator.core.worker import Worker

        garbage.as_usual()
        self._worker = Worker(Run.model_validate_json(run), index, workers)
        return None, None

    def call(self, method: str, *arguments: Any) -> tuple[Any, Any]:
        """A method of the worker: (message for other workers, report for the coordinator)."""
        return getattr(self._worker, method)(*arguments)

    @ray.method(concurrency_group="waves")
    def wave(self, *arguments: Any) -> tuple[Any, Any]:
        """`call` of "wave": several at once, each in a thread, for most of them wait for devices."""
        return self._worker.wave(*arguments)

    def sees(self, path: str) -> bool:
        """Whether this process can write to a folder of the driver."""
        return os.access(path, os.W_OK)

    def train(self, path: str) -> Any:
        """The run that is kept in a folder, in process, from wherever it is; its result without parameters."""
        from orchestrator.compare import train_kept

        return train_kept(Path(path))


class Cluster:
    """A Ray cluster for the length of a `with` block."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address
        self._actors: list[Any] = []
        self._folder: str | None = None

    def __enter__(self) -> Cluster:
        logging.getLogger("ray").setLevel(logging.ERROR)
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
        try:
            if self.address:
                ray.init(address=self.address, **common)
            else:
                _remove_leftovers()
                self._folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")
                ray.init(
                    address="local",
                    include_dashboard=False,
                    num_cpus=os.cpu_count(),
                    object_store_memory=256 << 20,
                    _temp_dir=self._folder,
                    _node_ip_address="127.0.0.1",
                    **common,
                )
        except BaseException as error:
            self.__exit__()
            if not isinstance(error, Exception):
                raise
            where = f"at {self.address}" if self.address else "on this machine"
            raise ClusterError(
                f"Ray cannot be used {where}: {error}. Try --local (one process, the same bytes), or pnn doctor."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def met_at(self) -> str:
        """Where another process can meet it, as HOST:PORT."""
        return ray.get_runtime_context().gcs_address

    def actors(self, n: int) -> list[Any]:
        """`n` actors, never restarted: what they hold would be lost, and we must know. They keep what they compiled."""
        options: dict[str, Any] = {"num_cpus": CPUS_PER_ACTOR, "max_restarts": 0, "max_task_retries": 0}
        options["concurrency_groups"] = {"waves": WAVES}
        cls: Any = ray.remote(**options)(_Actor)
        self._actors += [cls.remote() for _ in range(n - len(self._actors))]
        return self._actors[:n]

    def pool(self, run: Run, workers: int) -> RayPool:
        """A pool of `workers` actors that hold one run; one pool at a time. Actors that are gone are replaced."""
        lost = [not _answers(actor) for actor in self._actors]
        self._actors = [a for a, gone in zip(self._actors, lost, strict=True) if not gone]
        return RayPool(run, self.actors(workers))

    def require_shared(self, path: Path) -> None:
        """Raises `ClusterError` if the actors do not see a folder of this process."""
        if not all(_get([a.sees.remote(str(path.absolute())) for a in self.actors(1)])):
            raise ClusterError(
                f"the nodes of {self.address} do not see {path.absolute()}, where the runs of a comparison are kept: "
                "give --out a folder that all of them share"
            )

    def train_all(self, runs: list[tuple[Run, Path]], workers: int) -> Iterator[tuple[int, Any]]:
        """Kept runs side by side, each in process inside one of `workers` actors; (index, result) as they end."""
        actors = list(self.actors(min(workers, len(runs))))
        waiting = list(range(len(runs)))
        kinds = [run.model_dump_json(exclude={"train": {"seed"}}) for run, _ in runs]
        compiled: dict[Any, list[str]] = {actor: [] for actor in actors}
        busy: dict[Any, tuple[Any, int]] = {}
        losses = 0
        while waiting or busy:
            idle = [a for a in actors if a not in [actor for actor, _ in busy.values()]]
            for actor in idle[: len(waiting)]:
                index = _choose(waiting, kinds, compiled[actor], [k for c in compiled.values() for k in c])
                waiting.remove(index)
                compiled[actor].append(kinds[index])
                busy[actor.train.remote(str(runs[index][1].absolute()))] = (actor, index)
            done, _ = ray.wait(list(busy), num_returns=1, timeout=DEADLINE_S)
            if not done:
                raise ClusterError(f"no run ended within {DEADLINE_S:g} s")
            actor, index = busy.pop(done[0])
            try:
                result = _get(done[0])
            except WorkerLost:
                losses += 1
                if losses > LOSSES:
                    raise
                waiting.insert(0, index)  # another worker goes on with it
                self._actors.remove(actor)
                actors = [*(a for a in actors if a != actor), self.actors(len(self._actors) + 1)[-1]]
                compiled.setdefault(actors[-1], [])
                continue
            yield index, result


class RayPool:
    """A worker in each actor; futures are Ray's object references."""

    def __init__(self, run: Run, actors: list[Any]) -> None:
        self.size = len(actors)
        self.wire_bytes = 0
        self._actors = actors
        text = run.model_dump_json(exclude_none=True)
        _get([a.host.remote(text, i, self.size) for i, a in enumerate(actors)])

    def call(self, worker: int, method: str, *arguments: Any) -> tuple[Any, Any]:
        """(message for other workers, report for the coordinator), as references."""
        self.wire_bytes += payload_bytes([a for a in arguments if not isinstance(a, ray.ObjectRef)])
        actor = self._actors[worker]
        if method == "wave":
            return tuple(actor.wave.options(num_returns=2).remote(*arguments))
        return tuple(actor.call.options(num_returns=2).remote(method, *arguments))

    def gather(self, reports: list[Any]) -> list[Any]:
        found = _get(reports)
        self.wire_bytes += payload_bytes(found)
        return found

    def before_devices(self, settle: Callable[[], None]) -> bool:
        """They are processes of their own, and cannot."""
        return False

    def close(self) -> None:
        """Make the devices safe, as far as their workers live; the actors belong to the cluster."""
        ray.wait([a.call.remote("close") for a in self._actors], num_returns=self.size, timeout=CLOSE_S)


def _answers(actor: Any) -> bool:
    try:
        ray.get(actor.sees.remote("/"), timeout=CLOSE_S)
        return True
    except ray.exceptions.RayError:
        return False


def _remove_leftovers() -> None:
    """Temporary folders of clusters whose process is gone: one that was killed could not remove its own."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}[0-9]*-*"):
        owner = path.name.split("-")[1]
        if path.is_dir() and path.stat().st_uid == os.getuid() and not Path("/proc", owner).exists():
            shutil.rmtree(path, ignore_errors=True)


def _choose(waiting: list[int], kinds: list[str], mine: list[str], begun: list[str]) -> int:
    """The run for an idle actor: of a kind that it has compiled, else of one that nobody has, else any (in order)."""
    for wanted in (lambda kind: kind in mine, lambda kind: kind not in begun):
        for index in waiting:
            if wanted(kinds[index]):
                return index
    return waiting[0]


def _get(references: Any) -> Any:
    """`ray.get` with our deadline; the error of a worker as it was raised there."""
    try:
        return ray.get(references, timeout=DEADLINE_S)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause or error) from None
    except ray.exceptions.RayActorError as error:
        told = str(error).strip().splitlines()[0]
        raise WorkerLost(f"A worker was lost ({told}). What was committed stands.") from None
    except ray.exceptions.GetTimeoutError:
        raise ClusterError(f"a worker did not answer within {DEADLINE_S:g} s") from None

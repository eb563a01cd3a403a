"""`pnn doctor`: is this machine ready? One line for each thing, with what to do if it is bad. It changes nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from orchestrator import cache, machine

PACKAGES = ("ray", "jax", "jaxlib", "flax", "optax", "numpy", "pydantic", "mlflow", "safetensors")
RAY = (2, 52)  # the first with tokens
UI_PORT = 5000
WRITTEN, APPENDS = 64 << 20, 50
GiB, MiB = 2**30, 2**20
UNWRITABLE = "its folder cannot be written: name one in JAX_COMPILATION_CACHE_DIR, or every run compiles anew"


class Line(NamedTuple):
    """state: "ok", "note" (worth knowing), "BAD" (do something)."""

    state: str
    what: str
    do: str = ""


def doctor_command(out: str | None = None) -> None:
    """Print every line; exit code 1 if something is bad. `out`: the folder where runs will be written."""
    wrong = 0
    for check in (_versions, _machine, _cache, _clusters, _sockets, _data, lambda: _disk(out)):
        for line in check():
            wrong += line.state == "BAD"
            print(f"{line.state:4} {line.what}" + (f": {line.do}" if line.do else ""), flush=True)
    if wrong:
        print(f"{wrong} {'thing is' if wrong == 1 else 'things are'} bad.")
        raise SystemExit(1)


def _versions() -> Iterator[Line]:
    new = sys.version_info >= (3, 11)
    yield Line("ok" if new else "BAD", f"Python {platform.python_version()}", "" if new else "3.11 or newer is needed")
    for name in PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Line("BAD", name, "is not installed: make train installs it")
            continue
        old = name == "ray" and tuple(map(int, re.findall(r"\d+", version)[:2])) < RAY
        yield Line(*(("BAD", f"ray {version}", "2.52 or newer is needed") if old else ("ok", f"{name} {version}")))
    yield Line("note", "on a cluster every node needs the same Ray and the same Python, to the last figure")


def _machine() -> Iterator[Line]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Line("ok", f"{cores} cores")
    total, free = machine.total_bytes(), machine.available_bytes()
    if total is None or free is None:
        yield Line("note", "memory: this system does not tell how much there is")
        return
    limits = [limit for limit, _ in machine.control_groups()]
    limited = f", limited by a control group to {min(limits) / GiB:.1f} GiB" if limits else ""
    what = f"memory: {free / GiB:.1f} GiB available of {total / GiB:.1f} GiB{limited}"
    little = free < GiB
    yield Line("BAD" if little else "ok", what, "a worker takes about 0.3 GiB: close something" if little else "")


def _cache() -> Iterator[Line]:
    """Where compiled code is kept. JAX bounds what it keeps itself; a folder that the user named is the user's."""
    named = "JAX_COMPILATION_CACHE_DIR" in os.environ
    folder = cache.folder()
    if folder is None:
        what = "compiled code is not kept between runs"
        off = "as JAX_ENABLE_COMPILATION_CACHE or JAX_COMPILATION_CACHE_DIR says: every run compiles anew"
        yield Line("note", what, off if named or "JAX_ENABLE_COMPILATION_CACHE" in os.environ else UNWRITABLE)
    elif not cache.writable(folder):
        yield Line("note", f"compiled code cannot be kept in {folder}", "it cannot be written: every run compiles anew")
    else:
        yield Line("ok", f"compiled code is kept in {folder}, {cache.size(folder) / MiB:,.0f} MiB")


class Process(NamedTuple):
    """A process of Ray. folder: of the cluster that we started; owner: the process that did."""

    pid: int
    name: str
    folder: str | None
    owner: int | None


def _ray_processes() -> list[Process]:
    """The servers of all clusters on this machine, and the workers of the raylets, as far as /proc shows them."""
    found = []
    for path in sorted(Path("/proc").glob("[0-9]*"), key=lambda p: int(p.name)):
        try:
            arguments = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        name = Path(arguments[0]).name
        if name in ("raylet", "gcs_server") or arguments[0].startswith("ray::"):
            ours = re.search(re.escape(tempfile.gettempdir()) + r"/pnn-(\d+)-[^/\0]+", "\0".join(arguments))
            found.append(Process(int(path.name), name, ours and ours[0], int(ours[1]) if ours else None))
    return found


def _clusters() -> Iterator[Line]:
    if not Path("/proc").is_dir():
        yield Line("note", "Ray clusters: this system does not list its processes")
        return
    servers = [p for p in _ray_processes() if p.name in ("raylet", "gcs_server")]
    lost = [p for p in servers if p.owner and not Path("/proc", str(p.owner)).exists()]
    others = [p for p in servers if p not in lost]
    if others:
        yield Line("note", f"Ray is running here: {', '.join(f'{p.name} {p.pid}' for p in others)}")
    if lost:
        pids = " ".join(str(p.pid) for p in lost)
        what = f"Ray processes whose run is gone: {', '.join(f'{p.name} {p.pid}' for p in lost)}"
        yield Line("BAD", what, f"they hold memory; end them with: kill {pids}")
    left = []
    for path in Path(tempfile.gettempdir()).glob("pnn-*-*"):
        owner = re.match(r"pnn-(\d+)-", path.name)
        if owner and path.is_dir() and not Path("/proc", owner[1]).exists():
            left.append(str(path))
    if left:
        yield Line("BAD", f"{len(left)} temporary folders of runs that are gone", f"rm -r {' '.join(sorted(left))}")
    if not lost and not left:
        yield Line("ok", "no Ray cluster is left over from a run that is gone")


def _sockets() -> Iterator[Line]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", UI_PORT))
            yield Line("ok", f"port {UI_PORT} is free for pnn ui")
        except OSError:
            yield Line("note", f"port {UI_PORT} is in use", "pnn ui needs --port with another one")
    wide = _listening_wide()
    open_to = [f"{port} ({p.name} {p.pid})" for p in _ray_processes() for port in _ports(p.pid, wide)]
    if open_to:
        do = "other machines reach them; leave RAY_AUTH_MODE=token as it is, or close them with a firewall"
        yield Line("note", f"Ray listens beyond this machine, on the ports {', '.join(open_to)}", do)
    else:
        yield Line("ok", "no process of Ray listens beyond this machine")


def _listening_wide() -> dict[str, int]:
    """{inode: port} of the TCP sockets that listen on more than the loopback."""
    found = {}
    for name in ("tcp", "tcp6"):
        try:
            rows = Path("/proc/net", name).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            _, local, _, state, *_, inode = row.split()[:10]
            host, port = local.split(":")
            loopback = (
                host.endswith("7F") if name == "tcp" else host in (f"{'0' * 24}01000000", f"{'0' * 16}FFFF00000100007F")
            )
            if state == "0A" and not loopback:
                found[inode] = int(port, 16)
    return found


def _ports(pid: int, wide: dict[str, int]) -> list[int]:
    """Those of the ports that a process holds."""
    found = set()
    try:
        for path in Path("/proc", str(pid), "fd").iterdir():
            held = re.match(r"socket:\[(\d+)\]", os.readlink(path))
            if held and held[1] in wide:
                found.add(wide[held[1]])
    except OSError:  # it ended, or is not ours to look at
        pass
    return sorted(found)


def _data() -> Iterator[Line]:
    from orchestrator.data import FOLDERS, LOADERS, DataError, load

    root = os.environ.get("PNN_DATA")
    if root is None:
        yield Line("note", "PNN_DATA is not set", "data sets that do not ship are looked for in the folder it names")
    elif not Path(root).is_dir():
        yield Line("BAD", f"PNN_DATA = {root}", "is no folder; name the one that holds the folders of the data sets")
    for name in LOADERS:
        folder = Path(root or "", FOLDERS.get(name, ""))
        there = name not in FOLDERS or (root is not None and folder.is_dir())
        try:
            data = load(name)
        except DataError as error:
            if there:
                yield Line("BAD", f"data set {name} is incomplete", f"{error}{_sizes(folder)}")
            else:
                yield Line(
                    "note", f"data set {name} is absent", f"it belongs into {FOLDERS[name]}/ in the folder PNN_DATA"
                )
            continue
        where = f"in {folder}" if name in FOLDERS else "embedded"
        sizes = f"{len(data.x_train):,} training and {len(data.x_test):,} test samples"
        yield Line("ok", f"data set {name}, {where}: {sizes}")


def _sizes(folder: Path) -> str:
    try:
        files = [f"{p.name} {p.stat().st_size:,} bytes" for p in sorted(folder.iterdir()) if p.is_file()]
    except OSError:
        files = []
    return f" There are: {', '.join(files)}." if files else ""


def _disk(out: str | None) -> Iterator[Line]:
    """Speed of the disk that runs are written to; the files of the test have no name, so none can be left."""
    wanted = Path(out or "runs").absolute()
    folder = next(p for p in [wanted, *wanted.parents] if p.exists())
    if not folder.is_dir():
        yield Line("BAD", f"{folder} is no folder", "runs are written there: name another one with --out")
        return
    free = shutil.disk_usage(folder).free
    little = free < GiB
    what = f"{free / GiB:,.1f} GiB free on the disk of {folder}"
    yield Line("BAD" if little else "ok", what, "runs are written there: make room" if little else "")
    try:
        speed, sync = _timed(folder, min(WRITTEN, free // 4))
    except OSError as error:
        yield Line("BAD", f"nothing can be written to {folder} ({error})", "name another folder with --out")
        return
    yield Line("ok", f"it writes {speed / MiB:,.0f} MiB/s, and makes a record of a step last in {1000 * sync:.2f} ms")
    if sync > 0.05:
        yield Line("note", "that is slow", "every step waits for it; a disk of this machine would be faster")


def _timed(folder: Path, size: int) -> tuple[float, float]:
    """(bytes per second of one long write with fsync, median seconds of a small append with fdatasync)"""
    block = os.urandom(MiB)  # a disk that compresses gets no easy bytes
    with tempfile.TemporaryFile(dir=folder) as file:
        started = time.perf_counter()
        for _ in range(max(size // MiB, 1)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        speed = max(size, MiB) / (time.perf_counter() - started)
    sync, taken = getattr(os, "fdatasync", os.fsync), []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(APPENDS):
            started = time.perf_counter()
            file.write(block[:512])
            sync(file.fileno())
            taken.append(time.perf_counter() - started)
    return speed, statistics.median(taken)

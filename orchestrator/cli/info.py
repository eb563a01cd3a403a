"""`pnn list`, `pnn doctor` and `pnn schema`."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
from pathlib import Path

from algorithms import registry as methods
from physics import registry as substrates


def list_command() -> None:
    """Names with the first line of their file; nothing is imported."""
    for title, names, own in (
        ("substrates", substrates.names(), substrates.SUBSTRATES),
        ("methods", methods.names(), methods.METHODS),
    ):
        print(f"{title}:")
        for name in names:
            told = _first_line(own[name].partition(":")[0]) if name in own else "from another package"
            print(f"  {name:16} {told}")
    from orchestrator.data import LOADERS

    root = os.environ.get("PNN_DATA")
    print("data sets:")
    for name in LOADERS:
        where = "ships with the package" if name == "digits" else f"in PNN_DATA/{name}"
        there = "" if name == "digits" or (root and (Path(root) / name).is_dir()) else " (not found)"
        print(f"  {name:16} {where}{there}")


def _first_line(module: str) -> str:
    """First line of a module's docstring, read from its source."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    return (ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or "").split("\n")[0]


def doctor_command() -> None:
    """One line for each thing that could be wrong. Exit code 1 if one is."""
    wrong = 0

    def line(good: bool, what: str, do: str = "") -> None:
        nonlocal wrong
        wrong += not good
        print(f"{'ok ' if good else 'BAD'} {what}" + (f": {do}" if do and not good else ""))

    line(sys.version_info >= (3, 11), f"Python {platform.python_version()}", "3.11 or newer is needed")
    for name in ("ray", "jax", "jaxlib", "flax", "optax", "numpy", "pydantic"):
        try:
            line(True, f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            line(False, name, "not installed: make train installs it")
    print("    on a cluster every node needs the same Ray and the same Python patch version")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    line(True, f"{cores} cores")
    if hasattr(os, "sysconf"):
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        line(free > 1, f"{free:.1f} GiB of memory free", "a worker takes about 0.3 GiB: close something")
    disk = shutil.disk_usage(".").free / 2**30
    line(disk > 1, f"{disk:.1f} GiB free on the disk of this folder", "runs are written here: make room")
    root = os.environ.get("PNN_DATA")
    if root is None:
        line(True, "PNN_DATA is not set: only the embedded digits are there")
    else:
        line(Path(root).is_dir(), f"PNN_DATA = {root}", "is no folder")


def schema_command() -> None:
    """The schema of run files; the options of plug-ins stand under `substrates` and `methods`."""
    from pydantic import TypeAdapter

    from orchestrator.runfile import Run

    schema = Run.model_json_schema()
    for key, names, load in (
        ("substrates", substrates.names(), substrates.load),
        ("methods", methods.names(), methods.load),
    ):
        schema[key] = {}
        for name in names:
            options = TypeAdapter(load(name)).json_schema()
            for hidden in ("n_in", "n_out", "decode_as"):
                options.get("properties", {}).pop(hidden, None)
            options.pop("required", None)
            schema[key][name] = options
    print(json.dumps(schema, indent=1))

"""The folder of a run: its run file, its final parameters, its result and its figure. No pickle anywhere."""

from __future__ import annotations

import json
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from orchestrator import checks
from orchestrator.api import Result
from orchestrator.problems import Problem, RunFileError, validate
from orchestrator.runfile import Run

Tree = Any
MAX_BYTES = 1 << 34


def create(out: str | None, stem: str) -> Path:
    """A new, empty folder: `out`, or `runs/STEM-DATE-TIME`. Raises `RunFileError` if `out` is in use."""
    if out is None:
        base = Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
        path = base
        for i in range(2, 1000):
            try:
                path.mkdir(parents=True)
                return path
            except FileExistsError:
                path = base.with_name(f"{base.name}-{i}")
    path = Path(out or "runs")
    check(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def check(path: Path) -> None:
    """Raises `RunFileError` if a run cannot be written to `path`."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        problem = Problem(("--out",), str(path), "is in use", allowed="a folder that is new or empty")
        raise RunFileError([problem], "command line", "")
    parent = next(p for p in [path, *path.absolute().parents] if p.exists())
    if not os.access(parent, os.W_OK):
        problem = Problem(("--out",), str(path), f"cannot be made: {parent} is not writable")
        raise RunFileError([problem], "command line", "")


def save(path: Path, run: Run, result: Result) -> None:
    """Write run.json, parameters.npz and result.json."""
    path.mkdir(parents=True, exist_ok=True)
    result.directory = str(path)
    (path / "run.json").write_text(run.model_dump_json(exclude_none=True, indent=1) + "\n")
    np.savez(path / "parameters.npz", **flatten(result.params))
    (path / "result.json").write_text(json.dumps(result.json()) + "\n")


def load(path: Path) -> tuple[Run, dict[tuple[int, int, int], Tree]]:
    """(run, parameters) of a finished run. Raises `RunFileError` if something is missing or damaged."""
    problems, run = [], None
    for name in ("run.json", "parameters.npz"):
        if not (path / name).is_file():
            problems.append(Problem((name,), str(path), "is missing: not the folder of a finished run", unknown=True))
    if problems:
        raise RunFileError(problems, str(path), "")
    file = str(path / "run.json")
    try:
        tree = json.loads((path / "run.json").read_text())
    except ValueError as error:
        raise RunFileError([Problem(("run.json",), file, f"is not JSON: {error}")], file, "") from None
    run = validate(Run, tree, file, "", more=checks.problems)
    try:
        with np.load(path / "parameters.npz", allow_pickle=False) as archive:
            params = unflatten({name: archive[name] for name in archive.files})
    except (ValueError, OSError, zipfile.BadZipFile, KeyError) as error:
        problem = Problem(("parameters.npz",), str(path), f"is damaged: {error}", unknown=True)
        raise RunFileError([problem], str(path / "parameters.npz"), "") from None
    _check_shapes(run, params, path)
    return run, params


def _check_shapes(run: Run, params: dict, path: Path) -> None:
    from orchestrator.core import task
    from orchestrator.core.plan import build, shapes

    data = task.dataset(run.data)
    plan = build(run, data.x_train.shape[1], data.n_classes)
    expected = {
        (copy, s.index, t): shapes(model)
        for copy in range(plan.copies)
        for s in plan.stages
        for t, model in enumerate(s.tiles)
    }
    want = {name: leaf.shape for name, leaf in flatten(expected).items()}
    have = {name: leaf.shape for name, leaf in flatten(params).items()}
    if want != have:
        wrong = sorted(k for k in {*want, *have} if want.get(k) != have.get(k))
        problem = Problem(("parameters.npz",), ", ".join(wrong), "do not fit the network of run.json")
        raise RunFileError([problem], str(path / "parameters.npz"), "")


def flatten(params: dict[tuple[int, int, int], Tree]) -> dict[str, Any]:
    """{(copy, stage, tile): tree} -> {"copy/stage/tile/part/name": array}"""
    out = {}
    for name, tree in params.items():
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            out["/".join([*map(str, name), *(str(p.key) for p in path)])] = leaf
    return out


def unflatten(arrays: dict[str, np.ndarray]) -> dict[tuple[int, int, int], Tree]:
    """The inverse of `flatten`; every tile has its "device" and its "digital" part, empty or not."""
    out: dict[tuple[int, int, int], Tree] = {}
    for name, value in arrays.items():
        copy, stage, tile, *path = name.split("/")
        node = out.setdefault((int(copy), int(stage), int(tile)), {"device": {}, "digital": {}})
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = value
    return out

"""Run files: TOML read into `Run`, with `--set` applied and all that is wrong told at once, before anything starts."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any, Self

from algorithms import registry as methods
from orchestrator import spec
from orchestrator.problems import Problem, RunFileError, read_toml, validate


class Run(spec.Run):
    """One run: `Run.load(path)`, or `Run.build(tree)` with the same names."""

    @classmethod
    def load(cls, path: str | Path, sets: list[str] | tuple[str, ...] = ()) -> Self:
        """Read a run file and apply `--set key=value`. Raises `RunFileError` with every problem found."""
        text, tree = read_toml(path)
        return cls.build(tree, sets, file=str(path), text=text)

    @classmethod
    def build(
        cls, tree: dict[str, Any], sets: list[str] | tuple[str, ...] = (), *, file: str = "run", text: str = ""
    ) -> Self:
        """From a tree of plain values. Raises `RunFileError`."""
        from orchestrator import checks  # plans are built with JAX

        base = validate(cls, tree, file, text, more=checks.problems)
        if not sets:
            return base
        changed, origin = apply_sets(tree, sets)
        return validate(cls, changed, file, text, origin, more=checks.problems)


def fields_of(tree: dict[str, Any], sets: list[str] | tuple[str, ...] = ()) -> spec.Run | None:
    """The fields of a run, quickly: types are checked, but neither plug-ins nor data are looked at. None: wrong."""
    try:
        return spec.Run.model_validate(apply_sets(tree, sets)[0] if sets else tree)
    except ValueError:
        return None


def apply_sets(tree: dict[str, Any], sets: list[str] | tuple[str, ...]) -> tuple[dict[str, Any], dict]:
    """The tree with `--set`s applied (method.name first, the others win), and which fields they set."""
    tree, origin, problems = copy.deepcopy(tree), {}, []
    pairs = []
    for item in sets:
        key, eq, value = item.partition("=")
        if not eq or not key:
            problems.append(Problem(("--set",), item, "is not KEY=VALUE", example="--set train.steps=100"))
            continue
        pairs.append((tuple(key.strip().split(".")), _literal(value.strip()), item))
    pairs.sort(key=lambda p: p[0] != ("method", "name"))
    for path, value, item in pairs:
        if path == ("method", "name"):
            if value not in methods.names():
                problems.append(Problem(path, value, "is not a method", allowed=methods.names(), source=item))
                continue
            tree = spec.with_method(tree, value)
        node: Any = tree
        for i, part in enumerate(path[:-1]):
            if isinstance(node, list):
                if not part.isdigit() or int(part) >= len(node):
                    wrong = f"has no entry {part}"
                    allowed = [str(i) for i in range(len(node))]
                    problems.append(Problem(path[:i], None, wrong, allowed, unknown=True, source=item))
                    node = None
                    break
                node = node[int(part)]
            else:
                if i == 0 and part not in Run.model_fields:
                    allowed = list(Run.model_fields)
                    problems.append(Problem((part,), None, "is not a field", allowed, unknown=True, source=item))
                    node = None
                    break
                node = node.setdefault(part, {})
        if isinstance(node, dict):
            node[path[-1]] = value
            origin[tuple(int(p) if p.isdigit() else p for p in path)] = item
    if problems:
        raise RunFileError(problems, "--set", "")
    return tree, origin


def _literal(text: str) -> Any:
    """A TOML value, or else a plain string: `--set method.name=dfa` needs no quotes."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text

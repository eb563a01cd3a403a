"""`pnn list` and `pnn schema`."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
from pathlib import Path

from algorithms import registry as methods
from orchestrator.cli.doctor import doctor_command as doctor_command
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
    from orchestrator.data import FOLDERS, LOADERS

    root = os.environ.get("PNN_DATA")
    print("data sets:")
    for name in LOADERS:
        folder = FOLDERS.get(name)
        where = f"in PNN_DATA/{folder}" if folder else "ships with the package"
        there = "" if not folder or (root and (Path(root) / folder).is_dir()) else " (not found)"
        print(f"  {name:16} {where}{there}")


def _first_line(module: str) -> str:
    """First line of a module's docstring, read from its source."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    return (ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or "").split("\n")[0]


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

"""Tracking of runs in MLflow, as a projection of their journals by a process of its own: it cannot hurt training.

Nothing heavy is imported here; `store` is the only module that imports MLflow.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from orchestrator.problems import Problem, RunFileError, nearest
from orchestrator.public import public

SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
ALLOWED = (
    "sqlite:///FILE.db",
    "FILE.db",
    "postgresql://...",
    "mysql://...",
    "mssql://...",
    "http://HOST:PORT",
    "https://HOST",
    "databricks",
    "none",
)


def resolve(option: str | None) -> str | None:
    """The URI of the tracking store: of the option, PNN_TRACKING, MLFLOW_TRACKING_URI, or runs/mlflow.db; None: none.

    Raises `RunFileError` if MLflow cannot use it.
    """
    if option is not None:
        return _checked(option.strip(), "--tracking", "command line")
    for name in ("PNN_TRACKING", "MLFLOW_TRACKING_URI"):
        if told := os.environ.get(name, "").strip():
            return _checked(told, name, "environment")
    return f"sqlite:///{Path.cwd() / 'runs' / 'mlflow.db'}"


def _checked(told: str, name: str, place: str) -> str | None:
    if told == "none":
        return None
    scheme, colon, rest = told.partition(":")
    kind = scheme.partition("+")[0] if colon else ""
    if told == "databricks" or (kind in ("http", "https", "databricks") and rest.strip("/")):
        return told
    if kind in ("postgresql", "mysql", "mssql") and rest.startswith("//") and rest.strip("/"):
        return told
    path = sqlite_path(told) or (Path(told) if not colon and told.endswith(".db") else None)
    if path is not None and "?" not in str(path):
        return f"sqlite:///{path.expanduser().absolute()}"
    near = _near(kind, told, rest)
    problem = Problem((name,), public(told), "is no tracking store", allowed=ALLOWED, near=near)
    raise RunFileError([problem], place, "")


def _near(kind: str, told: str, rest: str) -> str | None:
    """The form that was probably meant."""
    if "?" in told:
        return None
    if kind == "file" or (not kind and ("/" in told or told == "mlruns")):
        return (
            f"sqlite:///{Path(re.sub('^//+', '/', rest) or told) / 'mlflow.db'}"  # a folder, MLflow's old kind of store
        )
    if not kind and Path(told).suffix:
        return f"sqlite:///{told}"
    if re.match(r"[\w.-]+:\d+(/|$)", told):
        return f"http://{told}"
    if kind == "sqlite":
        return "sqlite:///runs/mlflow.db"
    close = {"postgres": "postgresql", "mariadb": "mysql"}.get(kind) or nearest(kind or told, (*SCHEMES, "none"))
    return public(f"{close}:{rest}") if kind and close and close != kind else None


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other, and for one in memory, which no second process can read."""
    match = re.fullmatch(r"sqlite(?:\+\w+)?:///(.+)", uri)
    return Path(match[1]) if match and match[1] != ":memory:" else None

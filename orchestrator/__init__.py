"""The orchestrator: run files, plans, workers, pools, the coordinator and the command line.

from orchestrator import Run, train
result = train(Run.load("examples/digits.toml"))
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import cache

# Before any of them is imported: no usage statistics leave this machine, and XLA gets TWO threads per process, on every
# machine. Large sums depend on the number of threads: as many as cores, and equal runs would differ in the last bits.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ["NPROC"] = "2"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    # compiles a third faster than the default level and runs as fast: the time is in matrix products and random bits
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=1".strip()
cache.settle()

if TYPE_CHECKING:
    from orchestrator.api import Result as Result
    from orchestrator.api import train as train
    from orchestrator.runfile import Run as Run

__version__ = "0.1.0"


def _check_siblings() -> None:
    """`physics` and `algorithms` are generic names: fail if others than those shipped with this package are found."""
    home = Path(__file__).resolve().parent.parent
    for name in ("physics", "algorithms"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != home / name:
            raise ImportError(f"orchestrator was shipped with {home / name}, but Python finds {found or 'none'}")


_check_siblings()


def __getattr__(name: str) -> Any:
    """`Run` and `train` are imported when they are first used: `pnn --help` must answer at once."""
    if name == "Run":
        from orchestrator.runfile import Run

        return Run
    if name in ("train", "Result"):
        from orchestrator import api

        return getattr(api, name)
    raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")

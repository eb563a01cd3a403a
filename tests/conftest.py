"""Shared by all tests: the environment that the package sets, small runs, one Ray cluster for the whole session."""

import copy
import os
import shutil
import sys
import tempfile
import warnings
from typing import Any

import pytest

# Compiling takes most of the time of these tests, so they compile with less optimisation; what they assert holds for
# any. `make train` shows the same promises with the code that users run.
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 " + os.environ.get("XLA_FLAGS", "")
# What one process has compiled, the others load: commands and actors that tests start are most of their time.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-for-tests-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

from hypothesis import HealthCheck, settings

from orchestrator import Run  # sets what else JAX and Ray read from the environment

# On a shared machine a slow example says nothing.
settings.register_profile("pnn", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
settings.load_profile("pnn")

CROSSBAR = {"substrate": "crossbar", "size": 16, "decode": "tanh"}
LAST = {"substrate": "crossbar", "size": 10}
LOCAL = [
    {**CROSSBAR, "trained": False},
    {"substrate": "digital", "size": 16, "decode": "relu"},
    {**CROSSBAR, "trained": False, "encode": "peak"},
    {"substrate": "digital", "size": 10, "decode": "relu"},
]
BASE: dict[str, Any] = {
    "network": [CROSSBAR, LAST],
    "fleet": {"mismatch": 0.15, "stuck_off": 0.01, "stuck_full": 0.01, "write_s": 0.001},
    "train": {"steps": 3, "batch": 64, "rows": 4, "chunk": 16, "evaluate_every": 2, "evaluate_samples": 256},
}
METHODS = {
    "spsa": {"name": "spsa", "probes": 8},
    "es": {"name": "es", "probes": 8},
    "low-rank-es": {"name": "low-rank-es", "probes": 8, "rank": 2},
    "one-sided-spsa": {"name": "one-sided-spsa", "probes": 15},
    "1.5-spsa": {"name": "1.5-spsa", "probes": 8},
    "mezo": {"name": "mezo", "probes": 8},
    "finite-differences": {"name": "finite-differences", "probes": 15},
    "mgd": {"name": "mgd"},
    "pgpe": {"name": "pgpe", "probes": 8},
    "population": {"name": "population", "population": 16},
    "physics-aware": {"name": "physics-aware"},
    "in-silico": {"name": "in-silico"},
    "in-silico-noise": {"name": "in-silico-noise"},
    "dfa": {"name": "dfa"},
    "phyll": {"name": "phyll"},
    "node-perturbation": {"name": "node-perturbation", "probes": 3},
    "forward-gradient": {"name": "forward-gradient", "probes": 3},
    "feedback-alignment": {"name": "feedback-alignment"},
    "augmented-dfa": {"name": "augmented-dfa"},
    "forward-forward": {"name": "forward-forward"},
    "self-contrastive": {"name": "self-contrastive"},
    "local-readout": {"name": "local-readout"},
}


def some_slow(cases: Any, quick: Any) -> list[Any]:
    """All cases for `parametrize`; those that are not among the quick ones are marked slow."""
    return [pytest.param(case, marks=[] if case in quick else pytest.mark.slow) for case in cases]


def tree_of(method: str, **changes: Any) -> dict[str, Any]:
    """A small run by a method; `train`, `fleet` are merged, anything else replaces."""
    tree = copy.deepcopy({**BASE, "method": METHODS.get(method, {"name": method})})
    if method == "self-contrastive":  # which needs another one to answer
        tree["network"][-1]["method"] = "dfa"
    if method == "phyll":
        tree["network"] = copy.deepcopy(LOCAL)
    if method == "node-perturbation":
        tree["network"][1]["encode"] = "clip"  # what is jittered may leave the range of the inputs
    for key, value in changes.items():
        tree[key] = {**tree[key], **value} if key in ("train", "fleet", "method") else value
    return tree


@pytest.fixture(scope="module", autouse=True)
def forget_what_was_compiled():
    """Every compiled program holds maps of memory, of which a process has a limited number; thousands end it."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture
def small():
    """small(method, **changes) -> Run"""
    return lambda method, **changes: Run.build(tree_of(method, **changes))


@pytest.fixture
def small_tree():
    """small_tree(method, **changes) -> the tree of a run file"""
    return tree_of


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start Ray before the first test, if one needs it.

    Ray forks to exec at once. JAX, whose threads a test module may have started on import, warns of any fork; the
    program itself starts Ray first.
    """
    if any(item.get_closest_marker("ray") for item in session.items) and not session.config.option.collectonly:
        from orchestrator.pools.ray import Cluster

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            session.config._pnn_cluster = Cluster().__enter__()


def pytest_sessionfinish(session: pytest.Session) -> None:
    cluster = getattr(session.config, "_pnn_cluster", None)
    if cluster is not None:
        cluster.__exit__()
    shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Any:
    """The one cluster of the session."""
    return pytestconfig._pnn_cluster

"""How a run starts: what is compiled when, and what a second start finds again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jax import monitoring

import physics.driven
import physics.simulated
from orchestrator import cache
from orchestrator.core import commit, kernels, keys, task, tile, trees
from orchestrator.core.coordinator import Coordinator
from orchestrator.pools.in_process import InProcessPool
from tests.conftest import METHODS, some_slow

ROOT = Path(__file__).parents[2]
MODULES = (commit, kernels, keys, task, tile, trees, physics.simulated, physics.driven)
OURS = {f"jit({v.__name__})" for m in MODULES for v in vars(m).values() if hasattr(v, "__wrapped__")}
COUNT = """
import atexit, collections, json
from jax import monitoring
counted = collections.Counter()
monitoring.register_event_listener(lambda event, **more: counted.update([event.rpartition("/")[2]]))
from orchestrator.cli import main
atexit.register(lambda: print(json.dumps(counted)))
main()
"""


@pytest.fixture(scope="module")
def compiled():
    """The names of all that JAX compiles, as they come."""
    names: list[str] = []

    def listen(event, seconds, **more):
        if event.endswith("backend_compile_duration"):
            names.append(more["fun_name"])

    monitoring.register_event_duration_secs_listener(listen)
    return names


@pytest.mark.parametrize(
    "method", some_slow(METHODS, quick=["spsa", "low-rank-es", "dfa", "phyll", "node-perturbation"])
)
def test_nothing_is_compiled_after_the_first_steps_and_nothing_is_eager(method, small, compiled):
    """An operation outside of `jit` is compiled under its own name, such as `jit(broadcast_in_dim)`."""
    run = small(method, train={"steps": 100, "seed": 77, "batch": 48})
    compiled.clear()
    coordinator = Coordinator(run, InProcessPool(run))
    coordinator.step(0)
    coordinator.step(1)  # commits the first
    assert set(compiled) <= OURS
    compiled.clear()
    for step in range(2, 6):
        coordinator.step(step)
    assert compiled == []


@pytest.mark.parametrize("method", some_slow(["spsa", "dfa"], quick=["spsa"]))
def test_a_second_start_compiles_nothing(method, tmp_path, surroundings):
    run = ROOT / "examples" / "tiny.toml"
    options = ["--local", "--set", f"method.name={method}", "--set", "train.steps=3"]

    def train(out):
        command = [sys.executable, "-c", COUNT, "train", str(run), "--out", str(tmp_path / out), *options]
        environment = {**surroundings, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=250, check=True)
        counted = json.loads(done.stdout.strip().splitlines()[-1])
        return counted, json.loads((tmp_path / out / "result.json").read_text())["parameters_sha256"]

    (first, sha256), (again, sha256_again) = train("a"), train("b")
    assert first["cache_misses"] > 10 and sha256 == sha256_again
    assert again["cache_hits"] > 10 and "cache_misses" not in again


# --- where it is kept -------------------------------------------------------------------------------------------------


def settled(monkeypatch, **environment):
    for name in [n for n in os.environ if n.startswith("JAX_") and "CACHE" in n]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    cache.settle()
    return cache.folder()


def test_it_is_kept_in_the_cache_of_the_user_unless_told_otherwise(monkeypatch, tmp_path):
    home = tmp_path / "xdg"
    assert settled(monkeypatch, XDG_CACHE_HOME=home) == home / "pnn" / "compiled"
    assert not home.exists(), "nothing is made before there is something to keep"
    assert os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] == str(cache.LIMIT)
    assert not [n for n in cache.without(dict(os.environ)) if n.startswith("JAX_") and "CACHE" in n]
    assert settled(monkeypatch, JAX_COMPILATION_CACHE_DIR=tmp_path / "mine") == tmp_path / "mine"
    assert "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    assert settled(monkeypatch, JAX_ENABLE_COMPILATION_CACHE="false") is None
    assert settled(monkeypatch, JAX_ENABLE_COMPILATION_CACHE="true", JAX_COMPILATION_CACHE_DIR="") is None


def test_a_cache_that_cannot_be_made_is_none(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    assert settled(monkeypatch, XDG_CACHE_HOME=tmp_path / "file") is None
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ

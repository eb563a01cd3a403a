"""What a run needs is estimated from shapes, and refused before anything is allocated if it cannot fit."""

import json
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from orchestrator import Run, machine
from orchestrator.core import memory
from orchestrator.core.coordinator import Coordinator
from orchestrator.core.plan import build
from orchestrator.core.task import dataset
from orchestrator.pools.in_process import InProcessPool
from orchestrator.problems import RunFileError

ROOT = Path(__file__).parents[2]
HUGE = 2**31 - 1


def crossbar(size, **options):
    return {"substrate": "crossbar", "size": size, **options}


def refusal(**tree):
    started = time.perf_counter()
    with pytest.raises(RunFileError) as caught:
        Run.build(tree)
    assert time.perf_counter() - started < 5
    return str(caught.value)


def test_a_million_by_a_million_is_refused_at_once_and_jax_stays_asleep():
    """In a process of its own with no more memory than it needs to start; Ray is started after this."""
    code = """
import time, resource
from orchestrator import Run
from orchestrator.problems import RunFileError
import orchestrator.checks
from jax._src import xla_bridge
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
stage = {"substrate": "crossbar", "size": 10**6}
started = time.perf_counter()
try:
    Run.build({"network": [stage, stage, {**stage, "size": 10}]})
except RunFileError as error:
    print(error)
print(time.perf_counter() - started)
assert not xla_bridge.backends_are_initialized()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    *told, seconds = done.stdout.strip().split("\n")
    assert float(seconds) < 2, "well under a second on a quiet machine"
    assert told[0].startswith("run: network[0].size = 1000000 needs about ") and "; allowed: up to about " in told[0]


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"network": [crossbar(HUGE)] * 3 + [crossbar(10)]}, "network[2].size = 2147483647 needs about"),
        ({"network": [{"substrate": "oscillators", "size": 10, "nodes": 10**6}]}, "network[0].nodes = 1000000 needs"),
        ({"network": [crossbar(10)], "method": {"probes": 10**9}}, "method.probes = 1000000000 should be less than"),
        ({"network": [crossbar(10)], "train": {"batch": HUGE}}, "train.batch = 2147483647 needs about"),
        ({"network": [crossbar(10)], "train": {"evaluate_chunk": HUGE}}, "train.evaluate_chunk = 2147483647 needs"),
        (
            {"network": [crossbar(4096), crossbar(10)], "fleet": {"replicas": 4096}},
            "network[0].size = 4096 needs about",
        ),
        (
            {"network": [crossbar(10)], "fleet": {"replicas": 4096}, "train": {"evaluate_chunk": 1}},
            "train.evaluate_chunk = 1 cuts an evaluation into 7,360,512 pieces of work",
        ),
        (
            {"network": [crossbar(10)], "method": {"name": "dfa"}, "train": {"batch": HUGE, "chunk": 1}},
            "train.chunk = 1 cuts a step into 2,147,483,647 pieces of work",
        ),
        ({"network": [crossbar(10)] * 5000}, "network has 5,000 stages"),
        ({"network": [crossbar(10)], "compare": {"seeds": list(range(5000))}}, "compare.seeds has 5,000 seeds"),
    ],
)
def test_what_is_too_large_is_refused_soon(tree, told, monkeypatch):
    monkeypatch.setattr(machine, "total_bytes", lambda: 16 << 30)
    assert told in refusal(**tree)


@pytest.mark.parametrize("GiB", [1, 2, 3, 5])
def test_what_is_said_to_fit_does_and_twice_of_it_does_not(GiB, monkeypatch):
    monkeypatch.setattr(machine, "total_bytes", lambda: GiB << 30)
    train = {"batch": 16, "rows": 2, "evaluate_samples": 16, "evaluate_chunk": 16}

    def tree(size):
        return {"network": [crossbar(size), crossbar(10)], "train": train}

    message = refusal(**tree(10**6))
    assert message.startswith("run: network[0].size = 1000000 needs about")
    fits = int(message.split("up to about ")[1].split(", with")[0].replace(",", ""))
    Run.build(tree(fits))
    assert "needs about" in refusal(**tree(2 * fits))


@pytest.mark.parametrize(
    ("method", "network"),
    [
        ("spsa", [crossbar(48, decode="tanh"), crossbar(10)]),
        ("dfa", [crossbar(48, decode="tanh", tiles=3), crossbar(10, tiles=2)]),
        ("physics-aware", [{"substrate": "oscillators", "size": 64}, {"substrate": "digital", "size": 10}]),
    ],
)
def test_the_estimate_is_that_of_the_arrays_that_a_run_holds(method, network):
    """Parameters, states and chips to the byte; what is kept of a step within a factor of 2."""
    tree = {"network": network, "method": {"name": method}, "fleet": {"replicas": 2, "mismatch": 0.1}}
    train = {"steps": 1, "batch": 32, "rows": 4, "chunk": 8, "evaluate_samples": 8, "evaluate_chunk": 8}
    run = Run.build({**tree, "train": train})
    data = dataset(run.data)
    found: dict[str, int] = {}
    for need in memory.needs(build(run, data.x_train.shape[1], data.n_classes), 0):
        found[need.what] = found.get(need.what, 0) + need.bytes
    pool = InProcessPool(run)
    coordinator = Coordinator(run, pool)
    coordinator.step(0)
    worker = pool._workers[0]
    tiles, devices = worker.shards.tiles.values(), worker.shards.devices.values()
    assert found["parameters"] == size([tile.params for tile in tiles])
    assert found["the state of the optimiser"] == size([tile._carry for tile in tiles])
    assert found["the chips"] == size([device._chip for device in devices])
    kept = size([(trace.v, trace.h) for trace in worker.passage.traces.values()])
    if method == "spsa":
        assert kept == 0, "nobody will ask for them"
    else:
        assert found["the activations of a step"] / 2 <= kept <= 2 * found["the activations of a step"]


def size(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def test_every_row_of_a_call_has_its_parameters_and_its_cells():
    """65 x 10 weights of 4 bytes, and 8 numbers of a chip for each; the first row is counted with the stage."""
    found = {}
    for rows in (1, 8):
        run = Run.build({"network": [crossbar(10)], "method": {"probes": 16}, "train": {"rows": rows}})
        needs = memory.needs(build(run, 64, 10), 0)
        found[rows] = sum(need.bytes for need in needs if "activations" not in need.what)
    assert found[8] - found[1] == (8 - 2) * 65 * 10 * 4 * (1 + 8), "two rows of a probe are never cut"


@pytest.mark.slow
def test_the_estimate_is_that_of_a_process():
    """The peak of a run of half a GiB lies between the estimate and twice of it."""
    network = [{"substrate": "crossbar", "size": n, "decode": "tanh"} for n in (500, 500, 10)]
    train = {"steps": 1, "batch": 16, "rows": 16, "evaluate_samples": 16, "evaluate_chunk": 16}
    tree = {"network": network, "method": {"name": "spsa", "probes": 8}, "train": train}
    code = """
import json, sys
from orchestrator import Run, train
from orchestrator.core import memory
from orchestrator.core.plan import build
run = Run.build(json.loads(sys.argv[1]))
need = sum(n.bytes for n in memory.needs(build(run, 64, 10), 0))
train(run)
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
print(need, 1024 * int(status['VmHWM'].split()[0]))  # getrusage would tell the peak of our parent
"""
    command = [sys.executable, "-c", code, json.dumps(tree)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    need, peak = map(int, done.stdout.split())
    assert need > 400e6 and need <= peak <= 2 * need, (need, peak)


def test_the_limit_of_a_control_group_counts(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "memory" / "c").mkdir(parents=True)
    for path, text in {
        "a/memory.max": "4096\n", "a/memory.current": "1024\n", "a/b/memory.max": "max\n", "a/b/memory.current": "1\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": "5\n",
        "memory/c/memory.limit_in_bytes": "8192\n", "memory/c/memory.usage_in_bytes": "6\n",
    }.items():  # fmt: skip
        (tmp_path / path).write_text(text)
    (tmp_path / "mine").write_text("5:cpu,memory:/c\n3:pids:/\n0::/a/b\n")
    assert machine.control_groups(tmp_path, tmp_path / "mine") == [(8192, 6), (4096, 1024)]
    assert machine.control_groups(tmp_path, tmp_path / "none") == []
    assert machine.total_bytes() > 1 << 28
    monkeypatch.setattr(machine, "control_groups", lambda: [(8192, 6), (4096, 1024)])
    assert (machine.total_bytes(), machine.available_bytes()) == (4096, 3072)

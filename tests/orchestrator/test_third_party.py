"""A toy substrate and a toy method from outside the package: one file and one registry line each, in `compare`."""

import json

SUBSTRATE = '''
"""A lens: every output is one input, attenuated; a chip hides the offset of each attenuation."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from physics.contracts import Costs, Port, Ports


@dataclass(frozen=True)
class Lens:
    n_in: int
    n_out: int
    decode_as: str = "none"
    mismatch: float = 0.0

    ports = property(lambda self: Ports({"a": Port("1", -4.0, 4.0)}, Port("1", 0.0, 1.0), Port("1", -4.0, 4.0)))
    costs = Costs()
    capabilities = frozenset({"measure"})

    def init(self, key):
        return {"device": {"a": jax.random.normal(key, (self.n_out, self.n_in)) / 8}, "digital": {}}

    def fabricate(self, key):
        return self.mismatch * jax.random.normal(key, (self.n_out, self.n_in))

    def nominal(self):
        return jnp.zeros((self.n_out, self.n_in))

    def program(self, chip, device, key):
        return device["a"] + chip

    def respond(self, chip, cells, x, key, at):
        return cells @ x

    def decode(self, digital, v):
        return v
'''

METHOD = '''
"""One-sided finite difference along one random direction."""

from dataclasses import dataclass

import jax
from algorithms.contracts import AS_IS, Algorithm, Passes, Update
from algorithms.directions import rademacher


@dataclass(frozen=True)
class Slope(Algorithm):
    route = "broadcast"
    signal = "losses"
    evidence = "losses"
    spread = "probes"
    scale: float = 0.05

    def passes(self, size=1):
        return Passes((0, 1), (self.scale, 0.0), (AS_IS,) * 2, perturbs="params")

    def perturb(self, context, probe):
        return rademacher(context[0], context[2])

    def update(self, key, step, state, params, evidence):
        slope = (evidence[0] - evidence[1]) / self.scale
        return Update(jax.tree.map(lambda d: slope * d, self.perturb((key, state, params), 0)), state, True, {})
'''

RUN = """
[[network]]
substrate = "lens"
size = 10

[fleet]
mismatch = 0.1

[train]
steps = 4
batch = 64
evaluate_samples = 64

[compare]
seeds = [0]
[compare.slope]
rate = 0.05
[compare.spsa]
probes = 2
"""


def install(folder):
    """What `pip install` would leave: two modules, and the metadata that names them."""
    (folder / "toy_lens.py").write_text(SUBSTRATE)
    (folder / "toy_slope.py").write_text(METHOD)
    info = folder / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    entries = "[pnn.substrates]\nlens = toy_lens:Lens\n[pnn.algorithms]\nslope = toy_slope:Slope\n"
    (info / "entry_points.txt").write_text(entries)


def test_a_substrate_and_a_method_from_outside_run_beside_the_others(tmp_path, pnn):
    site = tmp_path / "site"
    site.mkdir()
    install(site)
    env = {"PYTHONPATH": str(site)}
    (tmp_path / "run.toml").write_text(RUN)
    listed = pnn("list", env=env).stdout
    assert "lens" in listed and "slope" in listed
    done = pnn("compare", "run.toml", "--local", "--json", env=env)
    rows = {r["method"]: r for r in map(json.loads, done.stdout.strip().split("\n"))}
    assert set(rows) == {"spsa", "slope"}
    assert rows["slope"]["passes"] == 4 * 2 * 64 and rows["slope"]["writes"] == 4 * 2
    assert rows["slope"]["parameters_physical"] == 640
    refused = pnn("train", "run.toml", "--local", "--set", "method.name=dfa", code=2, env=env)
    assert "'lens' cannot be trained by dfa: it lacks ['twin']" in refused.stderr
    assert "allowed: spsa, phyll" not in refused.stderr and "spsa" in refused.stderr

"""What nobody can start faster than: bare scripts that import the same libraries and compile one function.

"jax": import jax, flax and optax, compile one function. "ray": `ray.init` and two actors that do the same. Seconds from
the start of the process to the line that it prints; what is compiled comes from a cache on the disk, as with ours.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from typing import Any

from orchestrator.bench.ours.start import with_cache
from orchestrator.bench.serve import Round
from orchestrator.bench.sides import surroundings

# Programs of their own, as text: they must not import this package, which would start before them.
COMPILE = """
import jax, flax, optax
import jax.numpy as jnp
jax.jit(lambda w, x: jnp.tanh(x @ w).sum())(jnp.ones((64, 32)), jnp.ones((128, 64))).block_until_ready()
"""
JAX = COMPILE + 'print("done", flush=True)'
RAY = f"""
import ray
ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False, object_store_memory=256 << 20,
         _node_ip_address="127.0.0.1")

@ray.remote(num_cpus=0.001)
class Actor:
    def compile(self):
        exec({COMPILE!r}, {{}})

actors = [Actor.remote() for _ in range(2)]
ray.get([a.compile.remote() for a in actors])
print("done", flush=True)
ray.shutdown()
"""


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: program ("jax" or "ray"), scratch (a folder)."""
    program = {"jax": JAX, "ray": RAY}[options["program"]]
    environment = {
        **with_cache(surroundings("peer"), options["scratch"]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray writes one to the home of the user
    }

    def measure() -> dict[str, Any]:
        began = time.perf_counter()
        command = [sys.executable, "-c", program]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=sys.stderr, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:  # Ray prints too
                if line.strip() == "done":
                    seconds = time.perf_counter() - began
                    process.stdout.read()
                    process.wait()
                    return {"value": seconds}
        raise SystemExit(f"the bare script ended with code {process.returncode}")

    measure()
    return {"program": options["program"]}, measure

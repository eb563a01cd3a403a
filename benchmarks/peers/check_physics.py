"""Do the equations of torch_physics.py agree with the project's? Run by the project's Python; exits with 1 if not.

    .venv/bin/python benchmarks/peers/check_physics.py [--peer benchmarks/peers/.venv/bin/python]

For each substrate, with the nominal chip, just after the write and 1000 s later (crossbar): the noiseless answer of
physics.twin, and the gradients of its sum and of its product with a random cotangent, must agree to 1e-4 of their
largest value; what noise and converters add, as a root mean square over draws, to 3 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CASES: dict[str, dict[str, Any]] = {
    "crossbar": {"substrate": "crossbar", "n_in": 784, "n_out": 128},
    "crossbar, small": {"substrate": "crossbar", "n_in": 64, "n_out": 10},
    "crossbar, 1000 s": {"substrate": "crossbar", "n_in": 64, "n_out": 10, "since": 1000.0},
    "digital": {"substrate": "digital", "n_in": 784, "n_out": 128},
    "oscillators": {"substrate": "oscillators", "n_in": 64, "n_out": 10},
    "oscillators, more out than in": {"substrate": "oscillators", "n_in": 10, "n_out": 64},
}
BATCH, DRAWS = 32, 400


def export(path: Path) -> None:
    sys.path.insert(0, str(ROOT))
    import jax
    import jax.numpy as jnp
    import numpy as np

    from physics.contracts import At
    from physics.substrates.crossbar import Crossbar
    from physics.substrates.digital import Digital
    from physics.substrates.oscillators import Oscillators

    kinds = {"crossbar": Crossbar, "digital": Digital, "oscillators": Oscillators}
    arrays: dict[str, Any] = {}
    for n, (name, case) in enumerate(CASES.items()):
        case |= {"since": case.get("since", 0.0), "draws": DRAWS, "noise_within": 0.03}
        model = kinds[case["substrate"]](case["n_in"], case["n_out"])
        k_params, k_x, k_draws, k_cotangent = jax.random.split(jax.random.key(n), 4)
        params = model.init(k_params)
        x = jax.random.uniform(k_x, (BATCH, case["n_in"]))
        chip, at = model.nominal(), At(now=np.float32(case["since"]), since=np.float32(case["since"]))

        def answer(params: Any, x: Any, key: Any = None, model: Any = model, chip: Any = chip, at: Any = at) -> Any:
            """As physics.twin.respond, but at `at`, and decoded."""
            write, read = (None, None) if key is None else jax.random.split(key)
            cells = model.program(chip, params["device"], write)
            if key is None:
                v = jax.vmap(lambda x: model.respond(chip, cells, x, None, at))(x)
            else:
                keys = jax.random.split(read, len(x))
                v = jax.vmap(lambda x, read: model.respond(chip, cells, x, read, at))(x, keys)
            return jax.vmap(lambda v: model.decode(params["digital"], v))(v)

        exact = answer(params, x)
        gradient = jax.grad(lambda p, x, f=answer: jnp.sum(f(p, x)))(params, x)
        cotangent = jax.random.normal(k_cotangent, exact.shape)
        vjp = jax.grad(lambda p, x, c, f=answer: jnp.sum(c * f(p, x)))(params, x, cotangent)
        off = jax.jit(lambda key, f=answer, p=params, x=x, e=exact: jnp.mean((f(p, x, key) - e) ** 2))
        noise = np.sqrt(np.mean([off(k) for k in jax.random.split(k_draws, DRAWS)]))
        arrays |= {f"{name}/x": x, f"{name}/forward": exact, f"{name}/noise": noise}
        arrays[f"{name}/cotangent"] = cotangent
        for what, tree in {"params": params, "gradient": gradient, "vjp": vjp}.items():
            arrays |= {f"{name}/{what}/{leaf}": a for leaf, a in (tree["device"] | tree["digital"]).items()}
    np.savez(path, cases=json.dumps(CASES), **{name: np.asarray(a) for name, a in arrays.items()})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=HERE / ".venv" / "bin" / "python", help="Python of the peers")
    peer = parser.parse_args().peer
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "physics.npz"
        export(path)
        return subprocess.run([str(peer), str(HERE / "torch_physics.py"), "--check", str(path)]).returncode


if __name__ == "__main__":
    sys.exit(main())

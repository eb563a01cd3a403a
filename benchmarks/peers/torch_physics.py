"""The equations of the project's substrates in PyTorch 2.13.0 (BSD-3-Clause and others), compiled: calls/s.

crossbar, digital and oscillators are written here as in physics/substrates/ of the project, for a whole batch, with the
nominal chip. What is timed:

  what "forward"    the answer with noise, as physics.twin.respond with a key: programming noise drawn once a call, read
                    noise for each sample and column, converters (crossbar); noise on the first angles (oscillators);
                    digital has none. Noise is from torch's default generator, seeded.
  what "gradient"   the gradient of the sum of the noiseless answer with respect to the parameters (crossbar: w;
                    oscillators: J and e; digital: kernel and bias).
  what "vjp"        the same of sum(cotangent * answer), the cotangent an argument [batch, n_out], as in training. For
                    crossbar and digital a compiler may turn "gradient" into sums over columns; this it cannot.

A fair use: float32; torch.compile with fullgraph, its C++ made for as many threads as the affinity has CPUs; normal
numbers drawn by aten from within it (fallback_random: the inductor's own draw takes several times as long, and makes
the crossbar slower than without compiling); no autograd graph in "forward", torch.func.grad inside the compiled code
otherwise; inputs and parameters fixed in memory. If it cannot be compiled, it runs eagerly and `about` says so;
"compile": false asks for that.

--check FILE.npz: compares with answers and gradients of the project and exits with 1 if they differ by more than 1e-4
(of the largest value of each); check_physics.py makes the file.

value: calls/s, of a batch each.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import side
import torch
from torch._inductor import config as inductor

DEFAULTS = {
    "substrate": "crossbar",  # or digital, oscillators
    "n_in": 784,
    "n_out": 128,
    "batch": 256,
    "what": "forward",  # or gradient, vjp
    "calls": 100,  # a round
    "compile": True,
    "mode": "default",  # of torch.compile
    "seed": 0,
}
Params = dict[str, torch.Tensor]

# --- crossbar: v = x (g+ - g-), units of g_max and of the read voltage ------------------------------------------------

G_MAX_US = 25.0
PROGRAM_US = (0.26348, 1.9650, -1.1731)
T0_S = 20.0
T_READ_S = 250e-9
DAC_BITS, ADC_BITS, ADC_RANGE = 7, 9, 12.0
OUT_NOISE = 0.06


def quantise(v: torch.Tensor, bound: float, bits: int) -> torch.Tensor:
    step = 2 * bound / (2**bits - 2)
    return torch.clamp(torch.round(v / step) * step, -bound, bound)


def pair(w: torch.Tensor) -> torch.Tensor:
    return torch.stack([w.clamp(min=0.0), (-w).clamp(min=0.0)])


def drift(g: torch.Tensor, r: torch.Tensor, since: float) -> torch.Tensor:
    """Of the nominal chip: the exponent is the mean at r."""
    nu = torch.abs(torch.clamp(-0.0155 * torch.log(r.detach().clamp(min=1e-6)) + 0.0244, 0.049, 0.1))
    return g * ((since + T0_S) / T0_S) ** -nu


def driven(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def crossbar(p: Params, x: torch.Tensor, since: float = 0.0) -> torch.Tensor:
    r = pair(p["w"])
    g = drift(r, r, since)
    return driven(x) @ (g[0] - g[1])


def crossbar_noisy(p: Params, x: torch.Tensor, since: float = 0.0) -> torch.Tensor:
    r = pair(p["w"])
    a, b, c = PROGRAM_US
    programmed = torch.clamp(r + (a + b * r + c * r**2) / G_MAX_US * torch.randn_like(r), min=0.0)
    g = drift(programmed, r, since)
    x = quantise(driven(x), 1.0, DAC_BITS)
    q = torch.clamp(0.0088 / programmed.clamp(min=1e-6) ** 0.65, max=0.2)
    t = since + T0_S
    sigma = g * q * math.sqrt(math.log((t + T_READ_S) / (2 * T_READ_S)))
    variance = (x**2) @ torch.sum(sigma**2, dim=0) + OUT_NOISE**2
    v = x @ (g[0] - g[1])
    return quantise(v + torch.sqrt(variance) * torch.randn_like(v), ADC_RANGE, ADC_BITS)


# --- digital: h = W x + b ---------------------------------------------------------------------------------------------


def digital(p: Params, x: torch.Tensor, since: float = 0.0) -> torch.Tensor:
    return torch.addmm(p["bias"], x, p["kernel"])


# --- oscillators: q'' = -sin q + sum_j J_ij (sin q_j - sin q_i) + e, RK4 with 5 steps to t = 0.5 ----------------------

T_END, RK4_STEPS, ANGLE_NOISE = 0.5, 5, 0.02


def oscillators(p: Params, x: torch.Tensor, since: float = 0.0, noise: float = 0.0) -> torch.Tensor:
    n, n_out = len(p["e"]), p["outputs"]
    J = torch.zeros(n * n, dtype=x.dtype).index_copy(0, p["places"], p["J"]).view(n, n)
    J = J + J.T
    out = J.sum(dim=0)
    q = torch.nn.functional.pad(x, (0, n - x.shape[1]))
    if noise:
        q = q + noise * torch.randn_like(q)
    v = torch.zeros_like(q)
    dt = T_END / RK4_STEPS

    def rate(q: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        s = torch.sin(q)
        return v, -s + s @ J - out * s + p["e"]

    for _ in range(RK4_STEPS):
        q1, v1 = rate(q, v)
        q2, v2 = rate(q + dt / 2 * q1, v + dt / 2 * v1)
        q3, v3 = rate(q + dt / 2 * q2, v + dt / 2 * v2)
        q4, v4 = rate(q + dt * q3, v + dt * v3)
        q, v = q + dt / 6 * (q1 + 2 * q2 + 2 * q3 + q4), v + dt / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
    return q[:, n - n_out :]


def oscillators_noisy(p: Params, x: torch.Tensor, since: float = 0.0) -> torch.Tensor:
    return oscillators(p, x, noise=ANGLE_NOISE)


# --- what is timed ----------------------------------------------------------------------------------------------------

TWIN = {"crossbar": crossbar, "digital": digital, "oscillators": oscillators}
NOISY = {"crossbar": crossbar_noisy, "digital": digital, "oscillators": oscillators_noisy}
TRAINED = {"crossbar": ("w",), "digital": ("kernel", "bias"), "oscillators": ("J", "e")}


def fixed(substrate: str, n_in: int, n_out: int) -> dict[str, Any]:
    """What a substrate is given beside its parameters."""
    if substrate != "oscillators":
        return {}
    n = max(n_in, n_out)
    rows, columns = np.triu_indices(n, 1)
    return {"places": torch.from_numpy(rows * n + columns), "outputs": n_out}


def init(substrate: str, n_in: int, n_out: int) -> Params:
    """First parameters with the distribution that the project's have."""
    if substrate == "crossbar":
        return {"w": (torch.randn(n_in + 1, n_out) / (n_in + 1.0) ** 0.5).clamp(-0.9, 0.9)}
    if substrate == "digital":
        return {"kernel": torch.randn(n_in, n_out) / n_in**0.5, "bias": torch.zeros(n_out)}
    n = max(n_in, n_out)
    bound = n**-0.5
    return {"J": bound * (torch.rand(2, n * (n - 1) // 2) * 2 - 1).mean(0), "e": bound * (torch.rand(n) * 2 - 1)}


def function(substrate: str, what: str, rest: dict[str, Any], since: float = 0.0) -> Callable[..., Any]:
    if what == "forward":
        return lambda p, x: NOISY[substrate](p | rest, x, since)
    if what == "gradient":
        return torch.func.grad(lambda p, x: TWIN[substrate](p | rest, x, since).sum())
    return torch.func.grad(lambda p, x, cotangent: (cotangent * TWIN[substrate](p | rest, x, since)).sum())


def setup(o: dict[str, Any]) -> tuple[dict[str, Any], side.Round]:
    torch.set_num_threads(side.threads())  # before it is compiled: the number is in the code
    inductor.fallback_random = True
    torch.manual_seed(o["seed"])
    size = o["substrate"], o["n_in"], o["n_out"]
    given = init(*size), torch.rand(o["batch"], o["n_in"])
    parameters = sum(t.numel() for t in given[0].values())
    if o["what"] == "vjp":
        given += (torch.randn(o["batch"], o["n_out"]),)
    call = eager = function(o["substrate"], o["what"], fixed(*size))
    compiled, seconds = False, 0.0
    with torch.no_grad():
        if o["compile"]:
            began = time.perf_counter()
            try:
                call = torch.compile(eager, fullgraph=True, dynamic=False, mode=o["mode"])
                call(*given)
                compiled = True
            except Exception as error:
                print(f"not compiled, eager instead: {error}", file=sys.stderr)
                call, compiled = eager, f"no: {type(error).__name__}"
            seconds = time.perf_counter() - began

    def run() -> dict[str, Any]:
        with torch.no_grad():
            began = time.perf_counter()
            for _ in range(o["calls"]):
                found = call(*given)
            value = o["calls"] / (time.perf_counter() - began)
        tensors = found.values() if isinstance(found, dict) else [found]
        return {"value": value, "mean": sum(float(t.mean()) for t in tensors)}

    rates = side.steady(lambda: run()["value"])
    about = {"compiled": compiled, "compile_s": seconds, "parameters": parameters}
    return about | {"warm_rates": rates}, run


def check(path: str) -> int:
    """Compare with an export of the project: see check_physics.py. Prints one line a case."""
    with np.load(path) as file:
        data = {name: file[name] for name in file.files}
    cases = json.loads(str(data["cases"]))
    worst = 0.0
    for name, case in cases.items():
        substrate, since = case["substrate"], case["since"]
        x = torch.from_numpy(data[f"{name}/x"])
        params = {leaf: torch.from_numpy(data[f"{name}/params/{leaf}"]) for leaf in TRAINED[substrate]}
        rest = fixed(substrate, case["n_in"], case["n_out"])
        forward = TWIN[substrate](params | rest, x, since).numpy()
        cotangent = torch.from_numpy(data[f"{name}/cotangent"])
        gradient = function(substrate, "gradient", rest, since)(params, x)
        vjp = function(substrate, "vjp", rest, since)(params, x, cotangent)
        pairs = {"forward": (forward, data[f"{name}/forward"])}
        pairs |= {f"d/d{leaf}": (t.numpy(), data[f"{name}/gradient/{leaf}"]) for leaf, t in gradient.items()}
        pairs |= {f"vjp {leaf}": (t.numpy(), data[f"{name}/vjp/{leaf}"]) for leaf, t in vjp.items()}
        off = {what: float(np.abs(a - b).max() / np.abs(b).max()) for what, (a, b) in pairs.items()}
        worst = max(worst, *off.values())
        spread = noise_of(function(substrate, "forward", rest, since), params, x, forward, case["draws"])
        told = float(data[f"{name}/noise"])
        agree = abs(spread - told) <= case["noise_within"] * told + 1e-6
        worst = worst if agree else math.inf
        print(f"{name}: " + ", ".join(f"{w} {v:.1e}" for w, v in off.items()), end="; ")
        print(f"noise {spread:.5f}, the project's {told:.5f}{'' if agree else ': DIFFERENT'}")
    print(f"largest relative difference {worst:.1e}: {'equal' if worst <= 1e-4 else 'DIFFERENT'}")
    return int(not worst <= 1e-4)


def noise_of(noisy: Callable[..., Any], params: Params, x: torch.Tensor, exact: np.ndarray, draws: int) -> float:
    """Root mean square of what noise and converters add, over `draws` calls."""
    torch.manual_seed(0)
    return float(np.sqrt(np.mean([np.mean((noisy(params, x).numpy() - exact) ** 2) for _ in range(draws)])))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        sys.exit(check(sys.argv[2]))
    side.serve(setup, DEFAULTS, ("torch", "numpy"))

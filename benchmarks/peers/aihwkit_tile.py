"""A tile of phase-change memristors in IBM's aihwkit 1.1.0 (MIT), on torch 2.13.0: forwards/s of a whole batch.

TorchInferenceTile, the tile of TorchInferenceRPUConfig: native torch, no RPUCuda. 784 inputs, 128 outputs, no bias,
batch 256. Programmed once (`program_weights`, then `drift_weights(t_inference)` with t_inference 0 s), put into eval(),
run without gradients, threads = CPUs of the affinity. Nothing is written between the forwards.

What is active, and its value (read back from the tile and told in `about`):

  frozen when programmed, PCMLikeNoiseModel, g_max 25 uS, one differential pair a weight, max |w| -> g_max:
    programming noise   sigma_prog = 0.26348 + 1.9650 r - 1.1731 r^2 uS, r = g / g_max; conductances clipped at 0
    read noise          sigma = g q sqrt(ln((t + 250 ns) / 500 ns)), q = min(0.0088 / r^0.65, 0.2), where
                        t = t_inference + 20 s; drawn ONCE by drift_weights, not at each forward
    drift               (t / 20 s)^-nu; nothing at t_inference 0
  at each forward, IOParameters as they are by default:
    noise management    ABS_MAX: each sample is divided by its largest |x|, its output multiplied by it
    DAC                 range -1..1, step 2 / (2^7 - 2); saturates
    output noise        N(0, 0.06) on each output, in units of (input 1) x (weight 1)
    ADC                 range -12..12, step 24 / (2^9 - 2); saturates
    bound management    ITERATIVE: while any output saturates, all is repeated with the inputs halved; the test of it
                        is made at each forward. With these weights none saturates: one pass (`passes` in `about`)
  at each forward, after the tile:
    drift compensation  GlobalDriftCompensation: a multiplication by one number
  off, as they are by default: input noise, IR drop, weight noise at each forward, non-linear outputs, voltage offsets,
    asymmetries, stochastic rounding, input range learning, weight modifier, weight scaling, clipping.

Against crossbar.py of the project: there read noise is drawn at each forward, for each column and sample, and there is
no noise management, bound management or drift compensation. Option "management": false takes the three off here.

Weights: N(0, 1 / 785), clipped to +-0.9; inputs uniform in 0..1. value: forwards/s (of a batch).
"""

from __future__ import annotations

import time
from typing import Any
from unittest import mock

import side
import torch
from aihwkit.inference import PCMLikeNoiseModel
from aihwkit.simulator.configs import TorchInferenceRPUConfig
from aihwkit.simulator.parameters.enums import BoundManagementType, NoiseManagementType

DEFAULTS = {
    "n_in": 784,
    "n_out": 128,
    "batch": 256,
    "calls": 300,  # a round
    "t_inference": 0.0,  # s
    "management": True,  # of noise and bounds, and drift compensation
    "seed": 0,
}
IO = ("inp_bound", "inp_res", "inp_noise", "out_bound", "out_res", "out_noise", "out_noise_std", "w_noise", "ir_drop")
PCM = ("g_max", "prog_coeff", "t_0", "t_read", "prog_noise_scale", "read_noise_scale", "drift_scale")


def setup(o: dict[str, Any]) -> tuple[dict[str, Any], side.Round]:
    torch.set_num_threads(side.threads())
    torch.manual_seed(o["seed"])
    config = TorchInferenceRPUConfig(noise_model=PCMLikeNoiseModel(g_max=25.0))
    if not o["management"]:
        config.forward.noise_management = NoiseManagementType.NONE
        config.forward.bound_management = BoundManagementType.NONE
        config.drift_compensation = None
    tile = config.tile_class(o["n_out"], o["n_in"], config)
    target = (torch.randn(o["n_out"], o["n_in"]) / (o["n_in"] + 1) ** 0.5).clamp(-0.9, 0.9)
    x = torch.rand(o["batch"], o["n_in"])
    with torch.no_grad():
        tile.set_weights(target)
        tile.eval()
        tile.program_weights()
        tile.drift_weights(o["t_inference"])
    written = tile.tile.get_weights()

    mvm = tile.tile._analog_mvm
    count = mock.patch.object(mvm, "_compute_analog_mv", side_effect=mvm._compute_analog_mv)
    with torch.no_grad(), count as counted:
        largest = float(tile(x).abs().max())

    def run() -> dict[str, Any]:
        with torch.no_grad():
            began = time.perf_counter()
            for _ in range(o["calls"]):
                v = tile(x)
            value = o["calls"] / (time.perf_counter() - began)
        return {"value": value, "mean_v": float(v.mean())}

    rates = side.steady(lambda: run()["value"])
    with torch.no_grad():
        ideal = x @ target.T
        errors = torch.stack([tile(x) - ideal for _ in range(20)])
    forward, model = config.forward, config.noise_model
    about = {
        "tile": type(tile).__name__,
        "simulator": type(tile.tile).__name__,
        "mapping": f"{type(model.g_converter).__name__}, max |w| -> g_max",
        "pcm": {name: getattr(model, name) for name in PCM},
        "io": {name: getattr(forward, name) for name in IO},
        "noise_management": forward.noise_management.name,
        "bound_management": forward.bound_management.name,
        "drift_compensation": type(config.drift_compensation).__name__ if o["management"] else "none",
        "modifier": config.modifier.type.name,
        "read_noise": "drawn once, when programmed",
        "passes": counted.call_count,
        "largest_v": largest,
        "write_error_std": float((written - target).std()),  # in units of a weight
        "forward_noise_std": float(errors.std(dim=0).mean()),  # from forward to forward
        "warm_rates": rates,
    }
    return about, run


if __name__ == "__main__":
    side.serve(setup, DEFAULTS, ("aihwkit", "torch", "numpy"))

"""Every method on one task: the same imperfect crossbars, the same number of passes, the same rule for its settings.

The task is that of examples/digits.toml: handwritten digits, 64-32-10, on two crossbars with mismatch, stuck cells,
noise and drift. A method trains until it has made BUDGET passes (a method in the twin, which makes none, takes as many
samples). Its setting is the best of six by accuracy on a validation part of the training data, one seed: three rates
for each of two sizes of its perturbation, or six rates if it has none, or six sizes if it makes its steps itself. Then
three other seeds, each with chips of its own, on the test part. All passes of the search are counted.

    python tools/common_task.py [METHOD ...]

writes docs/results/common-task/METHOD.json as each method finishes; what is there is not done again.
"""

import json
import sys
import time
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

from algorithms import registry
from orchestrator import Run, train
from orchestrator.core.plan import build

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "results" / "common-task"
BUDGET = 500_000
SEARCH, SEEDS = 100, (0, 1, 2)
RATES, FEW_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3), (0.003, 0.01, 0.03)
# The size of a perturbation: the name of the field, by what it is in. Two sizes beside rates, six without.
SIZES = {"scale": (0.05, 0.1), "sigma": (0.05, 0.1)}
ALONE = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def settings(cls: Any) -> list[dict[str, Any]]:
    """The six settings of a method."""
    known = cls.__dataclass_fields__
    if cls.steps == "itself":
        return [{"radius": radius} for radius in ALONE]
    size = next((name for name in SIZES if name in known), None)
    if size is None:
        return [{"rate": rate} for rate in RATES]
    return [{size: s, "rate": rate} for s, rate in product(SIZES[size], FEW_RATES)]


def tree(name: str, setting: dict[str, Any], seed: int, part: str) -> dict[str, Any]:
    """The run of a method; one that learns locally gets inputs in range of what the stage below gives."""
    base = tomllib.loads((ROOT / "examples" / "digits.toml").read_text())
    cls = registry.load(name)
    network = [dict(stage) for stage in base["network"]]
    if cls().passes().perturbs == "activity":
        network[1]["encode"] = "clip"
    if cls.route == "local":
        network[1]["encode"] = "peak"
        if not cls.answers:
            network[1]["method"] = {"name": "physics-aware", "rate": 0.01}
    batch = base["train"]["batch"]
    # with two stages, the first must have a say, and ten outputs of at most 1 are no great sum of squares
    two = {"first": True, "threshold": 0.5} if "first" in cls.__dataclass_fields__ else {}
    method = {"name": name, **two, **setting}
    if cls.steps != "itself":
        method["schedule"] = "cosine"
    made = Run.build({**base, "network": network, "method": method, "compare": {}})
    rows = sum(len(group.passes) for group in build(made, 64, 10).groups)
    steps = max(BUDGET // (rows * batch), 1)
    how = {"steps": steps, "batch": batch, "chunk": 64, "seed": seed, "evaluate_every": 1_000_000}
    return {k: v for k, v in base.items() if k != "compare"} | {
        "network": network,
        "method": method,
        "data": {**base["data"], "part": part},
        "train": how,
    }


def main(names: list[str]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names or registry.METHODS:
        path = OUT / f"{name}.json"
        if path.exists():
            continue
        began, tried = time.perf_counter(), []
        by = "accuracy_promised" if "in-silico" in name else "accuracy"  # who cannot see a chip is judged by its twin
        for setting in settings(registry.load(name)):
            result = train(Run.build(tree(name, setting, SEARCH, "validation")))
            tried.append({**setting, "accuracy": round(getattr(result, by), 4), "passes": result.passes})
            print(name, tried[-1], flush=True)
        best = max(tried, key=lambda row: row["accuracy"])
        chosen = {k: v for k, v in best.items() if k not in ("accuracy", "passes")}
        results = [train(Run.build(tree(name, chosen, seed, "test"))) for seed in SEEDS]
        total, steps = results[0].ledger.total(), tree(name, chosen, 0, "test")["train"]["steps"]
        told = {
            "method": name,
            "chosen": chosen,
            "accuracy": [round(r.accuracy, 4) for r in results],
            "passes": results[0].passes,
            "steps": steps,
            "calls_a_step": total.calls / steps,
            "writes_a_step": total.writes / steps,
            "passes_of_search": sum(row["passes"] for row in tried),
            "seeds": SEEDS,
            "minutes": round((time.perf_counter() - began) / 60, 2),
            "tried": tried,
        }
        path.write_text(json.dumps(told, indent=1) + "\n")
        print(name, told["accuracy"], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

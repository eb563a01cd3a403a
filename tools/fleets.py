"""Tied, own, base and trim on 1, 4 and 16 unequal chips at equal passes, by SPSA and by node perturbation.

The chips are those of examples/digits.toml, with twice the stuck cells. In a step, 32 probes in all (SPSA) or 256
samples in all (node perturbation) are divided among the chips. The setting of each cell is the best of FOUR by mean
accuracy on a validation part of the training data, one seed; then three other seeds on the test part.

    python tools/fleets.py

writes docs/results/fleets/METHOD-SHARE-CHIPS.json as each cell finishes (what is there is not done again) and then the
table of docs/fleets.md.
"""

import json
import statistics
import time
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

from orchestrator import Run, train

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "results" / "fleets"
BEGIN, END = "<!-- made by tools/fleets.py -->", "<!-- end -->"
CHIPS, SHARES, STEPS = (1, 4, 16), ("tied", "own", "base+trim"), 800
SEARCH, SEEDS = 100, (0, 1, 2)
RATES, FEW_RATES, TRIM_RATES = (0.005, 0.01, 0.02, 0.04), (0.01, 0.02), (0.3, 1.0)
PROBES, BATCH, SAMPLES = 32, 64, 256


def settings(share: str) -> list[dict[str, float]]:
    """Four, whatever the share."""
    if share == "base+trim":
        return [{"rate": rate, "trim_rate": trim} for rate, trim in product(FEW_RATES, TRIM_RATES)]
    return [{"rate": rate} for rate in RATES]


def tree(name: str, share: str, chips: int, setting: dict[str, float], seed: int, part: str) -> dict[str, Any]:
    """A run in which all chips together make as many passes as one would."""
    base = tomllib.loads((ROOT / "examples" / "digits.toml").read_text())
    mine = chips if share == "own" else 1  # each chip makes its own passes, or all divide them
    method: dict[str, Any] = {"name": name, "rate": setting["rate"], "schedule": "cosine"}
    how: dict[str, Any] = {"steps": STEPS, "seed": seed, "evaluate_every": 1_000_000}
    if name == "spsa":
        method |= {"probes": PROBES // mine, "scale": 0.1}
        how |= {"batch": BATCH, "chunk": BATCH, "rows": 2 * PROBES // chips}
    else:
        how |= {"batch": SAMPLES // mine, "chunk": SAMPLES // chips}
    fleet = {**base["fleet"], "stuck_off": 0.01, "stuck_full": 0.01, "replicas": chips, "share": share}
    if "trim_rate" in setting:
        fleet["trim_rate"] = setting["trim_rate"]
    data, network = {**base["data"], "part": part}, [base["network"][0], {**base["network"][1], "encode": "clip"}]
    return {"data": data, "network": network, "fleet": fleet, "method": method, "train": how}


def cell(name: str, share: str, chips: int) -> dict[str, Any]:
    """What one cell of the table came to."""
    began, tried = time.perf_counter(), []
    for setting in settings(share):
        result = train(Run.build(tree(name, share, chips, setting, SEARCH, "validation")))
        tried.append({**setting, "accuracy": round(result.accuracy, 4)})
    best = max(tried, key=lambda row: row["accuracy"])
    results = [train(Run.build(tree(name, share, chips, best, seed, "test"))) for seed in SEEDS]
    return {
        "method": name,
        "share": share,
        "chips": chips,
        "chosen": {k: v for k, v in best.items() if k != "accuracy"},
        "mean": [round(r.accuracy, 4) for r in results],
        "worst": [round(r.accuracy_worst, 4) for r in results],
        "passes": results[0].passes,
        "steps": STEPS,
        "seeds": SEEDS,
        "minutes": round((time.perf_counter() - began) / 60, 2),
        "tried": tried,
    }


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for name, chips, share in product(("spsa", "node-perturbation"), CHIPS, SHARES):
        path = OUT / f"{name}-{share.replace('+', '-')}-{chips}.json"
        if path.exists() or (chips == 1 and share != "tied"):
            continue
        told = cell(name, share, chips)
        path.write_text(json.dumps(told, indent=1) + "\n")
        print(name, share, chips, told["mean"], told["worst"], f"{told['minutes']} min", flush=True)
    write_table()


def write_table() -> None:
    """The text between the two marks is replaced."""
    found = ["| method | chips | share | mean | worst chip | passes | chosen |", "|---|---|---|---|---|---|---|"]
    for path in sorted(OUT.glob("*.json"), key=lambda p: (p.stem.rsplit("-", 1)[0][:4], int(p.stem.rsplit("-", 1)[1]))):
        t = json.loads(path.read_text())
        share = "-" if t["chips"] == 1 else t["share"]
        mean, worst = (f"{100 * statistics.fmean(t[k]):.1f} %" for k in ("mean", "worst"))
        chosen = ", ".join(f"{k} {v:g}" for k, v in t["chosen"].items())
        found.append(f"| `{t['method']}` | {t['chips']} | {share} | {mean} | {worst} | {t['passes']:,} | {chosen} |")
    page = ROOT / "docs" / "fleets.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + "\n".join([BEGIN, "", *found, "", END]) + rest.partition(END)[2])


if __name__ == "__main__":
    main()

"""Make small journals of this version for the tests, one for each method: python tools/keep_journals.py NAME.

Those that are there are left alone: tests replay them for ever, to the same hashes.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from algorithms import registry
from orchestrator import Run, train

HERE = Path(__file__).parent.parent / "tests" / "orchestrator" / "journals"
STAGE = {"substrate": "crossbar", "size": 6, "decode": "tanh"}
LOCAL = [{**STAGE, "trained": False}, {"substrate": "digital", "size": 10, "decode": "relu"}]
OPTIONS = {"low-rank-es": {"rank": 2}, "mgd": {"code": "walsh", "tau_theta": 2}, "finite-differences": {"sides": "two"}}
WITHOUT = "population"  # its bits follow the version of evosax
TREE = {
    "data": {"size": [4, 4]},
    "network": [STAGE, {"substrate": "crossbar", "size": 10}],
    "fleet": {"mismatch": 0.15, "replicas": 2},
    "train": {"steps": 5, "batch": 32, "chunk": 16, "rows": 4, "evaluate_every": 2, "evaluate_samples": 64},
    "journal": {"snapshot_every": 3},
}


def main(version: str) -> None:
    for name in registry.METHODS:
        if name == WITHOUT:
            continue
        few = {"probes": 4} if "probes" in registry.load(name).__dataclass_fields__ else {}
        method = {"name": name, **few, **OPTIONS.get(name, {})}
        network = LOCAL if name == "phyll" else TREE["network"]
        if not registry.load(name).answers:
            network = [network[0], {**network[1], "method": "dfa"}]
        for keep, journal in (("", {}), ("-digests", {"whole_kB": 0})):
            if keep and name != "dfa":
                continue
            place = HERE / version / f"{name}{keep}"
            if place.exists():
                continue
            tree = {**TREE, "method": method, "network": network, "journal": {**TREE["journal"], **journal}}
            with tempfile.TemporaryDirectory() as folder:
                result = train(Run.build(tree), directory=f"{folder}/run")
                place.mkdir(parents=True)
                for file in ("run.json", "journal.pnn"):
                    shutil.copy(f"{folder}/run/{file}", place / file)
                if keep:
                    shutil.copytree(f"{folder}/run/snapshots", place / "snapshots")
                told = {"parameters_sha256": result.parameters_sha256, "accuracy": result.accuracy}
                (place / "expected.json").write_text(json.dumps(told) + "\n")
            print(place, sum(f.stat().st_size for f in place.rglob("*") if f.is_file()), "bytes")


if __name__ == "__main__":
    main(sys.argv[1])

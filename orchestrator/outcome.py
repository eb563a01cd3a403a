"""The files of a finished run. All of them can be made again from its journal."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np

from orchestrator.api import Result
from orchestrator.core import trees
from orchestrator.core.ledger import Ledger, plain
from orchestrator.journal import crash
from orchestrator.journal.files import save_arrays, write_text, write_whole
from orchestrator.kept import Kept

PARAMETERS = "parameters.safetensors"


def write(kept: Kept, result: Result, figure: bool = False) -> None:
    """parameters.safetensors, curve.csv, ledger.json, result.json, and figure.png if wanted."""
    path = kept.path
    arrays: dict[str, np.ndarray] = {}
    for name, tree in result.params.items():
        arrays |= trees.flatten("/".join(map(str, name)), tree)
    about = {"parameters_sha256": result.parameters_sha256}
    if arrays:
        kept.in_room(lambda: write_whole(path / PARAMETERS, lambda f: save_arrays(f, arrays, about)))
    kept.in_room(lambda: write_text(path / "curve.csv", curve_csv(result)))
    kept.in_room(lambda: write_text(path / "ledger.json", json.dumps(ledger_json(result.ledger), indent=1) + "\n"))
    if figure:
        from orchestrator.figure import draw

        title = f"{path.name}, seed {result.seed}"
        kept.in_room(lambda: write_whole(path / "figure.png", lambda f: draw(f, {result.method: [result]}, title)))
    write_result(kept, result)
    crash.reach("end.written")


def write_result(kept: Kept, result: Result) -> None:
    """result.json: the object that `--json` prints."""
    kept.in_room(lambda: write_text(kept.path / "result.json", json.dumps(result.json()) + "\n"))


def mend(kept: Kept, result: Result, figure: bool = False) -> None:
    """Write the files of a finished run again if it was killed before all of them were there."""
    if (kept.path / "result.json").exists():
        return
    from orchestrator.replay import replay

    result.params = replay(kept.path).params
    write(kept, result, figure)


def curve_csv(result: Result) -> str:
    """step, passes, accuracy of each chip, mean loss."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    chips = len(result.curve[0].accuracies) if result.curve else 0
    rows.writerow(["step", "passes", *(f"accuracy_chip_{i}" for i in range(chips)), "loss"])
    rows.writerows([p.step, p.passes, *p.accuracies, p.loss] for p in result.curve)
    return out.getvalue()


def ledger_json(ledger: Ledger) -> dict[str, Any]:
    """Totals, and what each worker measured."""
    told: dict[str, Any] = {"wire_bytes": ledger.wire_bytes}
    for kind, by_worker in ledger.by_worker.items():
        told[kind] = {
            "total": plain(ledger.total(kind)),
            "by_worker": {str(w): plain(entry) for w, entry in sorted(by_worker.items())},
        }
    return told

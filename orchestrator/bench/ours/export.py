"""The samples of a data set in a file that peers can read: {"options": {"data": FILE.npz}}, with x and y.

x is float32 [samples, features] in 0..1, y int32 [samples]: the training part, as our own sides see it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.bench.serve import Round
from orchestrator.data import load


def setup(options: dict[str, Any]) -> tuple[dict[str, Any], Round]:
    """options: dataset (a name), scratch (a folder). Raises `DataError`."""
    data = load(options["dataset"])

    def export() -> dict[str, Any]:
        path = Path(options["scratch"]) / f"{data.name}.npz"
        np.savez(path, x=data.x_train, y=data.y_train)
        return {"value": len(data.y_train), "options": {"data": str(path)}}

    return {"dataset": data.name, "shape": list(data.x_train.shape)}, export

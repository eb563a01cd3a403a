"""Snapshots: the whole state after some steps, in one safetensors file that shows by itself whether it is whole.

They save time (a resumed run replays from the last one) and are the way out when a journal is damaged or holds only
digests. A file is written under another name, made durable, then renamed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from orchestrator.journal import crash
from orchestrator.journal.files import save_arrays, write_whole

FOLDER = "snapshots"
KEEP = 2


class Unusable(ValueError):
    """A snapshot is missing or damaged."""


def name_of(step: int) -> str:
    return f"{step:09d}.safetensors"


def save(folder: Path, step: int, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """Write snapshots/STEP.safetensors below `folder`; returns its sha256 (of meta and arrays)."""
    (folder / FOLDER).mkdir(exist_ok=True)
    text = json.dumps(meta, separators=(",", ":"))
    found = _sha256(text, arrays)
    path = folder / FOLDER / name_of(step)
    write_whole(
        path,
        lambda draft: save_arrays(draft, arrays, {"about": json.dumps([found, text])}),
        before=lambda: crash.reach("snapshot.written"),
    )
    crash.reach("snapshot.renamed")
    return found


def load(folder: Path, step: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(meta, arrays) after `step` steps. Raises `Unusable`."""
    path = folder / FOLDER / name_of(step)
    try:
        with safe_open(path, "np") as file:
            found, text = json.loads((file.metadata() or {})["about"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        if _sha256(text, arrays) != found:
            raise Unusable(f"{path} is damaged: its content has another sha256 than it says")
        return json.loads(text), arrays
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise Unusable(str(error) if isinstance(error, Unusable) else f"{path} cannot be read: {error}") from None


def steps(folder: Path) -> list[int]:
    """Steps of which there is a file, newest first; whether it is whole shows `load`."""
    found = (p.name.removesuffix(".safetensors") for p in (folder / FOLDER).glob("[0-9]*.safetensors"))
    return sorted((int(s) for s in found if s.isdigit()), reverse=True)


def prune(folder: Path, keep: int = KEEP) -> None:
    """Remove all but the newest, and drafts that a killed process left."""
    for step in steps(folder)[keep:]:
        (folder / FOLDER / name_of(step)).unlink(missing_ok=True)
    for draft in (folder / FOLDER).glob(".*.draft"):
        draft.unlink(missing_ok=True)


def _sha256(text: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        value = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()

"""`pnn replay` and `pnn diff`."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.replay import difference, replay
from orchestrator.view import say


def replay_command(directory: str, until: int | None, as_json: bool) -> None:
    """Print the SHA-256 of the parameters, or one object with it."""
    found = replay(Path(directory), until)
    say(f"{directory}: parameters after step {found.step} of {found.steps} journalled")
    if found.step < (found.steps if until is None else until):
        say("Of the steps after that the journal holds only digests; pnn resume runs them again.")
    if as_json:
        told = {"directory": directory, "step": found.step, "steps": found.steps}
        print(json.dumps({**told, "parameters_sha256": found.parameters_sha256}))
    else:
        print(found.parameters_sha256)


def diff_command(a: str, b: str) -> None:
    """One line; exit code 1 if the runs part."""
    told = difference(Path(a), Path(b))
    print(told or "they measured the same")
    if told:
        raise SystemExit(1)

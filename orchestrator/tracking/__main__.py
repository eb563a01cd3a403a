"""python -m orchestrator.tracking ROOT [--store URI]: export the runs of ROOT until standard input ends.

A process of its own: neither the import of MLflow nor a store that hangs can hold up training.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path

from orchestrator.problems import RunFileError
from orchestrator.tracking import resolve
from orchestrator.tracking.follow import LAST_S, Follower, watchdog
from orchestrator.tracking.tracker import PRIORITY


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m orchestrator.tracking", description=__doc__)
    parser.add_argument("root", metavar="ROOT", type=Path, help="the folder of a run or of a comparison")
    parser.add_argument("--store", metavar="URI", help="default: PNN_TRACKING, MLFLOW_TRACKING_URI, runs/mlflow.db")
    given = parser.parse_args()
    try:
        uri = resolve(given.store)
    except RunFileError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    os.setpriority(os.PRIO_PROCESS, 0, max(PRIORITY, os.getpriority(os.PRIO_PROCESS, 0)))
    if uri is None:
        return 0
    closing = threading.Event()
    threading.Thread(target=_until_end, args=(closing,), daemon=True).start()
    Follower(given.root.absolute(), uri).follow(closing)
    return 0


def _until_end(closing: threading.Event) -> None:
    """Standard input ends when whoever started us closes it, or dies."""
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    watchdog(LAST_S)
    closing.set()


if __name__ == "__main__":
    raise SystemExit(main())

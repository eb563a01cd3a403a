"""A Ray cluster of this machine alone, on loopback, in a folder of its own that is removed with it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

os.environ |= {
    "RAY_AUTH_MODE": "disabled",  # unset, Ray 2.60 writes a token into the home folder
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no warning of a change to come that concerns accelerators only
}


@contextmanager
def ray(cpus: int, threads: int) -> Iterator[None]:
    """`threads`: OMP_NUM_THREADS of each worker (else Ray sets it to the CPUs that the actor asked for)."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import ray

    folder = tempfile.mkdtemp(prefix="ray-")
    try:
        ray.init(
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=256 * 2**20,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)

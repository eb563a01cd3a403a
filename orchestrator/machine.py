"""The memory of this machine: how much this process may have, and how much is left."""

from __future__ import annotations

import os
import re
from pathlib import Path

GROUPS, MINE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def total_bytes() -> int | None:
    """Memory of the machine, or of the control group that this process is in if that is less. None: not known."""
    found = [limit for limit, _ in control_groups()]
    try:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        pass
    return min(found, default=None)


def available_bytes() -> int | None:
    """What can still be had without swapping, of the machine and within its control group. None: not known."""
    found = [limit - used for limit, used in control_groups()]
    try:
        free = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        found += [int(free[1]) * 1024] if free else []
    except OSError:
        pass
    return min(found, default=None)


def control_groups(
    root: Path = Path("/sys/fs/cgroup"), mine: Path = Path("/proc/self/cgroup")
) -> list[tuple[int, int]]:
    """(limit, used) in bytes of every control group that this process is in, those without a limit left out."""
    try:
        lines = mine.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, names = root, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            base, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        folder = base / path.lstrip("/")
        for place in (folder, *folder.parents):
            if not place.is_relative_to(base):
                break
            try:
                limit, used = ((place / name).read_text().strip() for name in names)
                found.append((int(limit), int(used)))
            except (OSError, ValueError):  # not there, or "max"
                continue
    return [(limit, used) for limit, used in found if limit < 1 << 60]


def used_bytes() -> int | None:
    """Memory that this process holds, where Linux tells it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None

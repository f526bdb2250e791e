"""How much memory this machine has."""

from __future__ import annotations

import os
from pathlib import Path

_LIMITS = (  # of a container: today's Linux, and before
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def machine_memory() -> int | None:
    """Bytes of memory, or of a container's limit on it; None where the system does not tell."""
    try:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, OSError, ValueError):  # Windows
        return None
    for path in _LIMITS:
        try:
            found.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no container, or one without a limit: "max"
            continue
    return min(found)


def in_gib(count: int) -> str:
    """Bytes in words: ``2.5 GiB``."""
    return f"{count / 2**30:,.1f} GiB"

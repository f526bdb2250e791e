"""How much memory this machine has, and how much of it is to be had."""

from __future__ import annotations

import os
from pathlib import Path

_LIMITS = (  # of a container: today's Linux, and before
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_CONTAINER = tuple(  # the limit, what is in use, and of what kind; today's Linux, and before
    tuple(Path("/sys/fs/cgroup") / name for name in names)
    for names in (
        ("memory.max", "memory.current", "memory.stat"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
        ),
    )
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


def free_memory() -> int | None:
    """Bytes that this process can have; None where the system does not tell.

    What Linux keeps files cached in counts, as it is given up when memory is asked for. So do the
    limits of a container and of this process (``ulimit -v``), less what is in use.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (kib,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        found = [int(kib) * 1024]
    except (OSError, ValueError):  # Windows, macOS
        return None
    for limit, used, inside in _CONTAINER:
        try:
            most, now = (int(path.read_text(encoding="ascii")) for path in (limit, used))
            files = _files_cached(inside)
        except (OSError, ValueError):
            continue
        found.append(most - now + files)
    if (of_process := _left_of_address_space()) is not None:
        found.append(of_process)
    return max(0, min(found))


def _files_cached(statistics: Path) -> int:
    """Bytes of a container's memory that hold files, and are given up when they are needed."""
    lines = statistics.read_text(encoding="ascii").splitlines()
    kinds = dict(line.split()[:2] for line in lines if len(line.split()) == 2)
    return sum(int(kinds.get(kind, 0)) for kind in ("inactive_file", "active_file"))


def _left_of_address_space() -> int | None:
    """Bytes up to the limit on this process's address space; None where it has none."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return None
    return max(0, limit - pages * os.sysconf("SC_PAGE_SIZE"))


def in_gib(count: int) -> str:
    """Bytes in words: ``2.5 GiB``."""
    return f"{count / 2**30:,.1f} GiB"

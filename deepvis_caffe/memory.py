"""The memory of this machine, what is available of it, and how freed memory is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_LIMITS = (  # of a container: cgroup v2 and v1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_CONTAINER = tuple(  # limit, usage and statistics; cgroup v2 and v1
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

KEPT = 2**30  # bytes of freed memory that a command keeps
_ALLOCATOR_CHOSEN = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # see mallopt(3)
_LARGEST_THRESHOLD = 2**25  # of older versions of glibc


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let this process keep the memory of freed tensors for its next ones, up to `KEPT` bytes.

    By default, glibc returns large blocks to the system, which then maps and clears them again,
    page by page: up to a fifth of a pass's time on a CPU.

    This is for processes of our own. It does nothing if the user has configured the allocator, or
    with another C library than glibc. Returns whether it took effect.
    """
    if any(name in environment for name in _ALLOCATOR_CHOSEN):
        return False
    try:
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (ImportError, AttributeError, OSError, TypeError):  # macOS, Windows, musl
        return False
    # Setting one threshold fixes the other at its small initial value.
    sizes = (KEPT, _LARGEST_THRESHOLD)
    return any(mallopt(_M_MMAP_THRESHOLD, size) for size in sizes) and bool(
        mallopt(_M_TRIM_THRESHOLD, KEPT)
    )


def machine_memory() -> int | None:
    """Bytes of memory, or a container's lower limit; None where the system does not tell."""
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
    """Bytes that this process can still allocate; None where the system does not tell.

    Linux's page cache counts as free, because it is released on demand. The limits of a container
    and of this process (``ulimit -v``), less what is in use, are respected.
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
    """Bytes of a container's page cache, which is released on demand."""
    lines = statistics.read_text(encoding="ascii").splitlines()
    kinds = dict(line.split()[:2] for line in lines if len(line.split()) == 2)
    return sum(int(kinds.get(kind, 0)) for kind in ("inactive_file", "active_file"))


def _left_of_address_space() -> int | None:
    """Bytes left below this process's address space limit; None where it has none."""
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

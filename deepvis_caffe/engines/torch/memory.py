"""Freed memory stays with the process, so that the next step finds it where it was."""

from __future__ import annotations

import ctypes
import functools
import logging

log = logging.getLogger(__name__)

# glibc's <malloc.h>: parameters of mallopt, and the largest block that its heap takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 32 * 2**20
_NEVER = 2**31 - 1


@functools.cache
def keep_freed_memory() -> None:
    """Have glibc keep what is freed, as PyTorch does on a GPU; other allocators are left alone.

    Every step of an ascent allocates and frees the same tensors. By default glibc hands the large
    ones back to the system each time, and to get them again costs a page fault for every 4 KiB: up
    to a tenth of a step, a fifth at batch 16.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return
    kept = mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK) and mallopt(_M_TRIM_THRESHOLD, _NEVER)
    log.debug("freed memory %s", "is kept" if kept else "is handed back: mallopt refused")

"""What the last bits of a result depend on: ``net -> machine, libraries, threads``.

The order of a sum changes its rounding, and hundreds of ascent steps amplify that into visible
differences. `computed_by` records what determines the order. `one_thread` fixes the part of it that
can be fixed in any process.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net


def computed_by(net: Net) -> dict[str, Any]:
    """What computes a net's values in this process, as JSON types.

    Returns
    -------
    dict
        ``"device"``, ``"processor"``, the version of ``"numpy"``, and all of `Net.computes_with`.
    """
    here = {"device": net.device, "processor": processor(), "numpy": np.__version__}
    return {**here, **net.computes_with()}


def blas_of(engine: str) -> dict[str, Any]:
    """An engine's ``"blas"`` libraries, sorted, and their ``"threads"``."""
    found = _libraries(engine).select(user_api="blas").info()
    # The libraries in numpy's and scipy's wheels serve only those packages.
    libraries = [one for one in found if ".libs" not in one["filepath"]] or found
    blas = {
        " ".join(filter(None, (one["internal_api"], one["version"], one.get("architecture"))))
        for one in libraries
    }
    threads = max((one["num_threads"] for one in libraries), default=1)
    return {"blas": sorted(blas), "threads": threads}


@contextmanager
def one_thread(net: Net) -> Iterator[None]:
    """Run the block with torch and every BLAS of this process on one thread.

    The settings are process-wide, so other threads compute more slowly meanwhile. They are restored
    at the end.
    """
    # First torch's own number, which covers MKL: it is linked into torch's library.
    with net.ops.on_threads(1), _libraries(net.engine).limit(limits=1):
        yield


@cache
def processor() -> str:
    """The processor's name, as reported by the system."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


@cache
def _libraries(engine: str) -> ThreadpoolController:
    """The loaded libraries that have thread pools; each engine loads some."""
    return ThreadpoolController()

"""What the last bits of a result depend on: ``net -> machine, libraries, threads``.

The same sums in another order round differently, and an ascent of hundreds of steps enlarges that
to what can be seen. `computed_by` says what decides the order, for records. `one_thread` holds the
part of it fixed that can be held in any process.
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
    """What computes a net's values in this process, in JSON's types.

    Returns
    -------
    dict
        ``"device"``, ``"processor"``, the version of ``"numpy"``, and what the engine says in
        `Net.computes_with`.
    """
    here = {"device": net.device, "processor": processor(), "numpy": np.__version__}
    return {**here, **net.computes_with()}


def blas_of(engine: str) -> dict[str, Any]:
    """The ``"blas"`` that an engine brings, sorted, and its ``"threads"``."""
    found = _libraries(engine).select(user_api="blas").info()
    # Those of numpy's and scipy's wheels are their own.
    libraries = [one for one in found if ".libs" not in one["filepath"]] or found
    blas = {
        " ".join(filter(None, (one["internal_api"], one["version"], one.get("architecture"))))
        for one in libraries
    }
    threads = max((one["num_threads"] for one in libraries), default=1)
    return {"blas": sorted(blas), "threads": threads}


@contextmanager
def one_thread(net: Net) -> Iterator[None]:
    """Within the block, torch and every BLAS of this process compute on one thread.

    The switches belong to the process: what other threads of it compute meanwhile is slower. They
    are put back at the end.
    """
    with _libraries(net.engine).limit(limits=1):
        if net.engine != "torch":
            yield
            return
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)  # of MKL, which is a part of torch's own library, too
        try:
            yield
        finally:
            torch.set_num_threads(before)


@cache
def processor() -> str:
    """The processor's name, as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


@cache
def _libraries(engine: str) -> ThreadpoolController:
    """The libraries with threads of their own that are loaded; each engine brings some."""
    return ThreadpoolController()

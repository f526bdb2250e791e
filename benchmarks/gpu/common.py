"""What the parts share: where results go, the GPU or a simulated one, and the time left."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

REHEARSAL = os.environ.get("DEEPVIS_GPU_REHEARSAL") == "1"
# The device in other processes, which cannot be given a simulated one.
ELSEWHERE = "cpu" if REHEARSAL else "cuda"
WHEELS = Path(os.environ.get("DEEPVIS_GPU_WHEELS", Path(__file__).with_name("wheels")))
_began = time.monotonic()


def write(part: str, what: str, **result: Any) -> None:
    """Add a line to the results, and print it."""
    line = json.dumps({"part": part, "what": what, **result})
    print(line, flush=True)
    if path := os.environ.get("DEEPVIS_GPU_RESULTS"):
        with Path(path).open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")


def seconds_left() -> float:
    """Seconds left of this process's time limit from the command line."""
    return float(sys.argv[1]) - (time.monotonic() - _began)


def gpu() -> AbstractContextManager[Any]:
    """In a rehearsal, a context with a simulated GPU."""
    if not REHEARSAL:
        return nullcontext()
    from helpers.simulated_cuda import simulated_cuda

    return simulated_cuda()

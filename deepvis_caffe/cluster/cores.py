"""A worker's share of this machine: ``(worker, workers, cores, gpus) -> environment variables``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

VISIBLE = "CUDA_VISIBLE_DEVICES"
# OpenMP's (torch, and an OpenBLAS built with it), OpenBLAS's own and MKL's. Each library reads its
# variable when it is loaded, so they have to be there before the first import.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def share(worker: int, threads: int, gpus: Sequence[str] = ()) -> dict[str, str]:
    """The environment of one worker.

    Parameters
    ----------
    worker
        Its number, from 0.
    threads
        How many it computes with.
    gpus
        What there is to deal out: worker i gets number i modulo their count, and sees no other.
    """
    visible = {VISIBLE: gpus[worker % len(gpus)]} if gpus else {}
    return {**dict.fromkeys(THREADS, str(threads)), **visible}


def threads_each(workers: int, cores: int | None = None) -> int:
    """An equal share of the cores, at least 1."""
    return max(1, (cores or usable_cores()) // workers)


def usable_cores() -> int:
    """The cores that this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The NVIDIA GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    Those that the variable lists, where it is set; else all that the driver lists, by number.
    """
    if (listed := environment.get(VISIBLE)) is not None:
        names = [name.strip() for name in listed.split(",")]
        # CUDA reads up to the first that is none; "-1" is how one hides them all.
        end = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))
        return tuple(names[:end])
    try:
        said = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    count = sum(line.startswith("GPU ") for line in said.splitlines())
    return tuple(map(str, range(count)))

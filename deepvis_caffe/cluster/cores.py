"""The cores and GPUs that our processes use, and how their threads wait.

All of this is set by environment variables, which libraries read when they are loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
# For OpenMP (torch, and an OpenBLAS built with it), OpenBLAS itself, and MKL. They must be set
# before the first import.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# OpenMP threads wait for each other many times in a pass, by spinning for milliseconds. Where
# another program runs on the core that they wait for, that wastes the time of both. So our threads
# sleep after half a millisecond, about the time between two layers, or after some microseconds on a
# machine where other programs compute. See "Beside other programs" in benchmarks/README.md.
# libgomp, which torch uses on Linux, reads the first variable; libomp, as on macOS, and MKL's
# OpenMP read the second.
ON_FREE_CORES = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
BESIDE_OTHERS = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
WAITING_CHOSEN = ("OMP_WAIT_POLICY", *ON_FREE_CORES)  # the user has chosen if one of them is set
LOAD = Path("/proc/loadavg")
LOOKS, APART = 3, 0.003  # samples, and seconds between them: a program that just wakes is no load


def waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that set how long waiting threads spin; none where the user has set one."""
    if any(name in environment for name in WAITING_CHOSEN):
        return {}
    return dict(BESIDE_OTHERS if others_compute() else ON_FREE_CORES)


def others_compute(load: Path = LOAD) -> bool:
    """Whether other programs are so busy that one thread per core of ours has to share a core.

    Parameters
    ----------
    load
        Linux's load file, see proc(5). Without it the load is unknown, and the answer is False.
    """
    free = (os.cpu_count() or 1) - usable_cores()
    for look in range(LOOKS):
        time.sleep(APART * bool(look))
        try:
            running, _, _ = load.read_text(encoding="ascii").split()[3].partition("/")
        except (OSError, ValueError, IndexError):
            return False
        if not running.isdecimal() or int(running) - 1 <= free:  # not counting this thread
            return False
    return True


def limit_threads(count: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Limit the threads of libraries that this process has not loaded yet."""
    environment.update(dict.fromkeys(THREADS, str(count)))


def share(worker: int, threads: int, gpus: Sequence[str] = ()) -> dict[str, str]:
    """The environment variables of one worker.

    Parameters
    ----------
    worker
        Its number, from 0.
    threads
        How many threads it computes with.
    gpus
        The GPUs of all workers. Worker i sees only GPU i modulo their count; if there are none, it
        sees the GPUs that this process sees.
    """
    visible = {VISIBLE: gpus[worker % len(gpus)]} if gpus else {}
    return {**dict.fromkeys(THREADS, str(threads)), **visible}


def threads_each(workers: int, cores: int | None = None) -> int:
    """Threads for each worker: an equal share of the cores, at least 1."""
    return max(1, (cores or usable_cores()) // workers)


def threads_here(environment: Mapping[str, str] = os.environ) -> int:
    """Threads for this process: one per usable core, or fewer if ``OMP_NUM_THREADS`` says so."""
    limit = environment.get(THREADS[0], "")
    return min(usable_cores(), max(1, int(limit))) if limit.isdecimal() else usable_cores()


def usable_cores() -> int:
    """The number of cores that this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The NVIDIA GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    If the variable is set, those that it lists; otherwise all that the driver lists, by number.
    """
    if (listed := environment.get(VISIBLE)) is not None:
        names = [name.strip() for name in listed.split(",")]
        # CUDA stops at the first invalid entry; "-1" hides all GPUs.
        end = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))
        return tuple(names[:end])
    try:
        output = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    count = sum(line.startswith("GPU ") for line in output.splitlines())
    return tuple(map(str, range(count)))

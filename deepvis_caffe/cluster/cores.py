"""What processes of ours take of this machine: cores, GPUs, and how their threads wait.

All of it is environment variables, for libraries read these when they are loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
# For OpenMP (torch, and an OpenBLAS built with it), OpenBLAS itself, and MKL. Each library reads
# its variable when it is loaded, so they must be set before the first import.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Threads of OpenMP wait for each other many times in a pass, by spinning for milliseconds. Where
# another program has the core that they wait for, that is time lost for both. So they sleep after
# half a millisecond, which is about the time between two layers; and on a machine where others
# compute, after some microseconds. See "Beside other programs" in benchmarks/README.md.
# libgomp, which torch has on Linux, reads the first; libomp, as on macOS, and MKL's the second.
ON_FREE_CORES = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
BESIDE_OTHERS = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
WAITING_CHOSEN = ("OMP_WAIT_POLICY", *ON_FREE_CORES)  # by the user, if one of them is set
LOAD = Path("/proc/loadavg")
LOOKS, APART = 3, 0.003  # at what runs, and seconds between two: a program that wakes up is no load


def waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that say how long threads spin while they wait; none where the user has."""
    if any(name in environment for name in WAITING_CHOSEN):
        return {}
    return dict(BESIDE_OTHERS if others_compute() else ON_FREE_CORES)


def others_compute(load: Path = LOAD) -> bool:
    """Whether other programs have so many cores now that a thread on each of ours must share one.

    Parameters
    ----------
    load
        Linux's list of what runs, see proc(5). Where there is none, nothing is known: False.
    """
    free = (os.cpu_count() or 1) - usable_cores()
    for look in range(LOOKS):
        time.sleep(APART * bool(look))
        try:
            running, _, _ = load.read_text(encoding="ascii").split()[3].partition("/")
        except (OSError, ValueError, IndexError):
            return False
        if not running.isdecimal() or int(running) - 1 <= free:  # this thread runs, too
            return False
    return True


def limit_threads(count: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let libraries that this process has yet to load compute with so many threads."""
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
        The GPUs of all workers. Worker i sees only number i modulo their count; with none given, it
        sees those that this process sees.
    """
    visible = {VISIBLE: gpus[worker % len(gpus)]} if gpus else {}
    return {**dict.fromkeys(THREADS, str(threads)), **visible}


def threads_each(workers: int, cores: int | None = None) -> int:
    """Threads for each of so many workers: an equal share of the cores, at least 1."""
    return max(1, (cores or usable_cores()) // workers)


def threads_here(environment: Mapping[str, str] = os.environ) -> int:
    """Threads for this process: one for each of its cores, or fewer where it has a limit."""
    limit = environment.get(THREADS[0], "")
    return min(usable_cores(), max(1, int(limit))) if limit.isdecimal() else usable_cores()


def usable_cores() -> int:
    """The cores that this process may run on."""
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

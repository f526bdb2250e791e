"""Where tasks run: in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deepvis_caffe.errors import SettingsError

OnReport = Callable[[int, Any], None]


@dataclass(frozen=True)
class Serial:
    """In this process, one task after another."""


@dataclass(frozen=True)
class LocalProcesses:
    """In worker processes on this machine, which exit when the work is done.

    Parameters
    ----------
    count
        Number of processes; each makes its own state.
    threads
        Threads that each process computes with; by default an equal share of the cores.
    gpus
        Devices to assign to the processes in turn, as ``CUDA_VISIBLE_DEVICES`` names them; see
        `deepvis_caffe.cluster.cores.find_gpus`. If empty, the processes see the GPUs that this one
        sees.
    tries
        How often a task may be tried. If its process dies the last time, too, that is an error.

    Raises
    ------
    SettingsError
        A number is below 1.
    """

    count: int
    threads: int | None = None
    gpus: tuple[str, ...] = ()
    tries: int = 3

    def __post_init__(self) -> None:
        for name in ("count", "threads", "tries"):
            _at_least_one(name, getattr(self, name))


@dataclass(frozen=True)
class DaskCluster:
    """On the workers of a Dask cluster that is already running.

    Parameters
    ----------
    address
        The scheduler's address, for example ``tcp://10.0.0.1:8786``.
    timeout
        Seconds to wait for the scheduler.
    in_flight
        The most tasks on the cluster at a time, so that results do not pile up there; by default
        two for each worker, and at least 8.

    Raises
    ------
    SettingsError
        A number is below 1, or the address is malformed.
    """

    address: str
    timeout: float = 10.0
    in_flight: int | None = None

    def __post_init__(self) -> None:
        _at_least_one("in_flight", self.in_flight)
        if not re.fullmatch(
            r"((tcp|tls|ws|wss|ucx)://)?(\[[\da-fA-F:.]+\]|[^/:\s]+):\d+/?", self.address
        ):
            raise SettingsError(
                f"a scheduler's address looks like tcp://10.0.0.1:8786; got {self.address!r}"
            )


Where = Serial | LocalProcesses | DaskCluster


def _at_least_one(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise SettingsError(f"{name} must be at least 1; got {value}")

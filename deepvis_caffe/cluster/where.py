"""Where tasks run: in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deepvis_caffe.errors import SettingsError


@dataclass(frozen=True)
class Serial:
    """In this process, one after another."""


@dataclass(frozen=True)
class LocalProcesses:
    """In processes of this machine, which end with the work.

    Parameters
    ----------
    count
        Number of processes; each builds its own state.
    threads
        Threads that each computes with; by default an equal share of the cores.
    gpus
        Devices to deal out, one to a process in turn, as ``CUDA_VISIBLE_DEVICES`` names them; see
        `deepvis_caffe.cluster.shares.find_gpus`. Where there are none, processes see what we see.
    tries
        How often a task may lose the process that runs it.

    Raises
    ------
    SettingsError
        A number under 1.
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
    """On the workers of a Dask cluster that runs already.

    Parameters
    ----------
    address
        The scheduler's, for example ``tcp://10.0.0.1:8786``.
    timeout
        Seconds to wait for the scheduler.
    in_flight
        The most tasks that are on the cluster at a time, so that results do not pile up there; by
        default two a worker, and at least 8.

    Raises
    ------
    SettingsError
        A number under 1, or an address that is none.
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
                f"a scheduler's address is as tcp://10.0.0.1:8786; got {self.address!r}"
            )


Where = Serial | LocalProcesses | DaskCluster


def _at_least_one(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise SettingsError(f"{name} must be at least 1; got {value}")

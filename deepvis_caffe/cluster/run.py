"""Map tasks over one process or many: ``(make_state, work, tasks, where) -> (index, result), ...``.

Every place gives the same results, in the order in which they are ready. Only the caller writes
files, so workers need no writable folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from deepvis_caffe.cluster.failure import name_task
from deepvis_caffe.errors import SettingsError


@dataclass(frozen=True)
class Serial:
    """In this process, one task after another."""


@dataclass(frozen=True)
class LocalProcesses:
    """In processes on this machine, which end when the work does.

    Parameters
    ----------
    count
        Number of processes; each builds its own state.
    threads
        Threads that each process computes with; by default an equal share of the cores.
    gpus
        Devices to assign to the processes in turn, as ``CUDA_VISIBLE_DEVICES`` names them; see
        `deepvis_caffe.cluster.cores.find_gpus`. If empty, the processes see the GPUs that this one
        sees.
    tries
        How many processes may die while they run one task, before that is an error.

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
        A number is below 1, or the address is not one.
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

State = TypeVar("State")
Task = TypeVar("Task")
Result = TypeVar("Result")

Report = Callable[[Any], None]
OnReport = Callable[[int, Any], None]


def run_tasks(
    make_state: Callable[[], State],
    work: Callable[[State, Task, Report], Result],
    tasks: Iterable[Task],
    where: Where = Serial(),  # frozen
    on_report: OnReport | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Run every task, and yield each result as soon as it is ready.

    Closing the iterator, for example with `contextlib.closing`, stops everything that still runs.
    An exception in the middle does the same, `KeyboardInterrupt` included.

    Parameters
    ----------
    make_state
        Makes what the tasks share, for example the net. It is called once in each process, which
        keeps the result. If that has a method `close`, it is called at the end, but only in this
        process; other processes just end.
    work
        ``work(state, task, report) -> result``. ``report(message)`` passes progress on, see
        `on_report`. Call it often: on a cluster, that is where a run that was stopped ends.
    tasks
        Taken one by one as workers become free. ``str(task)`` names a task in messages. Except with
        `Serial`, both functions, the tasks and the results must be picklable.
    where
        `Serial`, `LocalProcesses` or `DaskCluster`.
    on_report
        ``on_report(index, message)`` is called with what the tasks report, except on a Dask
        cluster. A task whose process has died starts again from its beginning.

    Yields
    ------
    tuple of int and result
        The task's place in `tasks`, from 0, and what `work` returned for it.

    Raises
    ------
    ClusterError
        Too many processes died of one task, or the cluster cannot be reached or has another version
        of this package.
    Exception
        What `make_state` or `work` raised, with a note that names the task. The other tasks are
        stopped.
    """
    on_report = on_report or _ignore
    if isinstance(where, Serial):
        return _run_here(make_state, work, tasks, on_report)
    if isinstance(where, LocalProcesses):
        from deepvis_caffe.cluster.local import run_local

        return run_local(make_state, work, tasks, where, on_report)
    from deepvis_caffe.cluster.remote import run_remote

    return run_remote(make_state, work, tasks, where)


def _run_here(
    make_state: Callable[[], State],
    work: Callable[[State, Task, Report], Result],
    tasks: Iterable[Task],
    on_report: OnReport,
) -> Generator[tuple[int, Result], None, None]:
    state = make_state()
    try:
        for index, task in enumerate(tasks):
            try:
                result = work(state, task, partial(on_report, index))
            except Exception as error:
                name_task(error, task)
                raise
            yield index, result
    finally:
        close = getattr(state, "close", None)
        if close is not None:
            close()


def _ignore(index: int, message: Any) -> None:
    pass


def _at_least_one(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise SettingsError(f"{name} must be at least 1; got {value}")

"""Map tasks over one process or many: ``(make_state, work, tasks, where) -> (index, result), ...``.

The results are the same wherever tasks run, and come in the order in which they are ready. Only the
caller writes files, so workers need no writable folder.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any, TypeVar

from deepvis_caffe.cluster.failure import name_task
from deepvis_caffe.cluster.where import LocalProcesses, OnReport, Serial, Where

State = TypeVar("State")
Task = TypeVar("Task")
Result = TypeVar("Result")

Report = Callable[[Any], None]


def run_tasks(
    make_state: Callable[[], State],
    work: Callable[[State, Task, Report], Result],
    tasks: Iterable[Task],
    where: Where = Serial(),  # noqa: B008  # frozen
    on_report: OnReport | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Run every task, and yield each result as soon as it is ready.

    Closing the iterator, for example with `contextlib.closing`, stops everything that still runs.
    So does an exception, `KeyboardInterrupt` included.

    Parameters
    ----------
    make_state
        Makes the state that tasks share, for example the net. It is called once in each process. A
        method ``close`` of the state is called at the end, but only in this process; other
        processes just exit.
    work
        ``work(state, task, report) -> result``. ``report(message)`` reports progress; see
        `on_report`. Call it often: on a cluster, a cancelled run stops in that call.
    tasks
        Taken one by one as workers become free. ``str(task)`` names a task in messages. Except with
        `Serial`, both functions, the tasks and the results must be picklable by cloudpickle, as
        lambdas and functions of a script are.
    where
        `Serial`, `LocalProcesses` or `DaskCluster`.
    on_report
        ``on_report(index, message)`` is called for each report of a task, except on a Dask
        cluster. A task whose process has died starts over.

    Yields
    ------
    tuple of int and result
        The task's index in `tasks`, and what `work` returned for it.

    Raises
    ------
    ClusterError
        Too many processes died while they ran one task, or the cluster cannot be reached or has
        another version of this package.
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

"""Map tasks over one process or many: ``(make_state, work, tasks, where) -> (index, result), ...``.

The same results come from everywhere, in the order in which they are ready. Whoever asks for them
is the only one who writes files, so that workers need no folder that can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any, TypeVar

from deepvis_caffe.cluster.failure import name_task
from deepvis_caffe.cluster.where import LocalProcesses, Serial, Where

State = TypeVar("State")
Task = TypeVar("Task")
Result = TypeVar("Result")

Tell = Callable[[Any], None]
Heard = Callable[[int, Any], None]


def run_tasks(
    make_state: Callable[[], State],
    work: Callable[[State, Task, Tell], Result],
    tasks: Iterable[Task],
    where: Where = Serial(),  # noqa: B008  # frozen
    heard: Heard | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Run every task, and yield each result as soon as it is there.

    Close the iterator, as `contextlib.closing` does, and everything still running is stopped; an
    exception in the middle of it, `KeyboardInterrupt` too, does the same.

    Parameters
    ----------
    make_state
        Makes what the tasks share, for example the net: once in each process, which keeps it. In
        this process, where it has a method `close`, that is called at the end; others just end.
    work
        ``work(state, task, tell) -> result``. ``tell(message)`` says how far it is: see `heard`.
        Let it be called often, since on a cluster it is there that a stopped run ends.
    tasks
        Taken one by one as there is room. ``str(task)`` names it where something goes wrong.
        Anywhere but in this process, both functions, tasks and results must be picklable.
    where
        `Serial`, `LocalProcesses` or `DaskCluster`.
    heard
        ``heard(index, message)`` gets what the tasks tell, but for those on a Dask cluster. A task
        whose process died starts again.

    Yields
    ------
    tuple of int and result
        The task's place in `tasks`, from 0, and what `work` returned for it.

    Raises
    ------
    ClusterError
        A task's process died too often; the cluster cannot be reached or runs another version.
    Exception
        What `make_state` or `work` raised, with a note that names the task. Other tasks are
        stopped.
    """
    hear = heard or _ignore
    if isinstance(where, Serial):
        return _run_here(make_state, work, tasks, hear)
    if isinstance(where, LocalProcesses):
        from deepvis_caffe.cluster.local import run_local

        return run_local(make_state, work, tasks, where, hear)
    from deepvis_caffe.cluster.remote import run_remote

    return run_remote(make_state, work, tasks, where)


def _run_here(
    make_state: Callable[[], State],
    work: Callable[[State, Task, Tell], Result],
    tasks: Iterable[Task],
    hear: Heard,
) -> Generator[tuple[int, Result], None, None]:
    state = make_state()
    try:
        for index, task in enumerate(tasks):
            try:
                result = work(state, task, partial(hear, index))
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

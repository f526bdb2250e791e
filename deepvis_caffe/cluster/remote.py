"""Tasks on a Dask cluster: few in flight, and each worker process keeps its state.

Functions of this package are pickled by reference, so the scheduler and the workers need the same
version of it; functions of a script are pickled by value.
"""

from __future__ import annotations

import logging
import os
import pickle
import pkgutil
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import cloudpickle

import deepvis_caffe
from deepvis_caffe.cluster.cores import THREADS
from deepvis_caffe.cluster.failure import Failure, in_task
from deepvis_caffe.cluster.process import use_threads
from deepvis_caffe.cluster.where import DaskCluster
from deepvis_caffe.errors import ClusterError
from deepvis_caffe.resources import pip_install

log = logging.getLogger(__name__)

FEWEST_IN_FLIGHT = 8  # so that an autoscaling cluster without workers sees some load


def run_remote(
    make_state: Callable[[], Any],
    work: Callable[[Any, Any, Any], Any],
    tasks: Iterable[Any],
    where: DaskCluster,
) -> Generator[tuple[int, Any], None, None]:
    """`deepvis_caffe.cluster.run_tasks` on a `DaskCluster`."""
    job = cloudpickle.dumps((make_state, work))
    run = uuid.uuid4().hex
    fresh = enumerate(tasks)
    running: dict[Any, tuple[int, Any]] = {}
    with _connected(where) as client, _cancelled(client, run, running):
        from distributed import as_completed

        _check_versions(client)
        done = as_completed(loop=client.loop)

        def fill() -> None:
            with _lost_scheduler_explained(where.address):
                workers = client.run_on_scheduler(_resources)
            if not workers:
                log.warning("the scheduler at %s has no workers yet: waiting", where.address)
            most = where.in_flight or max(FEWEST_IN_FLIGHT, 2 * len(workers))
            for index, task in fresh if len(running) < most else ():
                future = client.submit(
                    run_task,
                    (run, deepvis_caffe.__version__, job),
                    cloudpickle.dumps(task),
                    key=f"deepvis-{run}-{index}",
                    resources=needed(workers),
                    pure=False,
                )
                running[future] = index, task
                done.add(future)
                if len(running) >= most:
                    break

        fill()
        while running:
            future = next(done)
            index, task = running.pop(future)
            result = _result(future, task, where.address)
            del future  # so that the cluster releases the result
            fill()
            yield index, result


def needed(workers: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The resources that a task requires: a GPU, if any worker advertises one.

    Parameters
    ----------
    workers
        The resources of each worker by address, for example ``{"GPU": 1}``.
    """
    return {"GPU": 1} if any(worker.get("GPU") for worker in workers.values()) else {}


# -- on the client -----------------------------------------------------------------------------


@contextmanager
def _connected(where: DaskCluster) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(f"Dask cannot be imported ({error}): {pip_install('dask')}") from error
    try:
        client = Client(where.address, timeout=where.timeout, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {where.address} ({error}); start one with `dask "
            "scheduler`, whose first lines say its address, and check that this machine reaches it"
        ) from error
    with client, _silenced("distributed.client"):  # we report a lost scheduler ourselves
        yield client


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _cancelled(client: Any, run: str, running: Mapping[Any, Any]) -> Iterator[None]:
    """At the end of the block, cancel the tasks and free the workers' state."""
    try:
        yield
    finally:
        if client.status == "running":
            client.cancel(list(running), force=True)
            client.run(end_run, run, on_error="ignore")


def _check_versions(client: Any) -> None:
    """Raise if the scheduler or a worker cannot import this package, or has another version."""
    name, ours = "deepvis_caffe:__version__", deepvis_caffe.__version__
    try:
        found = {"the scheduler": client.run_on_scheduler(pkgutil.resolve_name, name)}
    except ImportError as error:
        found = {"the scheduler": error}
    found |= client.run(pkgutil.resolve_name, name, on_error="return")
    for place, version in found.items():
        if isinstance(version, ImportError | str) and version != ours:
            raise ClusterError(_version_mismatch(place, version, ours))


def _version_mismatch(place: str, version: ImportError | str, ours: str) -> str:
    has = f"has {version}" if isinstance(version, str) else f"has none ({version})"
    return (
        f"the cluster has several versions of deepvis_caffe: {place} {has}, and this process has "
        f"{ours}; install the same one everywhere, as here: {pip_install('dask,torch')}"
    )


def _result(future: Any, task: Any, address: str) -> Any:
    from distributed import KilledWorker

    try:
        with _lost_scheduler_explained(address):
            answer = future.result()
    except KilledWorker as error:
        raise ClusterError(
            f"the task {task} cannot be done: {error.allowed_failures + 1} Dask workers in turn "
            f"died of it, the last one {error.last_worker.address}; its log may say why; the "
            "usual cause is a lack of memory"
        ) from error
    if isinstance(answer, Failure):
        raise answer.exception()
    return answer


@contextmanager
def _lost_scheduler_explained(address: str) -> Iterator[None]:
    try:
        yield
    except (CancelledError, OSError) as error:
        raise ClusterError(
            f"the Dask scheduler at {address} has ended, or has dropped our tasks ({error}); "
            "finished work is kept, so give the same command again to go on"
        ) from error


# -- on the scheduler --------------------------------------------------------------------------


def _resources(dask_scheduler: Any) -> dict[str, dict[str, float]]:
    """The resources of each worker, by address."""
    return {address: dict(it.resources) for address, it in dask_scheduler.workers.items()}


# -- on a worker -------------------------------------------------------------------------------


class RunEndedError(Exception):
    """Raised in a task whose run has been stopped."""


class _WorkerState:
    """What a worker process keeps between tasks: the state of one run, and which runs are over.

    Tasks run one at a time on a thread of our own, however many threads Dask gave the worker,
    because Caffe and OpenMP keep state per thread.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="deepvis")
        self.run: str | None = None
        self.state: Any = None
        self.work: Callable[[Any, Any, Any], Any] | None = None
        self.over: set[str] = set()

    def prepare(self, run: str, job: bytes) -> None:
        if self.run == run:
            return
        self.run = self.state = None  # free its memory first
        make_state, self.work = pickle.loads(job)
        self.state, self.run = make_state(), run
        if run in self.over:  # stopped in the meantime
            self.end(run)

    def end(self, run: str) -> None:
        self.over.add(run)
        if self.run == run:
            self.run = self.state = None


_worker = _WorkerState()


def run_task(job: tuple[str, str, bytes], task: bytes) -> Any:
    """Run a task, called by Dask; returns the task's result or a `Failure`."""
    threads = threads_of(_dask_threads(), os.environ)
    return _worker.thread.submit(_run_task, *job, task, threads).result()


def _run_task(run: str, version: str, job: bytes, data: bytes, threads: int) -> Any:
    doing = "while a worker was starting"

    def report(message: object = None) -> None:
        if run in _worker.over:
            raise RunEndedError

    try:
        report()
        if version != deepvis_caffe.__version__:
            raise ClusterError(_version_mismatch("a worker", deepvis_caffe.__version__, version))
        _worker.prepare(run, job)
        use_threads(threads)
        task = pickle.loads(data)
        doing = in_task(task)
        return _worker.work(_worker.state, task, report)  # type: ignore[misc]
    except Exception as error:
        return Failure.of(error, doing)


def end_run(run: str) -> None:
    """Stop a run on this worker, and free its state."""
    _worker.end(run)


def threads_of(dask_threads: int, environment: Mapping[str, str]) -> int:
    """How many threads to compute with, on a worker that Dask gave `dask_threads`.

    Dask's nanny sets ``OMP_NUM_THREADS`` to 1, because its tasks run in parallel; ours run one at a
    time. If the variable is larger than Dask's number, the user has set it, and it is used.
    """
    given = environment.get(THREADS[0], "")
    return max(dask_threads, int(given) if given.isdecimal() else 1)


def _dask_threads() -> int:
    from distributed import get_worker

    return int(get_worker().state.nthreads)

"""Tasks on a Dask cluster: few in flight, each worker's state kept in its process.

Scheduler and workers need this package, of the same version: functions travel by name.
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

import deepvis_caffe
from deepvis_caffe.cluster.cores import THREADS
from deepvis_caffe.cluster.failure import Failure, in_task
from deepvis_caffe.cluster.process import use_threads
from deepvis_caffe.cluster.run import DaskCluster
from deepvis_caffe.errors import ClusterError

log = logging.getLogger(__name__)

FEWEST_IN_FLIGHT = 8  # so that a cluster that grows with its load sees some


def run_remote(
    make_state: Callable[[], Any],
    work: Callable[[Any, Any, Any], Any],
    tasks: Iterable[Any],
    where: DaskCluster,
) -> Generator[tuple[int, Any], None, None]:
    """As `deepvis_caffe.cluster.run_tasks` on a `DaskCluster`."""
    job = pickle.dumps((make_state, work))
    run = uuid.uuid4().hex
    fresh = enumerate(tasks)
    running: dict[Any, tuple[int, Any]] = {}
    with _connected(where) as client, _ended(client, run, running):
        from distributed import as_completed

        _check_versions(client)
        done = as_completed(loop=client.loop)

        def fill() -> None:
            with _named_losses(where.address):
                workers = client.run_on_scheduler(_resources)
            if not workers:
                log.warning("the scheduler at %s has no workers yet: waiting", where.address)
            most = where.in_flight or max(FEWEST_IN_FLIGHT, 2 * len(workers))
            for index, task in fresh if len(running) < most else ():
                future = client.submit(
                    run_task,
                    (run, deepvis_caffe.__version__, job),
                    pickle.dumps(task),
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
            del future  # the cluster forgets the result
            fill()
            yield index, result


def needed(workers: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """What a task asks of the worker that runs it: a GPU, where any worker says that it has one.

    Parameters
    ----------
    workers
        By address, what each advertises, for example ``{"GPU": 1}``.
    """
    return {"GPU": 1} if any(worker.get("GPU") for worker in workers.values()) else {}


# -- on the client -----------------------------------------------------------------------------


@contextmanager
def _connected(where: DaskCluster) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(
            f"Dask cannot be imported ({error}): pip install 'deepvis_caffe[dask]'"
        ) from error
    try:
        client = Client(where.address, timeout=where.timeout, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {where.address} ({error}); start one with `dask "
            "scheduler`, whose first lines say its address, and check that this machine reaches it"
        ) from error
    with client, _quiet("distributed.client"):  # a lost scheduler is an error of ours, said once
        yield client


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _ended(client: Any, run: str, running: Mapping[Any, Any]) -> Iterator[None]:
    """Whatever happens, no task goes on, and workers free what they kept."""
    try:
        yield
    finally:
        if client.status == "running":
            client.cancel(list(running), force=True)
            client.run(end_run, run, on_error="ignore")


def _check_versions(client: Any) -> None:
    """Raise where scheduler or a worker cannot import this package, or has another version."""
    name, ours = "deepvis_caffe:__version__", deepvis_caffe.__version__
    try:
        found = {"the scheduler": client.run_on_scheduler(pkgutil.resolve_name, name)}
    except ImportError as error:
        found = {"the scheduler": error}
    found |= client.run(pkgutil.resolve_name, name, on_error="return")
    for place, version in found.items():
        if isinstance(version, ImportError | str) and version != ours:
            raise ClusterError(_differs(place, version, ours))


def _differs(place: str, version: ImportError | str, ours: str) -> str:
    has = f"has {version}" if isinstance(version, str) else f"has none ({version})"
    return (
        f"deepvis_caffe differs over the cluster: {place} {has}, here is {ours}; install the same "
        f"everywhere: pip install 'deepvis_caffe[dask,torch]=={ours}'"
    )


def _result(future: Any, task: Any, address: str) -> Any:
    from distributed import KilledWorker

    try:
        with _named_losses(address):
            answer = future.result()
    except KilledWorker as error:
        raise ClusterError(
            f"the task {task} cannot be done: {error.allowed_failures + 1} Dask workers in turn "
            f"died of it, the last one {error.last_worker.address}; its log may say why, and the "
            "usual reason is memory"
        ) from error
    if isinstance(answer, Failure):
        raise answer.exception()
    return answer


@contextmanager
def _named_losses(address: str) -> Iterator[None]:
    try:
        yield
    except (CancelledError, OSError) as error:
        raise ClusterError(
            f"the Dask scheduler at {address} has ended, or has dropped our tasks ({error}); what "
            "was finished is kept, so give the same command to go on"
        ) from error


# -- on the scheduler --------------------------------------------------------------------------


def _resources(dask_scheduler: Any) -> dict[str, dict[str, float]]:
    """What each worker advertises, by address."""
    return {address: dict(it.resources) for address, it in dask_scheduler.workers.items()}


# -- on a worker -------------------------------------------------------------------------------


class RunEndedError(Exception):
    """Raised within a task of a run that has been stopped."""


class _Kept:
    """What a worker process keeps between tasks: the state of one run, and which runs are over.

    Tasks run on one thread, whatever the number of the worker's own: they take turns, and Caffe
    and OpenMP both keep things by thread.
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
        self.run = self.state = None  # room for the new one
        make_state, self.work = pickle.loads(job)
        self.state, self.run = make_state(), run
        if run in self.over:  # it ended meanwhile
            self.end(run)

    def end(self, run: str) -> None:
        self.over.add(run)
        if self.run == run:
            self.run = self.state = None


_kept = _Kept()


def run_task(job: tuple[str, str, bytes], task: bytes) -> Any:
    """What Dask calls: the task's result, or a `Failure`."""
    threads = threads_of(_dask_threads(), os.environ)
    return _kept.thread.submit(_run_task, *job, task, threads).result()


def _run_task(run: str, version: str, job: bytes, data: bytes, threads: int) -> Any:
    doing = "as a worker made ready"

    def tell(message: object = None) -> None:
        if run in _kept.over:
            raise RunEndedError

    try:
        tell()
        if version != deepvis_caffe.__version__:
            raise ClusterError(_differs("a worker", deepvis_caffe.__version__, version))
        _kept.prepare(run, job)
        use_threads(threads)
        task = pickle.loads(data)
        doing = in_task(task)
        return _kept.work(_kept.state, task, tell)  # type: ignore[misc]
    except Exception as error:
        return Failure.of(error, doing)


def end_run(run: str) -> None:
    """Stop what this worker does for a run, and forget what it kept for it."""
    _kept.end(run)


def threads_of(dask_threads: int, environment: Mapping[str, str]) -> int:
    """How many threads to compute with on a worker that Dask gave so many.

    Dask's own nanny sets ``OMP_NUM_THREADS`` to 1, for tasks side by side; ours take turns. A
    larger number that somebody else set counts.
    """
    said = environment.get(THREADS[0], "")
    return max(dask_threads, int(said) if said.isdecimal() else 1)


def _dask_threads() -> int:
    from distributed import get_worker

    return int(get_worker().state.nthreads)

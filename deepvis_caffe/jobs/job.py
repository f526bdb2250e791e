"""A job: a net, the processes that run it, and its results folder.

Everything that makes results takes a `Job`, so this is configured in one place:
`Job.from_settings` for the commands, ``Job(net, folder)`` for scripts.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from deepvis_caffe.cluster import DaskCluster, LocalProcesses, Serial, Where, run_tasks
from deepvis_caffe.cluster.cores import find_gpus, threads_each, threads_here
from deepvis_caffe.engines.base import Net, same_net
from deepvis_caffe.engines.load import load_net
from deepvis_caffe.errors import ClusterError, ModelError
from deepvis_caffe.optimizer.run import check_reproducible
from deepvis_caffe.progress import ProgressCallback
from deepvis_caffe.results.layout import Folders, net_folders
from deepvis_caffe.results.store import ResultStore
from deepvis_caffe.settings import Settings

Task = TypeVar("Task")


@dataclass(frozen=True, eq=False)
class Job:
    """The configuration that all work on one net shares.

    Parameters
    ----------
    net
        From `load_net`.
    results
        The results folder; created when something is written.
    where
        Which processes compute; see `deepvis_caffe.cluster`. Only this process writes files.
    make_net
        Makes the same net in another process; must be picklable. See `net_maker`. Not needed for
        `Serial`.
    progress
        Called as the work proceeds, with the amount done and the total.
    overwrite
        Whether results made with other parameters, images or nets may be replaced.
    reproducible
        Whether ascents give the same images to the last bit, as for `optimize`.

    Raises
    ------
    ClusterError
        `where` uses other processes, but there is no `make_net`.
    SettingsError
        Ascents must be reproducible, but the net runs on a GPU.
    """

    net: Net
    results: Path
    where: Where = Serial()  # noqa: RUF009  # frozen
    make_net: Callable[[], Net] | None = None
    progress: ProgressCallback | None = None
    overwrite: bool = False
    reproducible: bool = False

    def __post_init__(self) -> None:
        if self.reproducible:
            check_reproducible(self.net)
        if not isinstance(self.where, Serial) and self.make_net is None:
            raise ClusterError("other processes need to load the net themselves: give make_net")

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        net: Net,
        results: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
    ) -> Job:
        """The job that the settings describe.

        Parameters
        ----------
        net
            The net of these settings.
        results
            A results folder to use instead of that of the settings.
        """
        return cls(
            net,
            Path(results or settings.results),
            where_of(settings, net),
            net_maker(settings, net),
            overwrite=overwrite,
            reproducible=settings.reproducible,
        )

    def reporting(self, progress: ProgressCallback | None) -> Job:
        """The same job with another progress callback."""
        return replace(self, progress=progress)

    @cached_property
    def store(self) -> ResultStore:
        """The optimized images in the results folder."""
        return ResultStore(self.results, self.folders)

    @cached_property
    def folders(self) -> Folders:
        """The folders of layers whose plain folder names collide."""
        return net_folders(self.net.model.graph)

    @property
    def processes(self) -> int:
        """How many processes of this machine compute."""
        return self.where.count if isinstance(self.where, LocalProcesses) else 1

    @property
    def threads(self) -> int:
        """Threads of each process; a cluster's machines are assumed to be like this one."""
        if isinstance(self.where, LocalProcesses):
            return self.where.threads or threads_each(self.where.count)
        return threads_here()

    @property
    def model_names(self) -> dict[str, str | None]:
        """The names of the net and of its files, for records."""
        model = self.net.model
        files = {"prototxt": model.prototxt, "weights": model.caffemodel}
        names = {kind: None if path is None else path.name for kind, path in files.items()}
        return {"name": model.graph.name, **names}

    def run(
        self,
        work: Callable[[Any, Task, Callable[[Any], None]], Any],
        tasks: Iterable[Task],
        make_state: Callable[[Callable[[], Net]], Any] | None = None,
        on_message: Callable[[int, Any], None] | None = None,
    ) -> Generator[tuple[int, Any], None, None]:
        """Run every task where this job runs, and yield each result as soon as it is ready.

        Closing the generator stops everything that still runs.

        Parameters
        ----------
        work
            ``work(state, task, report) -> result``; ``report(message)`` reports progress.
        make_state
            ``make_state(make_net) -> state``, which a process keeps between tasks; by default its
            net. Another process checks that its net is the same as here.
        on_message
            Called with a task's index and its message.

        Yields
        ------
        tuple of int and result
            The task's index, from 0, and what `work` returned for it.

        Raises
        ------
        ModelError
            Another process loaded a different net.
        ClusterError, Exception
            As `deepvis_caffe.cluster.run_tasks`.
        """
        make_net: Callable[[], Net]
        if isinstance(self.where, Serial):
            make_net = partial(_same_net, self.net)
        else:
            assert self.make_net is not None
            make_net = partial(same_net, self.make_net, self.net.fingerprint)
        state = partial(make_state, make_net) if make_state else make_net
        return run_tasks(state, work, tasks, self.where, on_message)


def where_of(settings: Settings, net: Net) -> Where:
    """Where to run, from the settings `workers` and `scheduler`.

    If the net runs on a GPU, each local process gets its own, unless the settings name one by
    number; then all share that one.
    """
    if settings.scheduler:
        return DaskCluster(settings.scheduler)
    if settings.workers == 1:
        return Serial()
    own_gpus = net.device != "cpu" and not _names_gpu(settings.device)
    return LocalProcesses(settings.workers, settings.threads, find_gpus() if own_gpus else ())


def net_maker(settings: Settings, net: Net) -> Callable[[], Net]:
    """A function that loads `net` in another process, from the same files.

    Local processes run it on the same kind of device. Workers of a cluster choose their own by the
    settings, so `auto` takes a GPU if there is one.
    """
    device = settings.device
    if not settings.scheduler and not _names_gpu(device):
        device = net.device.partition(":")[0]
    absolute = {
        name: value.absolute()
        for name, value in settings
        if isinstance(value, Path) and name in ("prototxt", "weights", "mean")
    }
    # Labels are only needed for results, which only this process writes.
    own = {"engine": net.engine, "device": device, "labels": None}
    same = settings.model_copy(update={**absolute, **own})
    return partial(_load, same)


def _load(settings: Settings) -> Net:
    for path in (settings.prototxt, settings.weights, settings.mean):
        if isinstance(path, Path) and not path.is_file():
            raise ModelError(
                f"{socket.gethostname()} has no file {path}: workers read the model from the same "
                "paths as here, so keep it on a shared file system, or copy it to the same path on "
                "each machine"
            )
    return load_net(settings)


def _names_gpu(device: str) -> bool:
    """Whether a device setting names a GPU by number: cuda:1, not auto, cpu or cuda."""
    return ":" in device


def _same_net(net: Net) -> Net:
    return net

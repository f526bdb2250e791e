"""A job: a net, the processes that run it, and the folder that its results go to.

What makes results takes a `Job`, so that all of this is decided in one place: `Job.from_settings`
for the commands, ``Job(net, folder)`` for scripts.
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
    """What all work on one net shares.

    Parameters
    ----------
    net
        From `load_net`.
    results
        The results folder; made when something is written.
    where
        Which processes compute; see `deepvis_caffe.cluster`. Files are written by this one alone.
    make_net
        Makes the same net in another process, and is picklable; see `net_maker`. `Serial` needs
        none.
    progress
        Called as the work goes on with what is done and what there is to do.
    overwrite
        Whether results made with other parameters, images or nets may be replaced.
    reproducible
        Whether ascents give the same images to the last bit, as for `optimize`.

    Raises
    ------
    ClusterError
        Other processes are to compute, and there is no `make_net`.
    SettingsError
        They are to be reproducible, and the net runs on a GPU.
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
            raise ClusterError("other processes need a net of their own: give make_net")

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
            From these settings.
        results
            In place of the settings' results folder.
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
        """The same job, with another callback for progress."""
        return replace(self, progress=progress)

    @cached_property
    def store(self) -> ResultStore:
        """The optimized images in the results folder."""
        return ResultStore(self.results, self.folders)

    @cached_property
    def folders(self) -> Folders:
        """The folders of those layers that their names alone do not tell apart."""
        return net_folders(self.net.model.graph)

    @property
    def processes(self) -> int:
        """How many processes of this machine compute."""
        return self.where.count if isinstance(self.where, LocalProcesses) else 1

    @property
    def threads(self) -> int:
        """Threads that each process computes with; on a cluster, those of a machine like this."""
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
        """Run every task where this job runs, and yield each result as soon as it is there.

        Close the generator, and everything that still runs is stopped.

        Parameters
        ----------
        work
            ``work(state, task, report) -> result``; ``report(message)`` says how far it is.
        make_state
            ``make_state(make_net) -> state``, what a process keeps from task to task; by default
            its net. A process other than this one makes sure that its net is the same as here.
        on_message
            Called with a task's index and what it reports.

        Yields
        ------
        tuple of int and result
            The task's index, from 0, and what `work` returned for it.

        Raises
        ------
        ModelError
            Another process has another net.
        ClusterError, Exception
            As `deepvis_caffe.cluster.run_tasks`.
        """
        make_net: Callable[[], Net]
        if isinstance(self.where, Serial):
            make_net = partial(_given, self.net)
        else:
            assert self.make_net is not None
            make_net = partial(same_net, self.make_net, self.net.fingerprint)
        state = partial(make_state, make_net) if make_state else make_net
        return run_tasks(state, work, tasks, self.where, on_message)


def where_of(settings: Settings, net: Net) -> Where:
    """What `workers` and `scheduler` mean for this net.

    Each local process gets a GPU of its own where the net runs on one, unless the settings name
    a certain GPU; then all share that.
    """
    if settings.scheduler:
        return DaskCluster(settings.scheduler)
    if settings.workers == 1:
        return Serial()
    own_gpus = net.device != "cpu" and not _names_gpu(settings.device)
    return LocalProcesses(settings.workers, settings.threads, find_gpus() if own_gpus else ())


def net_maker(settings: Settings, net: Net) -> Callable[[], Net]:
    """What makes `net` again in another process, from the same files.

    Local processes run it on the same kind of device. Workers of a cluster choose theirs as the
    settings say, so that `auto` takes a GPU where there is one.
    """
    device = settings.device
    if not settings.scheduler and not _names_gpu(device):
        device = net.device.partition(":")[0]
    absolute = {
        name: value.absolute()
        for name, value in settings
        if isinstance(value, Path) and name in ("prototxt", "weights", "mean")
    }
    # Labels are for those who read results, and only this process writes them.
    own = {"engine": net.engine, "device": device, "labels": None}
    same = settings.model_copy(update={**absolute, **own})
    return partial(_load, same)


def _load(settings: Settings) -> Net:
    for path in (settings.prototxt, settings.weights, settings.mean):
        if isinstance(path, Path) and not path.is_file():
            raise ModelError(
                f"{socket.gethostname()} has no file {path}: workers read the model by the same "
                "paths as here, so keep it on a file system that they share, or copy it to the "
                "same place on each"
            )
    return load_net(settings)


def _names_gpu(device: str) -> bool:
    """Whether a setting says which GPU: cuda:1, not auto, cpu or cuda."""
    return ":" in device


def _given(net: Net) -> Net:
    return net

"""Where ascents run, as the settings say, and the net that is made there."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from deepvis_caffe.cluster import DaskCluster, LocalProcesses, Serial, Where
from deepvis_caffe.cluster.cores import find_gpus
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.load import load_net
from deepvis_caffe.errors import ModelError
from deepvis_caffe.settings import Settings


def where_of(settings: Settings, net: Net) -> Where:
    """What `workers` and `scheduler` mean for this net.

    Each local process gets a GPU of its own where the net runs on one, unless the settings name
    the very GPU; then all share that.
    """
    if settings.scheduler:
        return DaskCluster(settings.scheduler)
    if settings.workers == 1:
        return Serial()
    deals = net.device != "cpu" and not _named(settings.device)
    return LocalProcesses(settings.workers, gpus=find_gpus() if deals else ())


def net_maker(settings: Settings, net: Net) -> Callable[[], Net]:
    """What makes `net` again in another process, from the same files.

    Local processes run it on the same kind of device. Workers of a cluster choose theirs as the
    settings say, so that `auto` takes a GPU where there is one.
    """
    device = settings.device
    if not settings.scheduler and not _named(device):
        device = net.device.partition(":")[0]
    here = {
        name: value.absolute()
        for name, value in settings
        if isinstance(value, Path) and name in ("prototxt", "weights", "mean")
    }
    same = settings.model_copy(update={**here, "engine": net.engine, "device": device})
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


def _named(device: str) -> bool:
    """Whether a setting says which GPU: cuda:1, not auto, cpu or cuda."""
    return ":" in device

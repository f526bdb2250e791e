"""Jobs in one call, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepvis_caffe.engines.base import Net
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.optimize import Ascents, Unit
from deepvis_caffe.jobs.optimize import make_layer as make_layer_of
from deepvis_caffe.optimizer import AscentParams, Position
from deepvis_caffe.optimizer.target_layer import TargetLayer
from deepvis_caffe.results.store import ResultStore


def make_layer(
    net: Net,
    store: ResultStore,
    layer: str,
    units: Sequence[Any],
    seeds: Sequence[int],
    params: AscentParams,
    position: Position = "center",
    batch_size: int | None = None,
    **of_job: Any,
) -> list[Unit]:
    """A layer's pictures in a store's folder; other arguments are those of a `Job`."""
    target = TargetLayer.of(net, layer, position)
    ascents = Ascents(params, seeds, batch_size=batch_size)
    return make_layer_of(Job(net, store.folder, **of_job), target, units, ascents)

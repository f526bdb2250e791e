"""Ascents in batches, in this or other processes: ``missing runs -> batches -> results``.

All ascents are batched and run here, so every job distributes them over processes in the same way.
Workers get units and seeds, and send back images and histories.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from deepvis_caffe.engines.base import Net
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.optimizer import AscentParams, AscentResult, run
from deepvis_caffe.optimizer.run import AscentBatch, run_batch
from deepvis_caffe.optimizer.target_layer import Crop, TargetLayer
from deepvis_caffe.optimizer.targets import Target
from deepvis_caffe.progress import ProgressMeter


def make_batches(
    job: Job,
    layer: TargetLayer,
    missing: Mapping[AscentParams, Sequence[tuple[Target, int]]],
    batch_size: int | None = None,
    crop: Crop = "auto",
) -> list[AscentBatch]:
    """Divide the missing runs into batches: large, but no larger than one process's share.

    Parameters
    ----------
    job
        Its local processes share the work evenly. If it is reproducible, each image is a batch.
    missing
        The runs of each set of parameters, as (target, seed), ordered by unit.
    batch_size, crop
        As for `optimize`.
    """
    images = [len(runs) for runs in missing.values()]
    if not any(images):
        return []
    most = 1
    if not job.reproducible:
        most = layer.batch_size(job.net, crop, max(images), batch_size)
        most = min(most, -(-sum(images) // job.processes))
    return [
        batch
        for params, runs in missing.items()
        for batch in run.make_batches(job.net, layer, runs, params, crop, most, job.reproducible)
    ]


def run_batches(
    job: Job, batches: Sequence[AscentBatch]
) -> Generator[tuple[AscentBatch, list[AscentResult]], None, None]:
    """Run every batch, and yield its results as soon as they are ready.

    Parameters
    ----------
    job
        Its `progress` counts image steps.

    Yields
    ------
    tuple of AscentBatch and list of AscentResult
        In the order in which they are ready.

    Raises
    ------
    ModelError, ClusterError, Exception
        As `Job.run`.
    """
    meter = ProgressMeter(job.progress, [batch.steps for batch in batches])
    with closing(job.run(_run_batch, batches, on_message=meter.update)) as found:
        for index, results in found:
            meter.finish(index)
            yield batches[index], [_with_preprocessor(job.net, result) for result in results]


def _run_batch(net: Net, batch: AscentBatch, report: Callable[[Any], None]) -> list[AscentResult]:
    results = run_batch(net, batch, report)
    # The preprocessor is as large as two images, and the calling process has its own.
    return [replace(result, preprocessor=None) for result in results]  # type: ignore[arg-type]


def _with_preprocessor(net: Net, result: AscentResult) -> AscentResult:
    own = net.preprocessor
    if result.window:
        top, left, bottom, right = result.window
        own = own.cut(slice(top, bottom), slice(left, right))
    return replace(result, preprocessor=own)

"""Ascents in batches, in this process or in others: ``(job, batches) -> results``.

Only numbers travel between processes: which units and seeds one way, images and histories the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar

from deepvis_caffe.cluster import LocalProcesses, Where
from deepvis_caffe.engines.base import Net
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.optimizer import AscentParams, AscentResult, Position, optimize
from deepvis_caffe.optimizer.batching import split
from deepvis_caffe.optimizer.objectives import Target, UnitName, name_of
from deepvis_caffe.optimizer.run import Crop
from deepvis_caffe.progress import ProgressMeter

N = TypeVar("N", bound=UnitName)


@dataclass(frozen=True)
class AscentBatch:
    """Ascents that run side by side: some units of a layer, some seeds of each.

    Attributes
    ----------
    layer, targets, seeds, params, position, crop
        As for `optimize`.
    """

    layer: str
    targets: tuple[Target, ...]
    seeds: tuple[int, ...]
    params: AscentParams
    position: Position = "center"
    crop: Crop = "auto"

    @property
    def images(self) -> int:
        """How many images run side by side."""
        return len(self.targets) * len(self.seeds)

    @property
    def steps(self) -> int:
        """Image steps in all."""
        return self.images * self.params.iterations

    def __str__(self) -> str:
        names = [name_of(target) for target in self.targets]
        units, seeds = (",".join(map(str, some)) for some in (names, self.seeds))
        return f"{self.layer}, units {units}, seeds {seeds}"


def run_batches(
    job: Job, batches: Sequence[AscentBatch]
) -> Generator[tuple[AscentBatch, list[AscentResult]], None, None]:
    """Run every batch, and yield what it found as soon as it is there.

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


def split_missing(
    missing: Mapping[N, Sequence[int]], most: int, whole: bool = False
) -> Iterator[tuple[list[N], list[int]]]:
    """Split what is missing into batches of at most `most` images: some units times some seeds.

    Units that miss the same seeds share a batch; the seeds of a unit that do not fit into one are
    spread evenly.

    Parameters
    ----------
    missing
        Seeds by unit.
    whole
        Whether a unit's seeds have to stay together, in a batch of more than `most` if need be.
    """
    for seeds, group in groupby(missing, key=lambda unit: tuple(missing[unit])):
        units = list(group)
        if not seeds:
            continue
        for some_units in split(units, max(1, most // len(seeds))):
            for some_seeds in [seeds] if whole else split(seeds, most):
                yield list(some_units), list(some_seeds)


def fair_batch(images: int, most: int, where: Where) -> int:
    """A batch size, `most` or less, with which every local process gets a batch.

    Parameters
    ----------
    images
        How many there are to share.
    """
    if not isinstance(where, LocalProcesses):
        return most
    return max(1, min(most, -(-images // where.count)))


def _run_batch(net: Net, batch: AscentBatch, report: Callable[[Any], None]) -> list[AscentResult]:
    results = optimize(
        net,
        batch.layer,
        batch.targets,
        batch.seeds,
        preset=batch.params,
        position=batch.position,
        crop=batch.crop,
        batch_size=batch.images,
        progress=lambda done, total: report(done),
    )
    # The preprocessor is as large as two images, and the process that asks has its own.
    return [replace(result, preprocessor=None) for result in results]  # type: ignore[arg-type]


def _with_preprocessor(net: Net, result: AscentResult) -> AscentResult:
    own = net.preprocessor
    if result.window:
        top, left, bottom, right = result.window
        own = own.cut(slice(top, bottom), slice(left, right))
    return replace(result, preprocessor=own)

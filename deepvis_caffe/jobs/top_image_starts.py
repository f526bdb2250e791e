"""Ascents that start from a unit's top images: ``(job, layer, runs) -> runs``.

If a unit starts inactive and the redirected gradient does not activate it, its ascent starts again
from a dataset image that activates it, if the results folder has the unit's top images. Which
one depends only on the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.image import Floats
from deepvis_caffe.image_channels import read_channels
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.model.same_units import same_units
from deepvis_caffe.optimizer.frozen_array import FrozenArray
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.result import AscentResult
from deepvis_caffe.optimizer.run import AscentBatch, make_batches
from deepvis_caffe.optimizer.start import OtherStart
from deepvis_caffe.optimizer.target_layer import TargetLayer
from deepvis_caffe.optimizer.targets import Target
from deepvis_caffe.results.layout import TOP_IMAGES, record_of
from deepvis_caffe.results.records import TopImage, read_record, read_top_record
from deepvis_caffe.results.top_store import TopImageStore

Batches = Iterable[tuple[AscentBatch, Sequence[AscentResult]]]


def restarted(
    job: Job,
    layer: TargetLayer,
    found: Batches,
    run: Callable[[Sequence[AscentBatch]], Batches],
) -> Generator[tuple[AscentBatch, Sequence[AscentResult]], None, None]:
    """Run silent ascents again from their units' top images.

    Parameters
    ----------
    found
        Batches of the layer with their results.
    run
        Runs more batches.

    Yields
    ------
    tuple of AscentBatch and list of AscentResult
        The batches as they come, without the runs that start again, which follow at the end.
    """
    again: list[tuple[AscentBatch, dict[tuple[Target, int], OtherStart]]] = []
    for batch, results in found:
        starts = {} if batch.compares_images else _starts(job, layer, batch, results)
        if starts:
            again.append((batch, starts))
            pairs = zip(batch.runs, results, strict=True)
            results = [result for key, result in pairs if key not in starts]
        yield batch, results
    for batch, starts in again:
        most = len(batch.runs)
        more = make_batches(
            job.net,
            layer,
            list(starts),
            batch.params,
            batch.crop,
            most,
            batch.reproducible,
            starts,
        )
        yield from run(more)


class Found(NamedTuple):
    """A top image, and the layer on whose map it has its position."""

    image: TopImage
    layer: str


def top_images(job: Job, layer: TargetLayer, target: Target) -> tuple[Found, ...]:
    """The images from which ascents of a unit may start, strongest first.

    They may belong to the equivalent unit of another layer: a scan of the convolutions has those of
    their concatenation. Empty if the target is not a unit, or the results folder has no image files
    of this net.
    """
    if not isinstance(target, int) or layer.objective:
        return ()
    same = same_units(job.net.model, layer.name)
    others = [
        (name, match.units[target])
        for match in same
        if target in match.units
        for name in match.names
    ]
    for name, unit in ((layer.name, target), *others):
        montage = TopImageStore(job.results, job.folders).montage(TOP_IMAGES, name, unit)
        record = read_top_record(montage)
        if record is None or record.layer != name:
            continue
        recipe = (read_record(record_of(montage)) or {}).get("recipe")
        if not isinstance(recipe, Mapping) or recipe.get("net") != job.net.fingerprint:
            continue
        return tuple(
            Found(image, name)
            for image in record.images
            if image.value > 0 and image.file is not None and image.file.is_file()
        )
    return ()


def can_restart(job: Job, layer: TargetLayer, target: Target, params: AscentParams) -> bool:
    """Whether a silent ascent of this target can start again from a top image."""
    return bool(_candidates(job, layer, target, params))


def _candidates(
    job: Job, layer: TargetLayer, target: Target, params: AscentParams
) -> tuple[Found, ...]:
    """The top images that a silent ascent may start from; empty if it must not."""
    if params.sign < 0 or params.compares_images:
        return ()
    return top_images(job, layer, target)


def _starts(
    job: Job, layer: TargetLayer, batch: AscentBatch, results: Sequence[AscentResult]
) -> dict[tuple[Target, int], OtherStart]:
    """The new start of each silent run that has one."""
    starts = {}
    for (target, seed), result in zip(batch.runs, results, strict=True):
        images = _candidates(job, layer, target, batch.params) if result.silent else ()
        if not images:
            continue
        found = images[seed % len(images)]
        image = found.image
        try:
            x = _first_image(job, layer, found)
        except DeepVisError:  # the file can no longer be read
            continue
        starts[target, seed] = OtherStart(
            x,
            {
                "top_image": image.name,
                "file": str(image.file),
                "value": image.value,
                "digest": FrozenArray(x).digest,
            },
        )
    return starts


def _first_image(job: Job, layer: TargetLayer, found: Found) -> Floats:
    """A top image as net input, shifted so that the maximized position sees what activates it."""
    net, image = job.net, found.image
    assert image.file is not None
    x: Floats = net.preprocessor(read_channels(image.file, net.preprocessor.shape[0]))
    fields, graph = net.model.receptive_fields, net.model.graph
    own = fields.get(graph.gradient_start(layer.name))
    other = fields.get(graph.gradient_start(found.layer))
    if not own or not other or len(layer.index or ()) != 2 or len(image.place) != 2:
        return x
    to, at = own.box(*layer.index), other.box(*image.place)  # type: ignore[misc]
    moved = np.zeros_like(x)  # the mean, outside the image
    here, there = [], []
    for axis, size in enumerate(x.shape[1:]):
        shift = (to[axis] + to[axis + 2] - at[axis] - at[axis + 2]) // 2  # between the centers
        here.append(slice(max(shift, 0), max(size + min(shift, 0), 0)))
        there.append(slice(max(-shift, 0), max(size - max(shift, 0), 0)))
    moved[:, here[0], here[1]] = x[:, there[0], there[1]]
    return moved

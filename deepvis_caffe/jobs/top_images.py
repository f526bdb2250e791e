"""A unit's top images as pictures: ``(job, scanned, layer, units) -> files``.

The images of a dataset that activate a unit most, cut to its receptive field, and a saliency map of
each crop by each backward mode. `deepvis_caffe.results.layout` names the files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from deepvis_caffe.cluster.cores import usable_cores
from deepvis_caffe.dataset.loader import ImageCache, default_cache_size, ordered_map
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.dataset.top_images import Example, unit_examples
from deepvis_caffe.engines.base import Net
from deepvis_caffe.figures.montage import GRAY, montage, shrunk, square_side, vivid
from deepvis_caffe.files import remove_abandoned
from deepvis_caffe.image import Picture, resize_image
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.model.labels import Labels, label_of
from deepvis_caffe.progress import ProgressMeter
from deepvis_caffe.results.layout import TOP_IMAGES, TREES, layer_folder, mode_tree
from deepvis_caffe.results.records import Record
from deepvis_caffe.results.scan_folder import layer_recipe
from deepvis_caffe.results.top_store import TopImageStore

SMALLEST_CELL, LARGEST_CROP = 128, 512  # pixels


@dataclass(frozen=True, eq=False)
class ScannedImages:
    """A dataset's images, and what a scan found in them.

    Attributes
    ----------
    source
        What was scanned.
    scan
        What was found.
    recipe
        What decided that, see `deepvis_caffe.jobs.scan.scan_recipe`.
    """

    source: Source
    scan: Scan
    recipe: Record


@dataclass(frozen=True, eq=False)
class TopUnit:
    """One unit's pictures.

    Attributes
    ----------
    unit, label
        Its number, and its name where the layer has labels.
    montage
        The picture of its top images; None where no image activates it.
    value
        The strongest activation.
    new
        Whether it was made now.
    """

    unit: int
    label: str | None
    montage: Path | None
    value: float
    new: bool


def make_top_pictures(
    job: Job,
    scanned: ScannedImages,
    layer: str,
    units: Sequence[int],
    modes: Sequence[str] = ("deconv",),
    capacity: int | None = None,
) -> list[TopUnit]:
    """Write the pictures of some units of a layer; those that are there are left alone.

    Parameters
    ----------
    job
        Its `progress` counts units.
    modes
        Backward modes to show beside the crops.
    capacity
        Bytes of decoded images that each process keeps; `default_cache_size` by default.

    Raises
    ------
    ImageError
        An image has changed since the scan.
    ResultsError
        A picture was made by another program.
    SettingsError
        A picture was made with other parameters.
    """
    found, labels = scanned.scan.layers[layer], job.net.labels_of(layer)
    writer = _Writer(job, scanned, layer)
    trees = [TOP_IMAGES, *map(mode_tree, modes)]
    missing = [unit for unit in units if not writer.has(trees, unit)]
    silent = {unit for unit in units if not found.top.value[unit, 0] > min(found.low[unit], 0)}
    todo = [unit for unit in missing if unit not in silent]
    meter = ProgressMeter(job.progress, [1] * len(todo), before=len(units) - len(todo))
    meter.report()
    if capacity is None:
        capacity = default_cache_size(job.processes)
    make_state = partial(
        _ready, scanned=scanned, layer=layer, modes=tuple(modes), capacity=capacity
    )
    # A unit's files are written while the net computes the next: compressing takes as long.
    threads = max(1, usable_cores() // 2)
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="write") as pool,
        closing(job.run(_examples, todo, make_state)) as ready,
    ):
        written = ordered_map(lambda one: writer.write(todo[one[0]], one[1]), ready, pool, threads)
        for number, _ in enumerate(written):
            meter.finish(number)
    return [
        TopUnit(
            unit,
            label_of(labels, unit, found.units),
            None if unit in silent else writer.store.montage(TOP_IMAGES, layer, unit),
            float(found.top.value[unit, 0]),
            unit in set(todo),
        )
        for unit in units
    ]


# -- what is written -----------------------------------------------------------------------------


class _Writer:
    """Draws and writes the pictures of units of one layer."""

    def __init__(self, job: Job, scanned: ScannedImages, layer: str) -> None:
        self.store = TopImageStore(job.results, job.folders)
        self._job, self._layer = job, layer
        for tree in TREES:
            remove_abandoned(layer_folder(job.results, tree, layer, job.folders))
        self._found = scanned.scan.layers[layer]
        shown = job.net.preprocessor.picture_channels
        self._recipe = {
            **layer_recipe(scanned.recipe, layer),
            **({} if shown is None else {"picture_channels": list(shown)}),
        }

    def has(self, trees: Sequence[str], unit: int) -> bool:
        """Whether all pictures of a unit are there; raises where one must not be replaced."""
        overwrite, there = self._job.overwrite, True
        for tree in trees:  # every one is checked
            path = self.store.montage(tree, self._layer, unit)
            there &= self.store.finished(path, self._layer, self._recipe, overwrite)
        return there

    def write(self, unit: int, examples: Sequence[Example]) -> None:
        """Write a unit's pictures in each tree."""
        places = self._found.top.count
        record = {
            "layer": self._layer,
            "unit": unit,
            "label": label_of(self._job.net.labels_of(self._layer), unit, self._found.units),
            "model": self._job.model_names,
            "columns": square_side(places),
            "images": [_fields(example, self._job.net.labels) for example in examples],
            "recipe": self._recipe,
        }
        for tree, pictures in _trees(examples):
            crops = [shrunk(picture, LARGEST_CROP) for picture in pictures]
            cells = _cells(examples, pictures, stretch=tree != TOP_IMAGES)
            self.store.write(tree, _square(cells, places), crops, places, record)


def _trees(examples: Sequence[Example]) -> Iterator[tuple[str, list[Picture]]]:
    yield TOP_IMAGES, [example.crop for example in examples]
    for mode in examples[0].diffs:
        yield mode_tree(mode), [example.diffs[mode] for example in examples]


def _cells(
    examples: Sequence[Example], pictures: Sequence[Picture], stretch: bool
) -> list[Picture]:
    """Pictures of one size: that of the unit's receptive field in the input, or larger."""
    top, left, bottom, right = examples[0].box
    grow = max(1, ceil(SMALLEST_CELL / max(bottom - top, right - left)))
    height, width = (bottom - top) * grow, (right - left) * grow
    shown = [vivid(picture) if stretch else picture for picture in pictures]
    return [resize_image(picture, height, width) for picture in shown]


def _square(cells: list[Picture], size: int) -> Picture:
    """A square grid with a place for each of `size` images, gray where there are fewer."""
    empty = np.full_like(cells[0], GRAY)
    return montage([*cells, *[empty] * (size - len(cells))], square_side(size))


def _fields(example: Example, labels: Labels) -> Record:
    """What a record says of one image."""
    own = example.label
    named = own is not None and 0 <= own < len(labels)
    return {
        "name": example.name,
        "file": _as_text(example.file),
        "value": example.value,
        "place": example.place,
        "box": example.box,
        "picture_box": example.picture_box,
        "class": own,
        "class_name": (labels[own] or None) if named and own is not None else None,
    }


# -- in each process -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _State:
    """What a process keeps from unit to unit."""

    net: Net
    images: ImageCache
    scanned: ScannedImages
    layer: str
    modes: tuple[str, ...]


def _ready(
    make_net: Callable[[], Net],
    scanned: ScannedImages,
    layer: str,
    modes: tuple[str, ...],
    capacity: int,
) -> _State:
    net = make_net()
    images = ImageCache(scanned.source, net.preprocessor, capacity)
    return _State(net, images, scanned, layer, modes)


def _examples(state: _State, unit: int, report: Callable[[Any], None]) -> list[Example]:
    report(unit)
    return unit_examples(
        state.net,
        state.scanned.source,
        state.scanned.scan,
        state.layer,
        unit,
        state.modes,
        usable_cores(),
        state.images,
    )


def _as_text(path: Path | None) -> str | None:
    """A path for a record; None where it is not UTF-8, which JSON's readers do not take."""
    text = None if path is None else os.fspath(path)
    return None if text is None or text.encode(errors="ignore").decode() != text else text

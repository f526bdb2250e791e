"""Pictures of each unit's top images: ``(job, scanned, {layer: units}) -> files``.

The dataset images that activate a unit most, cropped to its receptive field, and a saliency map of
each crop for each backward mode. `deepvis_caffe.results.layout` names the files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from deepvis_caffe.cluster.cores import threads_here, usable_cores
from deepvis_caffe.dataset.loader import ImageCache, default_cache_size, ordered_map
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.dataset.top_images import Example, unit_examples
from deepvis_caffe.engines.base import Net
from deepvis_caffe.figures.montage import GRAY, montage, shrunk, square_side, vivid
from deepvis_caffe.files import remove_abandoned
from deepvis_caffe.image import Picture, resize_image
from deepvis_caffe.jobs.forecast import (
    SAMPLE,
    Forecast,
    Sample,
    check_free_space,
    sample_first,
    size_on_disk,
)
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.model.labels import Labels, label_of
from deepvis_caffe.progress import ProgressMeter
from deepvis_caffe.results.layout import TOP_IMAGES, TREES, layer_folder, mode_tree
from deepvis_caffe.results.records import Record
from deepvis_caffe.results.scan_folder import layer_recipe
from deepvis_caffe.results.top_store import TopImageStore

SMALLEST_CELL, LARGEST_CROP = 128, 512  # pixels
HOW_TO_SAVE_SPACE = (
    "ask for fewer units (--units, --pictures) or modes (--modes), or leave out --crops"
)


@dataclass(frozen=True, eq=False)
class ScannedImages:
    """A dataset's images, and the scan of them.

    Attributes
    ----------
    source
        The images.
    scan
        The results of the scan.
    recipe
        Everything that determines these; see `deepvis_caffe.jobs.scan.scan_recipe`.
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
        Its number, and its label if the layer has labels.
    montage
        The picture of its top images; None if no image activates it.
    value
        The highest activation.
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
    units: Mapping[str, Sequence[int]],
    modes: Sequence[str] = ("deconv",),
    with_crops: bool = False,
    capacity: int | None = None,
    announce: Callable[[Forecast], None] | None = None,
) -> dict[str, list[TopUnit]]:
    """Write the pictures of some units of each layer; existing ones are kept.

    Parameters
    ----------
    job
        Its `progress` counts units.
    units
        By layer.
    modes
        Backward modes to show beside the crops.
    with_crops
        Whether each crop and saliency map is also written to a separate file. That takes about
        ten times the disk space.
    capacity
        Bytes of decoded images that each process caches; `default_cache_size` by default.
    announce
        Called once with a forecast, after two units of every layer.

    Raises
    ------
    ImageError
        An image has changed since the scan.
    ResultsError
        Another program made a picture, or the disk has too little space.
    SettingsError
        A picture was made with other parameters.
    """
    writers = {layer: _Writer(job, scanned, layer, modes, with_crops) for layer in units}
    todo = {
        layer: [unit for unit in some if not writer.has(unit) and not writer.is_silent(unit)]
        for (layer, some), writer in zip(units.items(), writers.values(), strict=True)
    }
    tasks, sampled = sample_first(todo)
    meter = ProgressMeter(
        job.progress, [1] * len(tasks), before=sum(map(len, units.values())) - len(tasks)
    )
    meter.report()
    if capacity is None:
        capacity = default_cache_size(job.processes)
    make_state = partial(_make_state, scanned=scanned, modes=tuple(modes), capacity=capacity)

    def write(ready: tuple[int, tuple[list[Example], float]]) -> int:
        layer, unit = tasks[ready[0]]
        check_free_space(job.results)
        return size_on_disk(writers[layer].write(unit, ready[1][0]))

    sample = Sample({layer: len(some[SAMPLE:]) for layer, some in todo.items() if some})
    # Files are written while the net computes the next unit: compressing them takes as long.
    threads = max(1, usable_cores() // 2)
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="write") as pool,
        closing(job.run(_examples, tasks, make_state)) as ready,
    ):
        for count, (computed, size) in enumerate(ordered_map(write, ready, pool, threads), 1):
            number, (_, seconds) = computed
            if count <= sampled:
                sample.add(tasks[number][0], size, seconds)
            if count == sampled < len(tasks):
                ahead = sample.forecast(job.results)
                check_free_space(job.results, ahead.size, HOW_TO_SAVE_SPACE)
                if announce is not None:
                    announce(ahead)
            meter.finish(number)
    return {
        layer: [writers[layer].result(unit, unit in new) for unit in some]
        for (layer, some), new in zip(units.items(), map(set, todo.values()), strict=True)
    }


# -- what is written -----------------------------------------------------------------------------


class _Writer:
    """Draws and writes the pictures of units of one layer."""

    def __init__(
        self, job: Job, scanned: ScannedImages, layer: str, modes: Sequence[str], with_crops: bool
    ) -> None:
        self._store = TopImageStore(job.results, job.folders)
        self._job, self._layer, self._with_crops = job, layer, with_crops
        self._trees = [TOP_IMAGES, *map(mode_tree, modes)]
        for tree in TREES:
            remove_abandoned(layer_folder(job.results, tree, layer, job.folders))
        self._found = scanned.scan.layers[layer]
        self._labels = job.net.labels_of(layer)
        shown = job.net.preprocessor.picture_channels
        self._recipe = {
            **layer_recipe(scanned.recipe, layer),
            **({} if shown is None else {"picture_channels": list(shown)}),
        }

    def is_silent(self, unit: int) -> bool:
        """Whether no image activates a unit, which then has no pictures."""
        return not self._found.top.value[unit, 0] > min(self._found.low[unit], 0)

    def has(self, unit: int) -> bool:
        """Whether all pictures of a unit exist; raises if one must not be replaced."""
        overwrite, complete = self._job.overwrite, True
        for tree in self._trees:  # no early return: check them all
            path = self._store.montage(tree, self._layer, unit)
            complete &= self._store.finished(
                path, self._layer, self._recipe, overwrite, self._with_crops
            )
        return complete

    def write(self, unit: int, examples: Sequence[Example]) -> list[Path]:
        """Write a unit's pictures in each tree, and return all files."""
        places, files = self._found.top.count, []
        record = {
            "layer": self._layer,
            "unit": unit,
            "label": label_of(self._labels, unit, self._found.units),
            "model": self._job.model_names,
            "columns": square_side(places),
            "images": [_fields(example, self._job.net.labels) for example in examples],
            "recipe": self._recipe,
        }
        for tree, pictures in _trees(examples):
            single = pictures if self._with_crops else ()
            crops = [shrunk(picture, LARGEST_CROP) for picture in single]
            cells = _cells(examples, pictures, stretch=tree != TOP_IMAGES)
            files += self._store.write(tree, _square(cells, places), crops, places, record)
        return files

    def result(self, unit: int, new: bool) -> TopUnit:
        """A unit, after its pictures have been written."""
        silent = self.is_silent(unit)
        return TopUnit(
            unit,
            label_of(self._labels, unit, self._found.units),
            None if silent else self._store.montage(TOP_IMAGES, self._layer, unit),
            float(self._found.top.value[unit, 0]),
            new,
        )


def _trees(examples: Sequence[Example]) -> Iterator[tuple[str, list[Picture]]]:
    yield TOP_IMAGES, [example.crop for example in examples]
    for mode in examples[0].diffs:
        yield mode_tree(mode), [example.diffs[mode] for example in examples]


def _cells(
    examples: Sequence[Example], pictures: Sequence[Picture], stretch: bool
) -> list[Picture]:
    """The pictures at one size: the unit's receptive field, or a multiple of it."""
    top, left, bottom, right = examples[0].box
    grow = max(1, ceil(SMALLEST_CELL / max(bottom - top, right - left)))
    height, width = (bottom - top) * grow, (right - left) * grow
    shown = [vivid(picture) if stretch else picture for picture in pictures]
    return [resize_image(picture, height, width) for picture in shown]


def _square(cells: list[Picture], size: int) -> Picture:
    """A square grid with a cell for each of `size` images; empty cells are gray."""
    empty = np.full_like(cells[0], GRAY)
    return montage([*cells, *[empty] * (size - len(cells))], square_side(size))


def _fields(example: Example, labels: Labels) -> Record:
    """The fields of one image in a record."""
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
    """What a process keeps between units."""

    net: Net
    images: ImageCache
    scanned: ScannedImages
    modes: tuple[str, ...]


def _make_state(
    make_net: Callable[[], Net], scanned: ScannedImages, modes: tuple[str, ...], capacity: int
) -> _State:
    net = make_net()
    images = ImageCache(scanned.source, net.preprocessor, capacity)
    return _State(net, images, scanned, modes)


def _examples(
    state: _State, task: tuple[str, int], report: Callable[[Any], None]
) -> tuple[list[Example], float]:
    """A unit's top images, and how many seconds it took to compute them."""
    report(task)
    begun = time.perf_counter()
    examples = unit_examples(
        state.net,
        state.scanned.source,
        state.scanned.scan,
        *task,
        state.modes,
        threads_here(),
        state.images,
    )
    return examples, time.perf_counter() - begun


def _as_text(path: Path | None) -> str | None:
    """A path for a record; None if it is not UTF-8, which JSON readers reject."""
    text = None if path is None else os.fspath(path)
    return None if text is None or text.encode(errors="ignore").decode() != text else text

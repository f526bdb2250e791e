"""A unit's strongest images as pictures, in the Deep Visualization Toolbox's layout.

::

    max_im/<layer>/<layer>_<unit:04d>.jpg and .json        nine crops, strongest first, row by row
    max_im/<layer>/<layer>_<unit:04d>_<rank>.png           each of them in the picture's own pixels
    max_deconv/<layer>/<layer>_<unit:04d>.jpg ...          what in them does it, by deconv
    max_gradient/..., max_guided/...                       by the other two modes

A unit's records are written after its pictures, so what has a record is finished.
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

from deepvis_caffe.cluster import LocalProcesses, Serial, Where, run_tasks
from deepvis_caffe.cluster.cores import usable_cores
from deepvis_caffe.dataset.loader import DecodedImages, in_order, usual_room
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.dataset.top_images import Example, unit_examples
from deepvis_caffe.engines.base import Net, same_net
from deepvis_caffe.errors import ClusterError, ImageError, SettingsError
from deepvis_caffe.figures.montage import GRAY, montage, shrunk, square_side, vivid
from deepvis_caffe.image import Picture, resize_image, write_image
from deepvis_caffe.jobs.optimize import model_names
from deepvis_caffe.model.labels import Labels, label_of
from deepvis_caffe.results.records import Record, read_record, write_record
from deepvis_caffe.results.store import folder_name

IMAGES = "max_im"
SMALLEST_CELL, LARGEST_SINGLE = 128, 512  # pixels

Progress = Callable[[int, int], None]
State = tuple[Net, DecodedImages, Source, Scan, str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class TopUnit:
    """One unit's pictures.

    Attributes
    ----------
    unit, label
        Which, and its name where the layer is labelled.
    montage
        The picture of its strongest images; None where it answers to all images alike.
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
    net: Net,
    source: Source,
    scan: Scan,
    recipe: Record,
    folder: Path,
    layer: str,
    units: Sequence[int],
    modes: Sequence[str] = ("deconv",),
    labels: Labels = (),
    where: Where = Serial(),  # noqa: B008  # frozen
    make_net: Callable[[], Net] | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    room: int | None = None,
) -> list[TopUnit]:
    """Write the pictures of some units of a layer; those that are there are left alone.

    Parameters
    ----------
    source, scan, recipe
        What was scanned, what was found, and what decided that.
    folder
        The results folder.
    modes
        Backward modes to show beside the crops.
    labels
        Names of the units of the layers that have as many, and of the images' classes.
    where, make_net
        Which processes compute, and what makes their net; files are written by this one.
    progress
        Called with the units that are done and that there are.
    overwrite
        Whether pictures by another recipe may be lost.
    room
        Bytes of decoded images that each process keeps; `usual_room` by default.

    Raises
    ------
    ImageError
        An image has changed since the scan; a picture was made by another program.
    SettingsError
        A picture was made by another recipe.
    """
    found = scan.layers[layer]
    by = {name: value for name, value in recipe.items() if name != "layers"}
    trees = [IMAGES, *(f"max_{mode}" for mode in modes)]
    missing = []
    for unit in units:
        paths = [picture_path(folder, tree, layer, unit) for tree in trees]
        there = [_finished(path, layer, by, overwrite) for path in paths]  # all are asked
        missing += [] if all(there) else [unit]
    silent = {unit for unit in units if not found.top.value[unit, 0] > min(found.low[unit], 0)}
    todo = [unit for unit in missing if unit not in silent]
    done = len(units) - len(todo)
    report = progress or (lambda done, total: None)
    report(done, len(units))
    write = partial(_write_unit, folder, layer, by=by, net=net, labels=labels, count=found.units)
    if room is None:
        room = usual_room(where.count if isinstance(where, LocalProcesses) else 1)
    more = (room, source, scan, layer, tuple(modes))
    if isinstance(where, Serial):
        make_state = partial(_state, partial(_itself, net), *more)
    elif make_net is None:
        raise ClusterError("other processes need a net of their own: give make_net")
    else:
        make_state = partial(_state, partial(same_net, make_net, net.fingerprint), *more)
    # A unit's files are written while the net computes the next: compressing takes as long.
    writers = max(1, usable_cores() // 2)
    with (
        ThreadPoolExecutor(writers, thread_name_prefix="write") as pool,
        closing(run_tasks(make_state, _examples, todo, where)) as ready,
    ):
        for _ in in_order(
            lambda one: write(todo[one[0]], one[1], size=found.top.count), ready, pool, writers
        ):
            done += 1
            report(done, len(units))
    return [
        TopUnit(
            unit,
            label_of(labels, unit, found.units),
            None if unit in silent else picture_path(folder, IMAGES, layer, unit),
            float(found.top.value[unit, 0]),
            unit in set(todo),
        )
        for unit in units
    ]


def picture_path(folder: Path, tree: str, layer: str, unit: int) -> Path:
    """Where a unit's picture is; its record has the same name and ends in .json."""
    name = folder_name(layer)
    return folder / tree / name / f"{name}_{unit:04d}.jpg"


def _finished(path: Path, layer: str, by: Record, overwrite: bool) -> bool:
    """Whether a picture is there, made by this recipe; raises where it must not be replaced."""
    record = read_record(path.with_suffix(".json"))
    if record is None and path.exists():
        raise ImageError(
            f"{path} is there without a record of ours, so it was made by another program; choose "
            "another results folder (--results), or move it away"
        )
    if record is None:
        return False
    if record.get("layer") != layer:
        raise ImageError(
            f"{path} belongs to layer {record.get('layer')!r}, and layer {layer!r} has the same "
            "folder name; choose another results folder (--results)"
        )
    if record.get("recipe") == by:
        return path.is_file()
    if record.get("recipe") is not None and not overwrite:
        raise SettingsError(
            f"{path} is of other images or another net; choose another results folder "
            "(--results), or give --overwrite to lose it"
        )
    return False


def _write_unit(
    folder: Path,
    layer: str,
    unit: int,
    examples: Sequence[Example],
    *,
    by: Record,
    net: Net,
    labels: Labels,
    count: int,
    size: int,
) -> None:
    about = {
        "layer": layer,
        "unit": unit,
        "label": label_of(labels, unit, count),
        "model": model_names(net),
        "columns": square_side(size),
        "images": [_about(example, labels) for example in examples],
    }
    for tree, pictures in _trees(examples):
        path = picture_path(folder, tree, layer, unit)
        record = path.with_suffix(".json")
        # Cut off in between, the pictures are known as ours, and as unfinished.
        write_record(record, {**about, "recipe": None})
        for rank, picture in enumerate(pictures):
            write_image(path.with_name(f"{path.stem}_{rank}.png"), shrunk(picture, LARGEST_SINGLE))
        for rank in range(len(pictures), size):  # of an earlier scan
            path.with_name(f"{path.stem}_{rank}.png").unlink(missing_ok=True)
        cells = _cells(examples, pictures, stretch=tree != IMAGES)
        write_image(path, _square(cells, size))
        write_record(record, {**about, "recipe": by})


def _trees(examples: Sequence[Example]) -> Iterator[tuple[str, list[Picture]]]:
    yield IMAGES, [example.crop for example in examples]
    for mode in examples[0].diffs:
        yield f"max_{mode}", [example.diffs[mode] for example in examples]


def _cells(
    examples: Sequence[Example], pictures: Sequence[Picture], stretch: bool
) -> list[Picture]:
    """Pictures of one size: that of what the unit sees of the input, or larger."""
    top, left, bottom, right = examples[0].box
    grow = max(1, ceil(SMALLEST_CELL / max(bottom - top, right - left)))
    height, width = (bottom - top) * grow, (right - left) * grow
    shown = [vivid(picture) if stretch else picture for picture in pictures]
    return [resize_image(picture, height, width) for picture in shown]


def _square(cells: list[Picture], size: int) -> Picture:
    """A square grid with a place for each of `size` images, gray where there are fewer."""
    empty = np.full_like(cells[0], GRAY)
    return montage([*cells, *[empty] * (size - len(cells))], square_side(size))


def _about(example: Example, labels: Labels) -> Record:
    own = example.label
    named = own is not None and 0 <= own < len(labels)
    return {
        "name": example.name,
        "file": None if example.file is None else os.fspath(example.file),
        "value": example.value,
        "place": example.place,
        "box": example.box,
        "picture_box": example.picture_box,
        "class": own,
        "class_name": labels[own] if named and own is not None else None,
    }


def _itself(net: Net) -> Net:
    return net


def _state(make_net: Callable[[], Net], room: int, source: Source, *more: Any) -> State:
    net = make_net()
    return (net, DecodedImages(source, net.preprocessor, room), source, *more)


def _examples(state: State, unit: int, tell: Callable[[Any], None]) -> list[Example]:
    net, images, source, scan, layer, modes = state
    tell(unit)
    return unit_examples(net, source, scan, layer, unit, modes, usable_cores(), images)

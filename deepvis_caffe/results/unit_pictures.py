"""Pictures of some units in a results folder, to show beside other figures."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.image import Picture, read_image
from deepvis_caffe.results import layout
from deepvis_caffe.results.layer_files import LayerFolder, UnitFiles, read_run

log = logging.getLogger(__name__)

ByUnit = dict[tuple[str, int], Picture]  # by (layer, unit)


class UnitPictures(NamedTuple):
    """Pictures of some units, (H, W, 3) RGB uint8, by (layer, unit).

    Attributes
    ----------
    optimized
        The optimized image of each unit that has one: its first seed by its best recipe.
    top
        The montage of top images of each unit that has one.
    """

    optimized: ByUnit
    top: ByUnit


def read_unit_pictures(
    folder: str | os.PathLike[str],
    units: Iterable[tuple[str, int]],
    folders: layout.Folders = layout.NO_FOLDERS,
) -> UnitPictures:
    """Read the pictures of some units; one that cannot be read is logged and left out.

    Parameters
    ----------
    folder
        The results folder; it need not exist.
    units
        Pairs of layer and unit.
    folders
        Folders of layers whose plain folder names collide, from `layout.net_folders`.
    """
    found = UnitPictures({}, {})
    layers: dict[str, LayerFolder] = {}
    for layer, unit in units:
        if layer not in layers:
            layers[layer] = LayerFolder(Path(folder), (layer,), folders)
        files = layers[layer].files().units.get(unit, UnitFiles())
        with _damage_logged():
            if files.runs:
                first = next(iter(files.runs.values()))
                found.optimized[layer, unit] = read_run(first, (layer,))
            elif layout.MONTAGE in files.single:
                found.optimized[layer, unit] = read_image(files.single[layout.MONTAGE])
        with _damage_logged():
            if layout.TOP_IMAGES in files.single:
                found.top[layer, unit] = read_image(files.single[layout.TOP_IMAGES])
    return found


@contextmanager
def _damage_logged() -> Iterator[None]:
    try:
        yield
    except DeepVisError as error:
        log.warning("left out: %s", error)

"""Top images of units on disk, with their records: ``(tree, layer, unit) -> files``.

A unit's record is written after its pictures, so what has a record is finished. Montages of another
program are never replaced, and those made with other parameters only on request.
`deepvis_caffe.results.layout` says where everything is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.image import Picture, is_whole, write_image
from deepvis_caffe.results import layout
from deepvis_caffe.results.layout import record_of
from deepvis_caffe.results.records import (
    Record,
    check_picture_owner,
    read_record,
    write_record,
)


class TopImageStore:
    """The top images in a results folder.

    Parameters
    ----------
    folder
        The results folder; made when something is written.
    folders
        Where layers are that their names alone do not tell apart, from `layout.net_folders`.
    """

    def __init__(
        self, folder: str | os.PathLike[str], folders: layout.Folders = layout.NO_FOLDERS
    ) -> None:
        self.folder, self.folders = Path(folder), folders

    def montage(self, tree: str, layer: str, unit: int) -> Path:
        """A unit's montage in one of `layout.TREES`; see `layout.record_of` for its record."""
        return self._path(tree, layer, layout.TopMontage(unit))

    def crop(self, tree: str, layer: str, unit: int, rank: int) -> Path:
        """One of the montage's pictures by itself; rank 0 is the strongest."""
        return self._path(tree, layer, layout.TopCrop(unit, rank))

    def finished(self, path: Path, layer: str, recipe: Record, overwrite: bool = False) -> bool:
        """Whether a montage and its crops are there, whole, and made by this recipe.

        Raises
        ------
        ResultsError
            It was made by another program, or belongs to another layer.
        SettingsError
            It was made with other parameters, and `overwrite` is not set.
        """
        check_picture_owner(path, layer)
        record = read_record(record_of(path)) or {}
        old = record.get("recipe")
        if old is not None and old != recipe and not overwrite:
            raise SettingsError(
                f"{path} was made from other images or with another net; choose another results "
                "folder (--results), or give --overwrite to lose it"
            )
        if old != recipe or not is_whole(path):
            return False
        crops = (path.with_name(f"{path.stem}_{rank}.png") for rank in range(_images(record)))
        return all(is_whole(crop) for crop in crops)

    def write(
        self, tree: str, montage: Picture, crops: Sequence[Picture], places: int, record: Record
    ) -> None:
        """Write a unit's pictures, then its record.

        Parameters
        ----------
        tree
            One of `layout.TREES`.
        montage
            (H, W, 3) RGB uint8.
        crops
            Each of its pictures by itself, strongest first.
        places
            How many pictures the montage can hold. Crops of an earlier scan that are beyond those
            of this one are deleted.
        record
            Holds ``"layer"``, ``"unit"`` and ``"recipe"``.
        """
        layer, unit = record["layer"], record["unit"]
        path = self.montage(tree, layer, unit)
        # If the write is cut off, the pictures are known as ours, and as unfinished.
        write_record(record_of(path), {**record, "recipe": None})
        for rank, picture in enumerate(crops):
            write_image(self.crop(tree, layer, unit, rank), picture)
        for rank in range(len(crops), places):
            self.crop(tree, layer, unit, rank).unlink(missing_ok=True)
        write_image(path, montage)
        write_record(record_of(path), record)

    def _path(self, tree: str, layer: str, name: layout.LayerFile) -> Path:
        return layout.path_of(self.folder, tree, layer, name, self.folders)


def _images(record: Record) -> int:
    """How many pictures a montage is made of, each of which is there by itself, too."""
    images = record.get("images")
    return len(images) if isinstance(images, list) else 0

"""Top images of units on disk, with their records: ``(tree, layer, unit) -> files``.

A unit is finished if it has a montage and a record with the wanted recipe. Montages of another
program are never replaced, and those made with other parameters only on request.
`deepvis_caffe.results.layout` names the files.
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

QUALITY = 85  # of a montage's JPEG: half the size of 95, with hardly a visible difference


class TopImageStore:
    """The top images in a results folder.

    Parameters
    ----------
    folder
        The results folder; created when something is written.
    folders
        Folders of layers whose plain folder names collide, from `layout.net_folders`.
    """

    def __init__(
        self, folder: str | os.PathLike[str], folders: layout.Folders = layout.NO_FOLDERS
    ) -> None:
        self.folder, self.folders = Path(folder), folders

    def montage(self, tree: str, layer: str, unit: int) -> Path:
        """A unit's montage in one of `layout.TREES`; see `layout.record_of` for its record."""
        return self._path(tree, layer, layout.TopMontage(unit))

    def crop(self, tree: str, layer: str, unit: int, rank: int) -> Path:
        """The file of a single picture of the montage; rank 0 is the strongest."""
        return self._path(tree, layer, layout.TopCrop(unit, rank))

    def finished(
        self,
        path: Path,
        layer: str,
        recipe: Record,
        overwrite: bool = False,
        with_crops: bool = False,
    ) -> bool:
        """Whether a complete montage by this recipe exists.

        Parameters
        ----------
        with_crops
            Whether each of its pictures must also exist as a separate file.

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
                "folder (--results), or give --overwrite to replace it"
            )
        if old != recipe or not is_whole(path):
            return False
        if not with_crops:
            return True
        crops = (path.with_name(f"{path.stem}_{rank}.png") for rank in range(_images(record)))
        return all(is_whole(crop) for crop in crops)

    def write(
        self, tree: str, montage: Picture, crops: Sequence[Picture], places: int, record: Record
    ) -> list[Path]:
        """Write a unit's pictures and its record.

        Parameters
        ----------
        tree
            One of `layout.TREES`.
        montage
            (H, W, 3) RGB uint8.
        crops
            The montage's pictures, strongest first, to write as single files; empty for none.
        places
            How many pictures the montage has room for. Single files of an earlier scan beyond
            `crops` are deleted.
        record
            Has ``"layer"``, ``"unit"`` and ``"recipe"``.

        Returns
        -------
        list of Path
            The files.
        """
        layer, unit = record["layer"], record["unit"]
        path = self.montage(tree, layer, unit)
        singles = [self.crop(tree, layer, unit, rank) for rank in range(len(crops))]
        # After an interruption, the pictures are known as ours and as unfinished: by a record
        # without a recipe if there was a montage before, or else by a record without a montage.
        before = path.exists()
        write_record(record_of(path), {**record, "recipe": None} if before else record)
        for single, picture in zip(singles, crops, strict=True):
            write_image(single, picture)
        for rank in range(len(crops), places):
            self.crop(tree, layer, unit, rank).unlink(missing_ok=True)
        write_image(path, montage, QUALITY)
        if before:
            write_record(record_of(path), record)
        return [*singles, path, record_of(path)]

    def _path(self, tree: str, layer: str, name: layout.LayerFile) -> Path:
        return layout.path_of(self.folder, tree, layer, name, self.folders)


def _images(record: Record) -> int:
    """How many pictures a montage shows, according to its record."""
    images = record.get("images")
    return len(images) if isinstance(images, list) else 0

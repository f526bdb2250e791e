"""Results on disk, in the layout of the Deep Visualization Toolbox (DVT).

::

    <folder>/regularized_opt/<layer>/<layer>_<unit:04d>_<seed>_best_X.png     zero is mid-gray
    <folder>/regularized_opt/<layer>/<layer>_<unit:04d>_<seed>_best_Xpm.png   plus mean
    <folder>/regularized_opt/<layer>/<layer>_<unit:04d>_<seed>.json           how it came about
    <folder>/regularized_opt/<layer>/<layer>_<unit:04d>_montage.jpg and .json
    <folder>/regularized_opt/<layer>/whole_layer.jpg and .json

A record is written after its pictures, and each file whole or not at all: so what has a record is
finished. A record's `recipe` is everything that decides the pixels, and a picture counts as made
already only where the recipe is the same. Nothing is written over that was made by another program,
and what another recipe made only where that is asked for.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepvis_caffe.errors import ImageError, SettingsError
from deepvis_caffe.figures.montage import cell_of, montage, shrunk, sprite, square_side
from deepvis_caffe.image import Picture, is_whole, read_image, resize_image, write_image
from deepvis_caffe.optimizer.objectives import UnitName
from deepvis_caffe.results.records import Record, as_json, read_record, write_record

Box = tuple[int, int, int, int]

KINDS = ("best_X", "best_Xpm")
LARGEST_LAYER = 4096  # pixels a side, unless its cells would be smaller than 16


def folder_name(layer: str) -> str:
    """A layer's name as one folder: ``fire5/concat`` is ``fire5_concat``; records keep the name."""
    return re.sub(r"^\.+|[^\w.-]", "_", layer, flags=re.ASCII)


class ResultStore:
    """Pictures that an ascent found, with their records.

    Parameters
    ----------
    folder
        The results folder; made when something is written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    # -- where things are --------------------------------------------------------------------

    def layer_folder(self, layer: str) -> Path:
        """Where the results of a layer are."""
        return self.folder / "regularized_opt" / folder_name(layer)

    def picture(self, layer: str, unit: UnitName, seed: int, kind: str = "best_Xpm") -> Path:
        """One run's picture, `kind` one of `KINDS`."""
        return self._stem(layer, unit, f"{seed}_{kind}.png")

    def record(self, layer: str, unit: UnitName, seed: int) -> Path:
        """One run's record."""
        return self._stem(layer, unit, f"{seed}.json")

    def montage(self, layer: str, unit: UnitName) -> Path:
        """The picture of all seeds of a unit; its record has the same name and ends in .json."""
        return self._stem(layer, unit, "montage.jpg")

    def whole_layer(self, layer: str) -> Path:
        """The picture of all units of a layer."""
        return self.layer_folder(layer) / "whole_layer.jpg"

    # -- what is there -----------------------------------------------------------------------

    def has_run(self, layer: str, unit: UnitName, seed: int, recipe: Record) -> bool:
        """Whether the pictures of one run are there, made by this recipe."""
        pictures = (self.picture(layer, unit, seed, kind) for kind in KINDS)
        made = _recipe(self.record(layer, unit, seed)) == as_json(recipe)
        return made and all(is_whole(path) for path in pictures)

    def finished(self, layer: str, unit: UnitName, seeds: Iterable[int], recipe: Record) -> bool:
        """Whether a unit's montage and the pictures of all its seeds are there, by this recipe."""
        path = self.montage(layer, unit)
        record = read_record(path.with_suffix(".json")) or {}
        seeds = list(seeds)
        return (
            is_whole(path)
            and record.get("seeds") == seeds
            and record.get("recipe") == as_json(recipe)
            and all(self.has_run(layer, unit, seed, recipe) for seed in seeds)
        )

    def runs(self, layer: str) -> dict[int, list[int]]:
        """The units of a layer that have finished runs, in order, each with its seeds."""
        found: dict[int, list[int]] = {}
        stem = re.escape(folder_name(layer))
        for path in sorted(self.layer_folder(layer).glob("*.json")):
            named = re.fullmatch(rf"{stem}_(\d{{4,}})_(\d+)\.json", path.name)
            if named is None or (read_record(path) or {}).get("layer") != layer:
                continue
            unit, seed = int(named[1]), int(named[2])
            if self.picture(layer, unit, seed, "best_X").is_file():
                found.setdefault(unit, []).append(seed)
        return {unit: sorted(found[unit]) for unit in sorted(found)}

    def cell(self, layer: str, unit: UnitName, seed: int) -> Picture:
        """What a montage shows of one run: ``best_X``, plain to see.

        Cut to what the unit sees, its contrast stretched, and enlarged where it is small.
        """
        picture = read_image(self.picture(layer, unit, seed, "best_X"))
        record = read_record(self.record(layer, unit, seed)) or {}
        return cell_of(picture, record.get("sees"), record.get("window"))

    # -- writing -----------------------------------------------------------------------------

    def claim(
        self,
        layer: str,
        units: Sequence[UnitName],
        seeds: Sequence[int],
        recipe: Record,
        overwrite: bool = False,
    ) -> None:
        """Make sure, before any work, that the results of these units may and can be written.

        Parameters
        ----------
        recipe
            Of what is going to be written.
        overwrite
            Whether results of another recipe may be lost.

        Raises
        ------
        ImageError
            A picture was made by another program or belongs to another layer, or the folder cannot
            be written.
        SettingsError
            A result was made by another recipe, and `overwrite` is not set.
        """
        pictures = [self.whole_layer(layer), *(self.montage(layer, unit) for unit in units)]
        for path in pictures:
            self._check_owner(path, layer)
        runs = [self.record(layer, unit, seed) for unit in units for seed in seeds]
        for path in runs:
            self._check_layer(path, layer)
        for path in (*runs, *(path.with_suffix(".json") for path in pictures)):
            old = _recipe(path)
            if old is not None and old != as_json(recipe) and not overwrite:
                raise SettingsError(
                    f"{path.parent} holds results of layer {layer!r} by other parameters "
                    f"({path.name}: {_differences(old, as_json(recipe))}); choose another results "
                    "folder (--results), or give --overwrite to lose them"
                )
        folder = self.layer_folder(layer)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise ImageError(
                f"cannot write to {folder}: {error.strerror}; choose another results folder "
                "(--results)"
            ) from error

    def write_run(
        self, pictures: Mapping[str, Picture], layer: str, unit: UnitName, seed: int, record: Record
    ) -> Path:
        """Write one run's pictures, then its record.

        Parameters
        ----------
        pictures
            By kind, each of `KINDS`.
        record
            Holds ``"recipe"``, and may hold rows and columns (top, left, bottom, right) of the
            net's input: ``"window"``, what the pictures are of it, and ``"sees"``, what the unit
            sees of it. Layer, unit and seed are added.

        Raises
        ------
        ImageError
            The folder cannot be written, or holds the results of another layer whose name gives
            the same folder.
        """
        self._check_layer(self.record(layer, unit, seed), layer)
        for kind in KINDS:
            write_image(self.picture(layer, unit, seed, kind), pictures[kind])
        named = {"layer": layer, "unit": unit, "seed": seed, **record}
        return write_record(self.record(layer, unit, seed), named)

    def write_montage(
        self,
        layer: str,
        unit: UnitName,
        seeds: Sequence[int],
        record: Record,
    ) -> Path:
        """Write a unit's montage from the pictures of its seeds, which must be there.

        Parameters
        ----------
        record
            Holds ``"recipe"``; layer, unit and seeds are added.

        Raises
        ------
        ImageError
            The montage that is there was made by somebody else: we do not write over it.
        """
        path = self.montage(layer, unit)
        self._check_owner(path, layer)
        picture = montage([self.cell(layer, unit, seed) for seed in seeds])
        named = {"layer": layer, "unit": unit, "seeds": list(seeds), **record}
        return _write_owned(path, picture, named)

    def write_whole_layer(self, layer: str, count: int, recipe: Record) -> Path | None:
        """Write the picture of a layer from the first seed of each unit that is finished.

        Parameters
        ----------
        count
            Number of units in the layer.
        recipe
            Units made by another recipe are left out.

        Returns
        -------
        Path or None
            None where no unit is finished.

        Raises
        ------
        ImageError
            The picture that is there was made by somebody else.
        """
        path = self.whole_layer(layer)
        self._check_owner(path, layer)
        cells = {}
        most = max(16, LARGEST_LAYER // square_side(count))
        for montage_record in sorted(self.layer_folder(layer).glob("*_montage.json")):
            record = read_record(montage_record) or {}
            if record.get("recipe") == as_json(recipe) and record.get("layer") == layer:
                unit, seed = record["unit"], record["seeds"][0]
                if not isinstance(unit, int):
                    continue  # a sum or a direction has no place among the units
                cells[unit] = shrunk(self.cell(layer, unit, seed), most)
        if not cells:
            return None
        # Windows at the border are smaller; one sprite has one size.
        height, width = (max(cell.shape[axis] for cell in cells.values()) for axis in (0, 1))
        cells = {unit: resize_image(cell, height, width) for unit, cell in cells.items()}
        about = {"layer": layer, "count": count, "units": sorted(cells), "recipe": recipe}
        return _write_owned(path, sprite(cells, count), about)

    # -- parts -------------------------------------------------------------------------------

    def _stem(self, layer: str, unit: UnitName, ending: str) -> Path:
        name = f"{unit:04d}" if isinstance(unit, int) else unit
        return self.layer_folder(layer) / f"{folder_name(layer)}_{name}_{ending}"

    def _check_owner(self, picture: Path, layer: str) -> None:
        record = picture.with_suffix(".json")
        if picture.exists() and read_record(record) is None:
            raise ImageError(
                f"{picture} is there without a record of ours, so it was made by another program; "
                "choose another results folder (--results), or move it away"
            )
        self._check_layer(record, layer)

    def _check_layer(self, path: Path, layer: str) -> None:
        owner = (read_record(path) or {}).get("layer", layer)
        if owner != layer:
            raise ImageError(
                f"{path} belongs to layer {owner!r}, and layer {layer!r} has the same folder name; "
                "choose another results folder (--results)"
            )


def _write_owned(path: Path, picture: Picture, record: Record) -> Path:
    about = path.with_suffix(".json")
    # Cut off between the two, the picture is known as ours, and as unfinished.
    write_record(about, {**record, "recipe": None})
    write_image(path, picture)
    write_record(about, record)
    return path


def _recipe(path: Path) -> Any:
    return (read_record(path) or {}).get("recipe")


def _differences(old: Record, new: Record) -> str:
    before, now = ({**recipe, **recipe.get("params", {})} for recipe in (old, new))
    return ", ".join(
        "another net or preprocessing"
        if name == "net"
        else f"{name} {before.get(name)}, now {now.get(name)}"
        for name in {**before, **now}
        if name != "params" and before.get(name) != now.get(name)
    )

"""Optimized images on disk, with their records: ``(layer, unit, seed) -> files``.

A record is written after its pictures, and each file atomically, so a run with a record is
finished. A record's `recipe` is everything that determines the pixels; a picture is reused only if
its recipe is the same. Each recipe has its own folder (`deepvis_caffe.results.recipes`). Montages
of another program are never replaced, and images of another net only on request.
`deepvis_caffe.results.layout` names the files.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deepvis_caffe.errors import ResultsError, SettingsError, boundary
from deepvis_caffe.figures.montage import cell_of, montage, shrunk, sprite, square_side
from deepvis_caffe.files import remove_abandoned
from deepvis_caffe.image import Picture, is_whole, read_image, resize_image, write_image
from deepvis_caffe.optimizer.targets import UnitName
from deepvis_caffe.results import layout
from deepvis_caffe.results.layout import BEST_X, BEST_XPM, KINDS, OPTIMIZED, record_of
from deepvis_caffe.results.recipes import (
    RecipeFolder,
    folder_within,
    recipe_folders,
    take_folder,
)
from deepvis_caffe.results.records import (
    Record,
    as_json,
    check_picture_owner,
    check_record_layer,
    differences,
    read_record,
    write_record,
    write_with_record,
)

IN_PASSING = "in_passing"  # in a record: the viewer made it while browsing; it may be replaced
LARGEST_LAYER = 4096  # pixels per side, unless its cells would be smaller than 16


class SavedRun(NamedTuple):
    """A finished run, and the store of its recipe."""

    store: ResultStore
    layer: str
    unit: UnitName
    seed: int


class ResultStore:
    """The optimized images in a results folder.

    Parameters
    ----------
    folder
        The results folder; created when something is written.
    folders
        Folders of layers whose plain folder names collide, from `layout.net_folders`.
    within
        The folder of one recipe within a layer's folder, see `of`; empty for the layer's own, which
        has the images of its first recipe.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        folders: layout.Folders = layout.NO_FOLDERS,
        within: str = "",
    ) -> None:
        self.folder, self.folders, self.within = Path(folder), folders, within

    # -- recipes -----------------------------------------------------------------------------

    def of(self, layer: str, recipe: Record) -> ResultStore:
        """The store for one recipe of a layer, whether its folder exists yet or not."""
        return self._at(folder_within(self._own_folder(layer), recipe))

    def take(self, layer: str, recipe: Record) -> ResultStore:
        """Like `of`, for writing: it claims the folder for this recipe.

        Raises
        ------
        ResultsError
            The folder cannot be written.
        """
        return self._at(take_folder(self._own_folder(layer), recipe))

    # -- where things are --------------------------------------------------------------------

    def layer_folder(self, layer: str) -> Path:
        """The folder of a layer's results."""
        return self._own_folder(layer) / self.within

    def picture(self, layer: str, unit: UnitName, seed: int, kind: str = BEST_XPM) -> Path:
        """One run's picture, `kind` one of `layout.KINDS`."""
        return self._path(layer, layout.RunPicture(unit, seed, kind))

    def record(self, layer: str, unit: UnitName, seed: int) -> Path:
        """One run's record."""
        return self._path(layer, layout.RunRecordFile(unit, seed))

    def montage(self, layer: str, unit: UnitName) -> Path:
        """The picture of all seeds of a unit; see `layout.record_of` for its record."""
        return self._path(layer, layout.Montage(unit))

    def whole_layer(self, layer: str) -> Path:
        """The picture of all units of a layer; see `layout.record_of` for its record."""
        return self._path(layer, layout.WholeLayer())

    # -- what is there -----------------------------------------------------------------------

    def has_run(
        self,
        layer: str,
        unit: UnitName,
        seed: int,
        recipe: Record,
        is_final: Callable[[Record], bool] = lambda record: True,
    ) -> bool:
        """Whether the pictures of one run by this recipe exist.

        Parameters
        ----------
        is_final
            Whether the run with that record need not be run again.
        """
        pictures = (self.picture(layer, unit, seed, kind) for kind in KINDS)
        record = read_record(self.record(layer, unit, seed)) or {}
        same = record.get("recipe") == as_json(recipe) and is_final(record)
        return same and all(is_whole(path) for path in pictures)

    def finished(self, layer: str, unit: UnitName, seeds: Iterable[int], recipe: Record) -> bool:
        """Whether a unit's montage and the pictures of all its seeds exist, by this recipe."""
        path = self.montage(layer, unit)
        record = read_record(record_of(path)) or {}
        seeds = list(seeds)
        return (
            is_whole(path)
            and record.get("seeds") == seeds
            and record.get("recipe") == as_json(recipe)
            and all(self.has_run(layer, unit, seed, recipe) for seed in seeds)
        )

    def runs(self, layer: str) -> dict[int, list[int]]:
        """The units of a layer with finished runs, in order, and their seeds."""
        found: dict[int, list[int]] = {}
        own = self._own_folder(layer).name
        for path in sorted(self.layer_folder(layer).glob("*.json")):
            name = layout.parse_file(OPTIMIZED, own, path.name)
            if not isinstance(name, layout.RunRecordFile):
                continue
            if (read_record(path) or {}).get("layer") != layer:
                continue
            unit, seed = int(name.unit), name.seed
            if self.picture(layer, unit, seed, BEST_X).is_file():
                found.setdefault(unit, []).append(seed)
        return {unit: sorted(found[unit]) for unit in sorted(found)}

    def saved_runs(self, layer: str | None = None, recipe: str | None = None) -> list[SavedRun]:
        """Every finished run of one layer or all, in order.

        Unlike `runs`, it includes runs of sums, directions and objectives, and of all recipes.

        Parameters
        ----------
        recipe
            The name of the recipe to list; None for the best that each unit has.
        """
        found: list[SavedRun] = []
        for own in self._own_folders(layer):
            shown: dict[UnitName, RecipeFolder] = {}
            for folder in recipe_folders(own):
                if recipe not in (None, folder.name):
                    continue
                for run in self._runs_in(folder):
                    best = shown.setdefault(run.unit, folder)
                    if best is folder and layer in (None, run.layer):
                        found.append(run)
        numbers_first = lambda run: (run.layer, isinstance(run.unit, str), run.unit, run.seed)  # noqa: E731
        return sorted(found, key=numbers_first)

    def recipes(self, layer: str | None = None) -> list[str]:
        """The names of the recipes with finished runs, of one layer or all.

        The one that is shown comes first.
        """
        found: dict[str, None] = {}
        for own in self._own_folders(layer):
            for folder in recipe_folders(own):
                if any(layer in (None, run.layer) for run in self._runs_in(folder)):
                    found[folder.name] = None
        return list(found)

    def cell(self, layer: str, unit: UnitName, seed: int) -> Picture:
        """One run's cell of a montage: its ``best_X``, read from disk.

        It is cropped to the unit's receptive field, stretched in contrast, and enlarged if small;
        see `deepvis_caffe.figures.montage.cell_of`.
        """
        picture = read_image(self.picture(layer, unit, seed, BEST_X))
        path = self.record(layer, unit, seed)
        record = read_record(path) or {}
        with boundary(ResultsError, f"{path} is damaged"):
            return cell_of(picture, record.get("sees"), record.get("window"))

    # -- writing -----------------------------------------------------------------------------

    def check(
        self,
        layer: str,
        units: Sequence[UnitName],
        seeds: Sequence[int],
        recipe: Record,
        overwrite: bool = False,
    ) -> None:
        """Check that existing results of these units may be replaced.

        Parameters
        ----------
        recipe
            The recipe of the results to write.
        overwrite
            Whether results of another net may be replaced. Those that the viewer made while
            browsing always may.

        Raises
        ------
        ResultsError
            A picture was made by another program or belongs to another layer.
        SettingsError
            A result is of another net, and `overwrite` is not set.
        """
        pictures = [self.montage(layer, unit) for unit in units]
        if any(isinstance(unit, int) for unit in units):  # only numbered units are shown there
            pictures.insert(0, self.whole_layer(layer))
        for path in pictures:
            check_picture_owner(path, layer)
        runs = [self.record(layer, unit, seed) for unit in units for seed in seeds]
        for path in runs:
            check_record_layer(path, layer)
        for path in () if overwrite else (*runs, *map(record_of, pictures)):
            record = read_record(path) or {}
            old = record.get("recipe")
            # Without a recipe, the result is unfinished.
            if isinstance(old, dict) and old != as_json(recipe) and not record.get(IN_PASSING):
                raise SettingsError(
                    f"{path.parent} holds other results of layer {layer!r} in the same place "
                    f"({path.name}: {_differences(old, as_json(recipe))}); choose another results "
                    "folder (--results), or give --overwrite to replace them"
                )

    def claim(
        self,
        layer: str,
        units: Sequence[UnitName],
        seeds: Sequence[int],
        recipe: Record,
        overwrite: bool = False,
    ) -> None:
        """Check, before any work, that the results of these units may and can be written.

        Parameters
        ----------
        layer, units, seeds, recipe, overwrite
            As for `check`.

        Raises
        ------
        ResultsError, SettingsError
            As for `check`, or the folder cannot be written.
        """
        self.check(layer, units, seeds, recipe, overwrite)
        folder = self.layer_folder(layer)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_abandoned(folder)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise ResultsError(
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
            (H, W, 3) RGB uint8, one for each of `layout.KINDS`.
        record
            Has ``"recipe"``. It may have two rectangles of the net's input, (top, left, bottom,
            right) in pixels: ``"window"``, the part that the pictures show, and ``"sees"``, the
            unit's receptive field. Layer, unit and seed are added.

        Raises
        ------
        ImageError, ResultsError
            The folder cannot be written, or has results of another layer with the same folder name.
        """
        path = self.record(layer, unit, seed)
        check_record_layer(path, layer)
        for kind in KINDS:
            write_image(self.picture(layer, unit, seed, kind), pictures[kind])
        return write_record(path, {"layer": layer, "unit": unit, "seed": seed, **record})

    def write_montage(
        self,
        layer: str,
        unit: UnitName,
        seeds: Sequence[int],
        record: Record,
        cells: Mapping[int, Picture] | None = None,
    ) -> Path:
        """Write a unit's montage.

        Parameters
        ----------
        record
            Has ``"recipe"``; layer, unit and seeds are added.
        cells
            The cells of runs that are still in memory, by seed. The others are read from disk.

        Raises
        ------
        ResultsError
            There is a montage that another program made.
        ImageError
            A cell cannot be read, or the montage cannot be written.
        """
        path = self.montage(layer, unit)
        check_picture_owner(path, layer)
        known = cells or {}
        shown = [known[k] if k in known else self.cell(layer, unit, k) for k in seeds]
        named = {"layer": layer, "unit": unit, "seeds": list(seeds), **record}
        return write_with_record(path, montage(shown), named)

    def unfinish(self, layer: str, unit: UnitName, seeds: Collection[int]) -> None:
        """Mark a unit's montage as unfinished if it shows runs that are about to be replaced.

        Parameters
        ----------
        seeds
            The seeds of these runs.
        """
        path = record_of(self.montage(layer, unit))
        record = read_record(path) or {}
        shown = record.get("seeds")
        if isinstance(shown, list) and any(seed in seeds for seed in shown):
            write_record(path, {**record, "recipe": None})

    def write_whole_layer(self, layer: str, count: int, recipe: Record) -> Path | None:
        """Write the picture of a layer from the first seed of each finished unit.

        Parameters
        ----------
        count
            Number of units in the layer.
        recipe
            Units made with another recipe are left out.

        Returns
        -------
        Path or None
            None if no unit is finished.

        Raises
        ------
        ResultsError
            There is a picture that another program made.
        ImageError
            A cell cannot be read, or the picture cannot be written.
        """
        path = self.whole_layer(layer)
        check_picture_owner(path, layer)
        cells = {}
        largest = max(16, LARGEST_LAYER // square_side(count))
        for unit, record in self._montage_records(layer):
            if record.get("recipe") == as_json(recipe) and record.get("layer") == layer:
                where = f"the record of layer {layer!r}, unit {unit} is damaged"
                with boundary(ResultsError, where):
                    first = int(record["seeds"][0])
                cells[unit] = shrunk(self.cell(layer, unit, first), largest)
        if not cells:
            return None
        # Windows at the border are smaller, but all cells of a sprite have the same size.
        height, width = (max(cell.shape[axis] for cell in cells.values()) for axis in (0, 1))
        cells = {unit: resize_image(cell, height, width) for unit, cell in cells.items()}
        record = {"layer": layer, "count": count, "units": sorted(cells), "recipe": recipe}
        return write_with_record(path, sprite(cells, count), record)

    # -- parts -------------------------------------------------------------------------------

    def _at(self, within: str) -> ResultStore:
        return ResultStore(self.folder, self.folders, within)

    def _own_folder(self, layer: str) -> Path:
        return layout.layer_folder(self.folder, OPTIMIZED, layer, self.folders)

    def _own_folders(self, layer: str | None) -> list[Path]:
        """The folder of one layer, or of all."""
        everything = (self.folder / OPTIMIZED).glob("*")
        return sorted(everything) if layer is None else [self._own_folder(layer)]

    def _path(self, layer: str, name: layout.LayerFile) -> Path:
        return layout.path_of(self.folder, OPTIMIZED, layer, name, self.folders, self.within)

    def _runs_in(self, folder: RecipeFolder) -> Iterator[SavedRun]:
        """The finished runs in a recipe's folder."""
        store = self._at(folder.within)
        for path in sorted(folder.path.glob("*.json")):
            record = read_record(path) or {}
            layer, unit, seed = record.get("layer"), record.get("unit"), record.get("seed")
            if not isinstance(layer, str) or not isinstance(record.get("recipe"), dict):
                continue
            if not isinstance(unit, int | str) or not isinstance(seed, int):
                continue
            if path == store.record(layer, unit, seed):
                yield SavedRun(store, layer, unit, seed)

    def _montage_records(self, layer: str) -> Iterable[tuple[int, Record]]:
        """The records of all montages of single units, without sums and directions."""
        own = self._own_folder(layer).name
        for path in sorted(self.layer_folder(layer).glob("*.json")):
            name = layout.parse_file(OPTIMIZED, own, path.name)
            if isinstance(name, layout.Montage):
                yield int(name.unit), read_record(path) or {}


def _differences(old: Record, new: Record) -> str:
    before, now = (
        {**recipe, **(params if isinstance(params := recipe.get("params"), dict) else {})}
        for recipe in (old, new)
    )
    for flat in (before, now):
        flat.pop("params", None)
    words = {"net": "another net or preprocessing"}
    if before.get("output_of") is None:
        words["output_of"] = (
            "in older versions the layer's name meant its own output; now it means the value after "
            f"in-place layer {now.get('output_of')!r}; add :raw to the name for its own output"
        )
    return differences(before, now, words)

"""The pictures of one layer in a results folder: ``(folder, names) -> LayerFiles``.

For callers that poll, such as the viewer. Pictures of the Deep Visualization Toolbox (DVT) are
included; they have no records, and many layers have only montages or one ``whole_layer.jpg``.

A layer may have two folders, named after the layer and after its blob. A unit without pictures gets
those of the equivalent unit of another layer, if there is one. If a unit has optimized images of
several recipes, those of the requested one are listed, or else of the best one; see
`deepvis_caffe.results.recipes`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_not
from pathlib import Path
from typing import NamedTuple

from deepvis_caffe.errors import DeepVisError, ImageError, ResultsError
from deepvis_caffe.figures.montage import cell_of, shrunk, square_side
from deepvis_caffe.image import Picture, read_image
from deepvis_caffe.model.same_units import SameUnits
from deepvis_caffe.results import layout
from deepvis_caffe.results.layout import (
    BEST_X,
    BEST_XPM,
    DECONV,
    MONTAGE,
    OPTIMIZED,
    TOP_IMAGES,
    record_of,
    run_record_of,
)
from deepvis_caffe.results.recipes import RecipeFolder, rank, recipe_folders
from deepvis_caffe.results.records import RunRecord, read_record, read_run_record

log = logging.getLogger(__name__)

Stamp = tuple[object, ...]

SHOWN = (OPTIMIZED, TOP_IMAGES, DECONV)  # the trees that the viewer shows
# Seconds in which a folder may change again without a new modification time.
RACY = 2.0


class SameUnit(NamedTuple):
    """A unit of another layer: the layer's names and the unit's number."""

    names: tuple[str, ...]
    unit: int

    def __str__(self) -> str:
        return f"{self.names[0]} {self.unit}"


@dataclass(frozen=True)
class UnitFiles:
    """The pictures of one unit, by their paths.

    Attributes
    ----------
    runs
        By seed, in order, and then by `layout.KINDS`.
    single
        By kind: ``"montage"``, ``"max_im"`` or ``"max_deconv"``.
    recipe
        The recipe of its optimized images; empty if there are none.
    shown_as
        The equivalent unit of another layer whose pictures these are; None if they are its own.
    """

    runs: Mapping[int, Mapping[str, Path]] = field(default_factory=dict)
    single: Mapping[str, Path] = field(default_factory=dict)
    recipe: str = ""
    shown_as: SameUnit | None = None

    @property
    def optimized(self) -> bool:
        """Whether there is an optimized image, ours or DVT's."""
        return bool(self.runs) or MONTAGE in self.single

    def names(self, own: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the layer that the pictures belong to; `own` if it is the unit's layer."""
        return self.shown_as.names if self.shown_as else own

    @property
    def first(self) -> Path | None:
        """The picture that represents the unit: its first seed's, or else its montage."""
        for pictures in self.runs.values():
            return pictures.get(BEST_X) or pictures[BEST_XPM]
        return self.single.get(MONTAGE)

    def stamp(self) -> Stamp:
        """A value that changes when one of the files does."""
        paths = [path for run in self.runs.values() for path in run.values()]
        paths += self.single.values()
        if TOP_IMAGES in self.single:
            paths.append(record_of(self.single[TOP_IMAGES]))
        return tuple(stamp_of(path) for path in paths)


@dataclass(frozen=True)
class LayerFiles:
    """The pictures of one layer.

    Attributes
    ----------
    units
        By number, the units that have pictures.
    sprite
        The picture of all units, if there is one.
    sprite_recipe
        Its recipe.
    recipes
        The recipes of the layer's optimized images, in the order in which they are shown.
    """

    units: Mapping[int, UnitFiles] = field(default_factory=dict)
    sprite: Path | None = None
    sprite_recipe: str = ""
    recipes: tuple[str, ...] = ()


class LayerFolder:
    """A layer's folders, listed again only when they have changed.

    Parameters
    ----------
    folder
        The results folder; it need not exist.
    names
        The layer's names; earlier ones take precedence.
    folders
        Folders of layers whose plain folder names collide, from `layout.net_folders`.
    same
        Equivalent units of other layers; units without pictures get theirs.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        folders: layout.Folders = layout.NO_FOLDERS,
        same: Sequence[SameUnits] = (),
    ) -> None:
        self.names = tuple(names)
        self._others = [(LayerFolder(folder, units.names, folders), units) for units in same]
        self._read: tuple[LayerFiles, ...] = ()  # what was merged last, and the result
        self._together = LayerFiles()
        places = [
            (tree, layout.layer_folder(folder, tree, name, folders))
            for tree in SHOWN
            for name in names
        ]
        self._places = list(dict.fromkeys(places))
        self._within: list[Path] = []  # the folders of recipes, as of the last listing
        self._stamp: Stamp | None = None
        self._files = LayerFiles()
        self._listed = 0

    @property
    def listed(self) -> int:
        """How often folders have been listed."""
        return self._listed + sum(other.listed for other, _ in self._others)

    def files(self, recipe: str = "") -> LayerFiles:
        """The pictures that exist now.

        Parameters
        ----------
        recipe
            The recipe to prefer for units that have several; empty for the best one.
        """
        read = (self._own(recipe), *(other.files(recipe) for other, _ in self._others))
        if len(read) != len(self._read) or any(map(is_not, read, self._read)):
            self._read, self._together = read, self._with_others(*read)
        return self._together

    def _with_others(self, own: LayerFiles, *others: LayerFiles) -> LayerFiles:
        """A layer's own pictures, and those of equivalent units of other layers."""
        if not others:
            return own
        units = dict(own.units)
        for (folder, same), files in zip(self._others, others, strict=True):
            for unit, number in same.units.items():
                if unit not in units and (there := files.units.get(number)):
                    units[unit] = replace(there, shown_as=SameUnit(folder.names, number))
        recipes = dict.fromkeys(name for files in (own, *others) for name in files.recipes)
        return replace(own, units=dict(sorted(units.items())), recipes=tuple(recipes))

    def _own(self, recipe: str) -> LayerFiles:
        before = time.time()
        stamp = self._now(recipe)
        if stamp != self._stamp:
            self._files, self._within = _list(self._places, recipe)
            self._listed += 1
            stamp = self._now(recipe)
            times = (part[0] for part in stamp if isinstance(part, tuple))
            newest = max(times, default=0) / 1e9
            self._stamp = stamp if before - newest > RACY else None
        return self._files

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes found by the last listing, in the order in which they are shown."""
        return self._together.recipes

    def _now(self, recipe: str) -> Stamp:
        paths = [*(path for _, path in self._places), *self._within]
        return (recipe, *map(stamp_of, paths))


def stamp_of(path: Path) -> tuple[int, int] | None:
    """(modification time in ns, size); None if there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def read_run(pictures: Mapping[str, Path], names: Sequence[str]) -> Picture:
    """One run's picture as it is shown; see `deepvis_caffe.figures.montage`.

    Parameters
    ----------
    pictures
        By kind, at least one.
    names
        The layer's names.

    Raises
    ------
    ImageError
        It cannot be read.
    ResultsError
        It belongs to another layer with the same folder name.
    """
    path = pictures.get(BEST_X)
    plain = path is None
    path = path or pictures[BEST_XPM]
    record = _record(run_record_of(path))
    if record is not None and record.layer not in names:
        raise ResultsError(f"{path} belongs to layer {record.layer!r}, not {names[0]!r}")
    picture = read_image(path)
    if plain:  # zero is not mid-gray in it
        return picture
    return cell_of(picture, *((record.receptive_field, record.window) if record else ()))


def read_sprite(path: Path, names: Sequence[str], units: int, most: int) -> dict[int, Picture]:
    """The pictures of the units of a ``whole_layer.jpg``, each at most `most` pixels a side.

    Unit k is at row ``k // side``, column ``k % side`` of a square. The record says which units
    have a picture; without a record, all of them do.

    Parameters
    ----------
    names
        The layer's names.
    units
        How many units it has.

    Raises
    ------
    ImageError
        It cannot be read, or is not a square of that many cells.
    ResultsError
        It belongs to another layer.
    """
    record = read_record(record_of(path)) or {}
    if record.get("layer", names[0]) not in names:
        raise ResultsError(f"{path} belongs to layer {record['layer']!r}, not {names[0]!r}")
    count = record.get("count")
    count = count if type(count) is int and count > 0 else units
    listed = record.get("units")
    known = range(count) if not isinstance(listed, list) else listed
    picture = read_image(path)
    side = square_side(count)
    height, width = picture.shape[0] // side, picture.shape[1] // side
    if (height * side, width * side) != picture.shape[:2] or not height * width:
        raise ImageError(
            f"{path} has {picture.shape[0]} x {picture.shape[1]} pixels, expected a square of "
            f"{side} x {side} cells for a layer of {count} units"
        )
    cells = {}
    for unit in known:
        if type(unit) is int and 0 <= unit < min(count, units):
            top, left = unit // side * height, unit % side * width
            cells[unit] = shrunk(picture[top : top + height, left : left + width], most).copy()
    return cells


# -- parts -------------------------------------------------------------------------------------


def _list(places: Sequence[tuple[str, Path]], wanted: str = "") -> tuple[LayerFiles, list[Path]]:
    """The pictures in the folders, and the recipe folders within these.

    Earlier folders take precedence.
    """
    single: dict[int, dict[str, Path]] = {}
    made: dict[str, _Made] = {}  # by recipe
    folders: list[tuple[Path, RecipeFolder]] = []
    for tree, own in places:
        if tree == OPTIMIZED:
            folders += [(own, recipe_folder) for recipe_folder in recipe_folders(own)]
            continue
        for file in _names(own):
            match layout.parse_file(tree, own.name, file):
                case layout.TopMontage(unit, "jpg"):
                    single.setdefault(unit, {}).setdefault(tree, own / file)
    wanted_first = lambda item: (item[1].name != wanted, rank(item[1]))  # noqa: E731
    # The sort is stable, so folders of the same name keep their order.
    for own, recipe_folder in sorted(folders, key=wanted_first):
        _take(made.setdefault(recipe_folder.name, _Made()), own.name, recipe_folder.path)
    units: dict[int, UnitFiles] = {}
    for number in sorted({*single, *(unit for images in made.values() for unit in images.units)}):
        name = next((name for name, images in made.items() if number in images.units), "")
        shown = made[name] if name else _Made()
        own_single = dict(single.get(number, {}))
        if number in shown.montages:
            own_single = {MONTAGE: shown.montages[number], **own_single}
        runs = dict(sorted(shown.runs.get(number, {}).items()))
        units[number] = UnitFiles(runs, own_single, name)
    sprite_recipe = next((name for name, images in made.items() if images.sprite), "")
    sprite = made[sprite_recipe].sprite if sprite_recipe else None
    recipes = sorted(
        (
            recipe_folder
            for _, recipe_folder in folders
            if made[recipe_folder.name].units or made[recipe_folder.name].sprite
        ),
        key=rank,
    )
    names = tuple(dict.fromkeys(recipe_folder.name for recipe_folder in recipes))
    return LayerFiles(units, sprite, sprite_recipe, names), [
        recipe_folder.path for _, recipe_folder in folders if recipe_folder.within
    ]


@dataclass
class _Made:
    """The optimized images by one recipe."""

    runs: dict[int, dict[int, dict[str, Path]]] = field(default_factory=dict)
    montages: dict[int, Path] = field(default_factory=dict)
    sprite: Path | None = None

    @property
    def units(self) -> set[int]:
        return {*self.runs, *self.montages}


def _take(made: _Made, layer: str, folder: Path) -> None:
    """Add the pictures in a folder."""
    for file in _names(folder):
        path = folder / file
        match layout.parse_file(OPTIMIZED, layer, file):
            case layout.WholeLayer(ending="jpg"):
                made.sprite = made.sprite or path
            case layout.Montage(unit, "jpg"):
                made.montages.setdefault(int(unit), path)
            case layout.RunPicture(unit, seed, kind, ending):
                kinds = made.runs.setdefault(int(unit), {}).setdefault(seed, {})
                existing = kinds.get(kind)
                # Ours takes precedence over DVT's in the same folder.
                if existing is None or (ending == "png" and existing.parent == folder):
                    kinds[kind] = path


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:  # for many files, ten times as fast as pathlib
            return sorted(entry.name for entry in entries)
    except OSError:  # missing or not readable
        return []


def _record(path: Path) -> RunRecord | None:
    try:
        return read_run_record(path)
    except DeepVisError:
        if path.exists():
            log.info("%s cannot be read; its picture is shown whole", path)
        return None

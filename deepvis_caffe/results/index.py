"""Index a results folder: ``folder -> Results``, the layers with their units and their runs.

It reads what the modules of `deepvis_caffe.results` write, and results of the Deep Visualization
Toolbox (DVT), which have no records. Only names and records are read; no picture is opened.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepvis_caffe.attribution.weight_drivers import WeightDrivers
from deepvis_caffe.dataset.correlation import Correlation
from deepvis_caffe.dataset.statistics import UnitStatistics
from deepvis_caffe.errors import ResultsError
from deepvis_caffe.progress import ProgressCallback
from deepvis_caffe.results import layout
from deepvis_caffe.results.layout import (
    OPTIMIZED,
    TOP_IMAGES,
    TREES,
    name_apart,
    plain_name,
    record_of,
)
from deepvis_caffe.results.recipes import RecipeFolder, recipe_folders
from deepvis_caffe.results.records import (
    MOST_POINTS,
    RunRecord,
    TopImage,
    UnitRecord,
    best_of,
    read_record,
    read_run_record,
    read_top_record,
    read_unit_record,
)


@dataclass(frozen=True)
class Run:
    """One seed's pictures.

    Attributes
    ----------
    seed
        Seed of the random start.
    pictures
        The file's suffix (``"png"``) for each of `layout.KINDS` that exists.
    record
        The run's record with a shortened history; None if there is none.
    every
        How many steps each value of the shortened history stands for: it is the best of them.
    length
        How many steps were run.
    """

    seed: int
    pictures: Mapping[str, str]
    record: RunRecord | None = None
    every: int = 1
    length: int = 0


@dataclass(frozen=True)
class Optimized:
    """One unit's optimized images by one recipe.

    Attributes
    ----------
    recipe
        The recipe's name; see `deepvis_caffe.results.recipes`.
    runs
        Sorted by seed.
    montage
        Whether there is a picture of all seeds.
    """

    recipe: str
    runs: tuple[Run, ...]
    montage: bool = False


@dataclass(frozen=True)
class ShownAs:
    """The equivalent unit of another layer, whose pictures a unit shows.

    Attributes
    ----------
    layer, folder
        The names of that layer and of its folder.
    unit
        The unit's number there.
    within
        By recipe name, the folder of its optimized images within that layer's folder.
    """

    layer: str
    folder: str
    unit: int
    within: Mapping[str, str]


@dataclass(frozen=True)
class UnitResults:
    """One unit's pictures.

    Attributes
    ----------
    unit, label
        Its number, and its label if a record has one.
    optimized
        By recipe, the best one first.
    pictures
        Which of ``"max_im"``, ``"max_deconv"``, ``"weights"`` and so on exist.
    top
        Its top images according to their record, strongest first; empty unless each also has a
        separate file.
    statistics
        Statistics of its activations, if a scan has them; see `additions.with_statistics`.
    drivers
        The units of layers below that raise and lower it most, by the net's weights; see
        `additions.with_drivers`.
    shown_as
        The unit whose pictures these are; None if they are its own. See `additions.with_net`.
    """

    unit: int
    label: str | None
    optimized: tuple[Optimized, ...]
    pictures: frozenset[str]
    top: tuple[TopImage, ...] = ()
    statistics: UnitStatistics | None = None
    drivers: WeightDrivers | None = None
    shown_as: ShownAs | None = None

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs by the best recipe that the unit has."""
        return self.optimized[0].runs if self.optimized else ()


@dataclass(frozen=True)
class Recipe:
    """A recipe of a layer's optimized images.

    Attributes
    ----------
    name
        The name of its folder, or the name that a folder would have.
    within
        The folder within the layer's; empty for the layer's own.
    whole_layer
        Whether there is a picture of all units.
    """

    name: str
    within: str = ""
    whole_layer: bool = False


@dataclass(frozen=True)
class LayerResults:
    """One layer's pictures.

    Attributes
    ----------
    name, folder
        Its name in the net, and its folder's name, with which the names of its files start.
    count
        How many units the layer has, if a record says so.
    recipes
        The recipes of its optimized images; the one that is shown comes first.
    model
        The net's name, if a record has one.
    units
        Sorted by number, at least one.
    correlation
        Correlation between the layer's units, if a scan of a dataset has it; see
        `additions.with_statistics`.
    """

    name: str
    folder: str
    count: int | None
    recipes: tuple[Recipe, ...]
    model: str | None
    units: tuple[UnitResults, ...]
    correlation: Correlation | None = None


@dataclass(frozen=True)
class StageResults:
    """A stage of the net: its layers of one resolution.

    Attributes
    ----------
    extent
        The size of the maps, (height, width) for images; () for single numbers.
    layers
        The names of the layers that have units or results.
    reads
        Indices of the stages that it reads.
    """

    extent: tuple[int, ...]
    layers: tuple[str, ...]
    reads: tuple[int, ...]


@dataclass(frozen=True)
class Results:
    """Everything in a results folder that the gallery page can show.

    Attributes
    ----------
    folder
        Its path.
    layers
        At least one, in natural order of their names: conv2 before conv10; see also
        `additions.with_net`.
    skipped
        One line for each file or folder that was skipped, with the reason.
    stages
        The net's stages in order; empty if the net is not known.
    net
        The name of the net that these layers belong to; empty if not known. Layers whose records
        name a net have it themselves, see `LayerResults.model`.
    """

    folder: Path
    layers: tuple[LayerResults, ...]
    skipped: tuple[str, ...]
    stages: tuple[StageResults, ...] = ()
    net: str = ""


def read_results(
    folder: str | os.PathLike[str], progress: ProgressCallback | None = None
) -> Results:
    """Read a results folder.

    Parameters
    ----------
    progress
        Called with the number of files read so far, and the total.

    Raises
    ------
    ResultsError
        There is no such folder, or it holds no results.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "there is no such folder"
        raise ResultsError(f"cannot read results from {folder}: {what}")
    skipped: list[str] = []
    listed = [
        (tree, path, [(source, _names(source.path, skipped, folders=False)) for source in folders])
        for tree in TREES
        for path in _subfolders(folder / tree, skipped)
        for folders in [_recipe_folders(path, skipped) if tree == OPTIMIZED else [_only(path)]]
    ]
    total, done = sum(len(files) for _, _, some in listed for _, files in some), 0
    layers: dict[str, _Layer] = {}  # by folder
    for tree, path, folders in listed:
        found = _Layer(path.name)
        for source, files in folders:
            recipe = Recipe(source.name, source.within)
            for file in files:
                _take(found, source.path / file, tree, recipe, skipped)
                done += 1
                if progress is not None and done % 64 == 0:
                    progress(done, total)
        if found.units:
            _merge(layers, found, path, skipped)
    if progress is not None:
        progress(total, total)
    _drop_superseded(layers, skipped)
    ordered = sorted(layers.values(), key=lambda layer: _natural(layer.true_name))
    frozen = tuple(
        layer for layer in (gathered.frozen(skipped) for gathered in ordered) if layer.units
    )
    if not frozen:
        raise ResultsError(_no_results_message(folder, skipped))
    return Results(folder, frozen, tuple(skipped))


# -- gathering ---------------------------------------------------------------------------------


@dataclass
class _Optimized:
    runs: dict[int, dict[str, str]] = field(default_factory=dict)
    records: dict[int, Run] = field(default_factory=dict)
    montage: bool = False

    def frozen(self, recipe: str) -> Optimized:
        runs = []
        for seed, pictures in sorted(self.runs.items()):
            known = self.records.get(seed, Run(seed, {}))
            runs.append(Run(seed, pictures, known.record, known.every, known.length))
        return Optimized(recipe, tuple(runs), self.montage)


@dataclass
class _Unit:
    pictures: set[str] = field(default_factory=set)
    optimized: dict[str, _Optimized] = field(default_factory=dict)  # by recipe
    label: str | None = None
    top: tuple[TopImage, ...] = ()
    crops: set[int] = field(default_factory=set)  # ranks of the top images that have a file

    def by(self, recipe: Recipe) -> _Optimized:
        return self.optimized.setdefault(recipe.name, _Optimized())

    def frozen(self, unit: int) -> UnitResults:
        made = (
            images.frozen(name)
            for name, images in self.optimized.items()
            if images.runs or images.montage
        )
        top = self.top if self.crops.issuperset(range(len(self.top))) else ()
        return UnitResults(unit, self.label, tuple(made), frozenset(self.pictures), top)


@dataclass
class _Layer:
    folder: str
    name: str | None = None
    model: str | None = None
    count: int | None = None
    recipes: dict[str, Recipe] = field(default_factory=dict)  # by name
    units: dict[int, _Unit] = field(default_factory=dict)

    @property
    def true_name(self) -> str:
        return self.name or self.folder

    def unit(self, number: int) -> _Unit:
        return self.units.setdefault(number, _Unit())

    def add_names(self, record: UnitRecord, unit: int, path: Path) -> None:
        """Take names from a record at `path`, which must belong to this folder and unit."""
        if record.unit != unit:
            raise ResultsError(f"{path}: it belongs to unit {record.unit}")
        own_folders = (plain_name(record.layer), name_apart(record.layer))
        if self.folder not in own_folders or self.name not in (None, record.layer):
            raise ResultsError(f"{path}: it belongs to layer {record.layer!r}")
        self.name = record.layer
        self.model = self.model or record.model.name
        own = self.unit(unit)
        own.label = own.label or record.label

    def frozen(self, skipped: list[str]) -> LayerResults:
        for number, unit in self.units.items():
            for made in unit.optimized.values():
                for seed in made.records.keys() - made.runs.keys():
                    skipped.append(
                        f"{self.true_name} unit {number}, seed {seed}: its pictures are missing"
                    )
        frozen = [unit.frozen(number) for number, unit in sorted(self.units.items())]
        units = tuple(unit for unit in frozen if unit.pictures or unit.optimized)
        used = {made.recipe for unit in units for made in unit.optimized}
        recipes = tuple(
            recipe for name, recipe in self.recipes.items() if recipe.whole_layer or name in used
        )
        return LayerResults(self.true_name, self.folder, self.count, recipes, self.model, units)


def _recipe_folders(own: Path, skipped: list[str]) -> list[RecipeFolder]:
    """A layer's folders, one for each recipe name: the first if two share a name."""
    by_name: dict[str, RecipeFolder] = {}
    for folder in recipe_folders(own):
        if _has_text(folder.name, own, skipped):
            by_name.setdefault(folder.name, folder)
    return list(by_name.values())


def _only(own: Path) -> RecipeFolder:
    return RecipeFolder("", own, "", 0.0)


def _take(layer: _Layer, path: Path, tree: str, recipe: Recipe, skipped: list[str]) -> None:
    """Add one file to its layer; files with unknown names are ignored."""
    if tree == OPTIMIZED:
        layer.recipes.setdefault(recipe.name, recipe)
    try:
        match layout.parse_file(tree, layer.folder, path.name):
            case layout.WholeLayer(ending="jpg"):
                layer.recipes[recipe.name] = replace(recipe, whole_layer=True)
                count = (read_record(record_of(path)) or {}).get("count")
                layer.count = count if type(count) is int and count > 0 else layer.count
            case layout.RunPicture(unit, seed, kind, ending):
                pictures = layer.unit(int(unit)).by(recipe).runs.setdefault(seed, {})
                if pictures.get(kind) != "png":  # ours takes precedence over DVT's
                    pictures[kind] = ending
            case layout.RunRecordFile(unit, seed):
                _take_run_record(layer, path, int(unit), seed, recipe)
            case (
                layout.Montage(unit, "json")
                | layout.TopMontage(unit, "json")
                | layout.WeightPicture(unit, "json")
            ):
                layer.add_names(read_unit_record(path), int(unit), path)
                if tree == TOP_IMAGES and (found := read_top_record(path)):
                    layer.unit(int(unit)).top = found.images
            case layout.TopCrop(unit, rank) if tree == TOP_IMAGES:
                layer.unit(unit).crops.add(rank)
            case layout.Montage(unit):
                layer.unit(int(unit)).by(recipe).montage = True
            case layout.TopMontage(unit) | layout.WeightPicture(unit):
                layer.unit(unit).pictures.add(tree)
    except ResultsError as error:
        # The picture is kept without its record.
        skipped.append(str(error))


def _take_run_record(layer: _Layer, path: Path, unit: int, seed: int, recipe: Recipe) -> None:
    record = read_run_record(path)
    layer.add_names(record, unit, path)
    if record.seed != seed:
        raise ResultsError(f"{path}: it belongs to seed {record.seed}")
    length = len(record.activations)
    every = max(1, math.ceil(length / MOST_POINTS))
    shorter = record.model_copy(
        update={"activations": best_of(record.activations, every, record.push)}
    )
    layer.unit(unit).by(recipe).records[seed] = Run(seed, {}, shorter, every, length)


def _merge(layers: dict[str, _Layer], found: _Layer, path: Path, skipped: list[str]) -> None:
    """Merge a layer's results in two trees; without records, the folder's name identifies it."""
    same = layers.setdefault(found.folder, found)
    if same is found:
        return
    if None not in (same.name, found.name) and same.name != found.name:
        skipped.append(f"{path}: it belongs to layer {found.name!r}, others to {same.name!r}")
        return
    same.name, same.model = same.name or found.name, same.model or found.model
    for number, unit in found.units.items():
        own = same.unit(number)
        own.pictures |= unit.pictures
        own.label = own.label or unit.label
        own.top, own.crops = own.top or unit.top, own.crops | unit.crops


def _drop_superseded(layers: dict[str, _Layer], skipped: list[str]) -> None:
    """Drop a layer's older results in a folder that now belongs to another layer."""
    for layer in [named for named in layers.values() if named.name is not None]:
        plain, apart = plain_name(layer.true_name), name_apart(layer.true_name)
        older = layers.get(plain)
        if layer.folder == apart != plain and older is not None and older.name == layer.name:
            del layers[plain]
            skipped.append(f"{plain}: results of layer {layer.name!r}, which are now in {apart}")


def _subfolders(tree: Path, skipped: list[str]) -> list[Path]:
    return [tree / name for name in _names(tree, skipped, folders=True)] if tree.is_dir() else []


def _names(folder: Path, skipped: list[str], folders: bool) -> list[str]:
    names = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir() == folders:
                    names.append(entry.name)
    except OSError as error:
        skipped.append(f"{folder}: {error.strerror}")
    return sorted(name for name in names if _has_text(name, folder, skipped))


def _has_text(name: str, folder: Path, skipped: list[str]) -> bool:
    """Whether a name is valid text; other names cannot be written into a page."""
    if name.isprintable() or name.encode(errors="ignore").decode() == name:
        return True
    skipped.append(f"{folder / ascii(name)}: its name is not UTF-8")
    return False


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(p), p) if p.isdigit() and p.isascii() else (1, 0, p) for p in parts]


def _no_results_message(folder: Path, skipped: list[str]) -> str:
    text = (
        f"{folder} holds no results: expected pictures like {OPTIMIZED}/<layer>/"
        f"<layer>_{layout.Montage(0)}, as `deepvis optimize` and the Deep Visualization Toolbox "
        "write them"
    )
    above = next((p.parent for p in (folder, *folder.absolute().parents) if p.name in TREES), None)
    if above is not None:
        text += f"; did you mean {above}?"
    return text + (f"; left out: {'; '.join(skipped[:3])}" if skipped else "")

"""What a results folder holds: ``folder -> Results``, the layers with their units and their runs.

Reads what the modules of `deepvis_caffe.results` write, and what the Deep Visualization
Toolbox (DVT) left, which has no records. Only names and records are read; no picture is opened.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepvis_caffe.attribution.weight_drivers import Means, WeightDrivers, drivers_by_weights
from deepvis_caffe.dataset.correlation import Correlation, correlation_of
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.scan_file import read_scan
from deepvis_caffe.dataset.statistics import UnitStatistics, unit_statistics
from deepvis_caffe.errors import DeepVisError, ResultsError
from deepvis_caffe.model.graph import RAW, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.resolution import stages
from deepvis_caffe.model.same_units import same_units
from deepvis_caffe.model.unit_sources import makes_or_sums_units
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
        Of the random start.
    pictures
        The ending of the file (``"png"``) for each of `layout.KINDS` that is there.
    record
        How it came about, its history cut to size; None where that is not known.
    every
        How many steps each value of the record's history stands for: it is the best of them.
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
        Its name, see `deepvis_caffe.results.recipes`.
    runs
        By seed.
    montage
        Whether there is a picture of all seeds.
    """

    recipe: str
    runs: tuple[Run, ...]
    montage: bool = False


@dataclass(frozen=True)
class ShownAs:
    """The unit of another layer whose pictures a unit has, because it is the same.

    Attributes
    ----------
    layer, folder
        That layer's name, and its folder's.
    unit
        Its number there.
    within
        By the name of a recipe, the folder of its optimized images within that layer's.
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
        Its number, and its name where a record has one.
    optimized
        By recipe, the best there is first.
    pictures
        Which of ``"max_im"``, ``"max_deconv"``, ``"weights"`` and so on are there.
    top
        Its top images by their record, strongest first, where each is there by itself, too; else
        empty.
    statistics
        Of its activations, where a scan of a dataset has them; see `with_statistics`.
    drivers
        The units of layers below that raise it and lower it most, by the net's weights; see
        `with_drivers`.
    shown_as
        Whose pictures these are; None where they are its own. See `with_net`.
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
        """Those by the best recipe that the unit has."""
        return self.optimized[0].runs if self.optimized else ()


@dataclass(frozen=True)
class Recipe:
    """A recipe of a layer's optimized images.

    Attributes
    ----------
    name
        As its folder is called, or would be.
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
        Its name as in the net, and its folder's, which the names of its files start with.
    count
        How many units the layer has, where a record says so.
    recipes
        Of its optimized images, the one that is shown comes first.
    model
        The net's name, where a record has one.
    units
        By number, at least one.
    correlation
        Between the layer's units, where a scan of a dataset has it; see `with_statistics`.
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
        Which stages it reads, by their place.
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
        Where it is.
    layers
        Sorted by name, with numbers by value: conv2 comes before conv10; see `with_net`. At least
        one.
    skipped
        One line for each file or folder that was left out, with the reason.
    stages
        Of the net, in its order; empty where that is not known.
    """

    folder: Path
    layers: tuple[LayerResults, ...]
    skipped: tuple[str, ...]
    stages: tuple[StageResults, ...] = ()


def read_results(
    folder: str | os.PathLike[str], progress: ProgressCallback | None = None
) -> Results:
    """Read what a results folder holds.

    Parameters
    ----------
    progress
        Called with the number of files that were looked at, and of all files.

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
        (tree, path, [(one, _names(one.path, skipped, folders=False)) for one in folders])
        for tree in TREES
        for path in _subfolders(folder / tree, skipped)
        for folders in [_recipe_folders(path, skipped) if tree == OPTIMIZED else [_only(path)]]
    ]
    total, done = sum(len(files) for _, _, some in listed for _, files in some), 0
    layers: dict[str, _Layer] = {}  # by folder
    for tree, path, folders in listed:
        found = _Layer(path.name)
        for one, files in folders:
            recipe = Recipe(one.name, one.within)
            for file in files:
                _take(found, one.path / file, tree, recipe, skipped)
                done += 1
                if progress is not None and done % 64 == 0:
                    progress(done, total)
        if found.units:
            _merge(layers, found, path, skipped)
    if progress is not None:
        progress(total, total)
    _leave_out_older(layers, skipped)
    ordered = sorted(layers.values(), key=lambda layer: _natural(layer.true_name))
    frozen = tuple(one for one in (layer.frozen(skipped) for layer in ordered) if one.units)
    if not frozen:
        raise ResultsError(_nothing_in(folder, skipped))
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
    crops: set[int] = field(default_factory=set)  # ranks of the top images that are there

    def by(self, recipe: Recipe) -> _Optimized:
        return self.optimized.setdefault(recipe.name, _Optimized())

    def frozen(self, unit: int) -> UnitResults:
        made = (one.frozen(name) for name, one in self.optimized.items() if one.runs or one.montage)
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

    def add_names(self, record: UnitRecord, unit: int) -> None:
        """Take names from a record, if it can belong to this folder and unit."""
        if record.unit != unit:
            raise ResultsError(f"it is about unit {record.unit}")
        own_folders = (plain_name(record.layer), name_apart(record.layer))
        if self.folder not in own_folders or self.name not in (None, record.layer):
            raise ResultsError(f"it is about layer {record.layer!r}")
        self.name = record.layer
        self.model = self.model or record.model.name
        own = self.unit(unit)
        own.label = own.label or record.label

    def frozen(self, skipped: list[str]) -> LayerResults:
        for number, unit in self.units.items():
            for made in unit.optimized.values():
                for seed in made.records.keys() - made.runs.keys():
                    skipped.append(
                        f"{self.true_name} unit {number}, seed {seed}: its pictures are gone"
                    )
        frozen = [unit.frozen(number) for number, unit in sorted(self.units.items())]
        units = tuple(unit for unit in frozen if unit.pictures or unit.optimized)
        used = {made.recipe for unit in units for made in unit.optimized}
        recipes = tuple(
            one for name, one in self.recipes.items() if one.whole_layer or name in used
        )
        return LayerResults(self.true_name, self.folder, self.count, recipes, self.model, units)


def _recipe_folders(own: Path, skipped: list[str]) -> list[RecipeFolder]:
    """A layer's folders, one for each name: of two of one name the first is shown."""
    by_name: dict[str, RecipeFolder] = {}
    for one in recipe_folders(own):
        if _has_text(one.name, own, skipped):
            by_name.setdefault(one.name, one)
    return list(by_name.values())


def _only(own: Path) -> RecipeFolder:
    return RecipeFolder("", own, "", 0.0)


def _take(layer: _Layer, path: Path, tree: str, recipe: Recipe, skipped: list[str]) -> None:
    """Add one file to what is known of its layer; names of other kinds are not ours."""
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
                if pictures.get(kind) != "png":  # ours rather than DVT's, where both are there
                    pictures[kind] = ending
            case layout.RunRecordFile(unit, seed):
                _take_run_record(layer, path, int(unit), seed, recipe)
            case (
                layout.Montage(unit, "json")
                | layout.TopMontage(unit, "json")
                | layout.WeightPicture(unit, "json")
            ):
                layer.add_names(read_unit_record(path), int(unit))
                if tree == TOP_IMAGES and (found := read_top_record(path)):
                    layer.unit(int(unit)).top = found.images
            case layout.TopCrop(unit, rank) if tree == TOP_IMAGES:
                layer.unit(unit).crops.add(rank)
            case layout.Montage(unit):
                layer.unit(int(unit)).by(recipe).montage = True
            case layout.TopMontage(unit) | layout.WeightPicture(unit):
                layer.unit(unit).pictures.add(tree)
    except ResultsError as error:
        # The picture stays; only what the record says of it is left out.
        text = str(error)
        skipped.append(text if text.startswith(str(path)) else f"{path}: {text}")


def _take_run_record(layer: _Layer, path: Path, unit: int, seed: int, recipe: Recipe) -> None:
    record = read_run_record(path)
    layer.add_names(record, unit)
    if record.seed != seed:
        raise ResultsError(f"it is about seed {record.seed}")
    length = len(record.activations)
    every = max(1, math.ceil(length / MOST_POINTS))
    shorter = record.model_copy(
        update={"activations": best_of(record.activations, every, record.push)}
    )
    layer.unit(unit).by(recipe).records[seed] = Run(seed, {}, shorter, every, length)


def _merge(layers: dict[str, _Layer], found: _Layer, path: Path, skipped: list[str]) -> None:
    """Join what two trees hold of one layer; one without records is known by its folder's name."""
    same = layers.setdefault(found.folder, found)
    if same is found:
        return
    if None not in (same.name, found.name) and same.name != found.name:
        skipped.append(f"{path}: it is of layer {found.name!r}, and others are of {same.name!r}")
        return
    same.name, same.model = same.name or found.name, same.model or found.model
    for number, unit in found.units.items():
        own = same.unit(number)
        own.pictures |= unit.pictures
        own.label = own.label or unit.label
        own.top, own.crops = own.top or unit.top, own.crops | unit.crops


def _leave_out_older(layers: dict[str, _Layer], skipped: list[str]) -> None:
    """Leave out what a layer has in the folder that it had before another layer claimed it."""
    for layer in [one for one in layers.values() if one.name is not None]:
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
    """Whether a name is text; bytes that are not cannot be written into a page."""
    if name.isprintable() or name.encode(errors="ignore").decode() == name:
        return True
    skipped.append(f"{folder / ascii(name)}: its name is not UTF-8")
    return False


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(p), p) if p.isdigit() and p.isascii() else (1, 0, p) for p in parts]


def _nothing_in(folder: Path, skipped: list[str]) -> str:
    text = (
        f"{folder} holds no results: expected pictures like {OPTIMIZED}/<layer>/"
        f"<layer>_{layout.Montage(0)}, as `deepvis optimize` and the Deep Visualization Toolbox "
        "write them"
    )
    above = next((p.parent for p in (folder, *folder.absolute().parents) if p.name in TREES), None)
    if above is not None:
        text += f"; did you mean {above}?"
    return text + (f"; left out: {'; '.join(skipped[:3])}" if skipped else "")


def with_statistics(results: Results) -> Results:
    """The same results, with the statistics of every unit that the folder's scan has.

    Without a scan they stay as they are. A scan that cannot be read is listed in `skipped`.
    """
    path = layout.scan_path(results.folder)
    if not path.is_file():
        return results
    try:
        scan, _ = read_scan(path)
    except ResultsError as error:
        return replace(results, skipped=(*results.skipped, str(error)))
    return replace(results, layers=tuple(_with_scan(layer, scan) for layer in results.layers))


def _with_scan(layer: LayerResults, scan: Scan) -> LayerResults:
    found = scan.layers.get(layer.name)
    if found is None or layer.count not in (None, found.units):  # of another net
        return layer
    units = (
        replace(unit, statistics=unit_statistics(scan, layer.name, unit.unit))
        if unit.unit < found.units
        else unit
        for unit in layer.units
    )
    correlation = correlation_of(found.moments, scan.images)
    return replace(layer, units=tuple(units), correlation=correlation)


def with_net(
    results: Results, model: Model, pictures_from: Mapping[str, str] | None = None
) -> Results:
    """The same results, the layers in the order of the net, and its stages.

    Layers that the net does not have come last. Results of another net stay as they are.

    A unit of a concatenation that has no pictures has those of the unit that it is, see
    `deepvis_caffe.model.same_units`.

    Parameters
    ----------
    pictures_from
        More layers whose units are to have the pictures of another layer's, in their order.
    """
    graph = model.graph
    results = _with_same_units(results, model, pictures_from or {})
    named = {blob: graph.producer[Value(blob)] for blob in graph.blobs} | dict(graph.by_name)
    place = {layout.plain_name(name): layer.index for name, layer in named.items()}  # no record
    place |= {name: layer.index for name, layer in named.items()}

    def key(layer: LayerResults) -> float:
        of_net = layer.model in (None, graph.name)
        return place.get(layer.name.removesuffix(RAW), math.inf) if of_net else math.inf

    ordered = tuple(sorted(results.layers, key=key))  # a stable sort
    names: dict[float, list[str]] = {}  # of results, by the place of their layers
    for layer in ordered:
        names.setdefault(key(layer), []).append(layer.name)
    if names.keys() == {math.inf}:
        return results
    return replace(results, layers=ordered, stages=tuple(_shown_stages(model, names)))


def _with_same_units(results: Results, model: Model, pictures_from: Mapping[str, str]) -> Results:
    of_net = [one for one in results.layers if one.model in (None, model.graph.name)]
    by_folder = {one.folder: one for one in of_net}
    layers = {one.folder: one for one in results.layers}
    joins = [one.tops[0].blob for one in model.graph if one.type == "Concat"]
    blobs = dict.fromkeys([*joins, *(one for one in pictures_from if one in model.graph.blobs)])
    for blob in blobs:
        writer = model.graph.producer[Value(blob)].name
        folders = [layout.plain_name(name) for name in (writer, blob)]
        own = next((by_folder[one] for one in folders if one in by_folder), None)
        if own is None and any(one in layers for one in folders):
            continue  # of another net
        shape = model.shapes.get(model.graph.blobs[blob], ())
        own = own or LayerResults(writer, folders[0], (*shape, 1, 1)[1], (), None, ())
        units = {one.unit: one for one in own.units}
        recipes = {one.name: one for one in own.recipes}
        for same in same_units(model, blob, pictures_from):
            named = (by_folder.get(layout.plain_name(name)) for name in same.names)
            for other in filter(None, named):
                within = {one.name: one.within for one in other.recipes}
                there = {one.unit: one for one in other.units}
                for unit, number in same.units.items():
                    if unit in units or number not in there:
                        continue
                    shown_as = ShownAs(other.name, other.folder, number, within)
                    units[unit] = replace(there[number], unit=unit, shown_as=shown_as)
                    recipes = {one.name: one for one in other.recipes} | recipes
        if units.keys() == {one.unit for one in own.units}:
            continue
        layers[own.folder] = replace(
            own,
            units=tuple(units[unit] for unit in sorted(units)),
            recipes=tuple(
                one if one in own.recipes else replace(one, whole_layer=False)
                for one in recipes.values()
            ),
        )
    if all(one is layers[one.folder] for one in results.layers) and len(layers) == len(
        results.layers
    ):
        return results
    return replace(results, layers=tuple(layers.values()))


def _shown_stages(model: Model, names: Mapping[float, list[str]]) -> Iterator[StageResults]:
    """The stages that have units or results; what a stage without them reads, its readers read."""
    places: dict[int, set[int]] = {}  # where each stage of the net is shown
    shown = 0
    for number, stage in enumerate(stages(model)):
        listed = [
            name
            for layer in stage.layers
            for name in names.get(layer.index, [layer.name] * makes_or_sums_units(model, layer))
        ]
        reads = {place for one in stage.reads for place in places.get(one, ())}
        places[number] = {shown} if listed else reads
        if listed:
            yield StageResults(stage.extent, tuple(listed), tuple(sorted(reads)))
            shown += 1


MOST_DRIVERS = 6  # units that raise a unit, and units that lower it


def with_drivers(results: Results, model: Model) -> Results:
    """The same results, with what drives every unit by the net's weights.

    Where the folder has a scan of the layers below, their mean activations count, too. Layers that
    are of another net stay as they are, and so do units without weights of their own.

    Parameters
    ----------
    model
        The net, with its weights.
    """
    means: Means = {}
    path = layout.scan_path(results.folder)
    if path.is_file():
        try:
            means = read_scan(path)[0].means
        except ResultsError:  # `with_statistics` says so
            means = {}
    layers = (_driven(layer, model, means) for layer in results.layers)
    return replace(results, layers=tuple(layers))


def _driven(layer: LayerResults, model: Model, means: Means) -> LayerResults:
    if layer.model not in (None, model.graph.name):
        return layer
    units = tuple(
        replace(one, drivers=_drivers_of(layer, one, model, means)) for one in layer.units
    )
    return replace(layer, units=units)


def _drivers_of(
    layer: LayerResults, unit: UnitResults, model: Model, means: Means
) -> WeightDrivers | None:
    try:
        found = drivers_by_weights(model, layer.name, unit.unit, means, count=None)
    except DeepVisError:  # no such layer, or no weights
        return None
    return replace(found, drivers=(*found.raising[:MOST_DRIVERS], *found.lowering[:MOST_DRIVERS]))

"""What a results folder holds: ``folder -> Results`` of layers of units of runs.

`deepvis_caffe.results.index` reads them.

Reads what `deepvis_caffe.results.store` writes, and what the Deep Visualization Toolbox (DVT) left,
which has no records::

    regularized_opt/<layer>/<layer>_<unit:04d>_montage.jpg, ..._<seed>_best_X.png, ..._<seed>.json
    max_im/<layer>/<layer>_<unit:04d>.jpg         the images of a dataset that excite a unit most
    max_deconv/<layer>/<layer>_<unit:04d>.jpg     what in them does, by deconv
    max_gradient/..., max_guided/...              by the other two modes, which DVT does not have

Only names and records are read, no picture is opened.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepvis_caffe.dataset.correlation import Correlation, correlation_of
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.statistics import UnitStatistics, unit_statistics
from deepvis_caffe.errors import ImageError
from deepvis_caffe.results.records import (
    MOST_POINTS,
    About,
    RunRecord,
    best_of,
    read_about,
    read_record,
    read_run_record,
)
from deepvis_caffe.results.scan_file import read_scan
from deepvis_caffe.results.store import folder_name


@dataclass(frozen=True)
class Run:
    """One seed's pictures.

    Attributes
    ----------
    seed
        Which.
    pictures
        The ending of its file (``"png"``) for each kind that is there, ``"best_X"`` and so on.
    record
        How it came about, its history cut to size; None where that is not known.
    every
        How many steps a value of the record's history stands for, the best of them.
    length
        How many steps were run.
    """

    seed: int
    pictures: Mapping[str, str]
    record: RunRecord | None = None
    every: int = 1
    length: int = 0


@dataclass(frozen=True)
class UnitResults:
    """One unit's pictures.

    Attributes
    ----------
    unit, label
        Which, and its name where a record has one.
    runs
        By seed.
    pictures
        Which of ``"montage"``, ``"max_im"``, ``"max_deconv"`` and so on are there.
    """

    unit: int
    label: str | None
    runs: tuple[Run, ...]
    pictures: frozenset[str]
    statistics: UnitStatistics | None = None  # see `deepvis_caffe.results.index`


@dataclass(frozen=True)
class LayerResults:
    """One layer's pictures.

    Attributes
    ----------
    name, folder
        Its true name, and its folder's, which the names of its files start with.
    count
        How many units the layer has, where a record says so.
    whole_layer
        Whether there is a picture of all units.
    model
        The net's name, where a record has one.
    units
        By number, at least one.
    correlation
        How the layer's units go together, where a pass over a dataset has kept that.
    """

    name: str
    folder: str
    count: int | None
    whole_layer: bool
    model: str | None
    units: tuple[UnitResults, ...]
    correlation: Correlation | None = None  # see `deepvis_caffe.results.index`


@dataclass(frozen=True)
class Results:
    """Everything in a results folder that a page can show.

    Attributes
    ----------
    folder
        Where it is.
    layers
        By name, numbers in it by value: conv2 comes before conv10. At least one.
    skipped
        One line for each file or folder that was left out: which, and why.
    """

    folder: Path
    layers: tuple[LayerResults, ...]
    skipped: tuple[str, ...]


OPTIMIZED, TOP_IMAGES, DECONV = "regularized_opt", "max_im", "max_deconv"
TREES = (OPTIMIZED, TOP_IMAGES, DECONV, "max_gradient", "max_guided")

# What follows "<layer>_" in a name. DVT wrote single pictures as JPEG, we write PNG.
RUN = re.compile(r"(\d{4,9})_(\d{1,10})_(best_X|best_Xpm)\.(png|jpg)")
RUN_RECORD = re.compile(r"(\d{4,9})_(\d{1,10})\.json")
MONTAGE = re.compile(r"(\d{4,9})_montage\.(jpg|json)")
TOP = re.compile(r"(\d{4,9})\.(jpg|json)")

Progress = Callable[[int, int], None]


def read_results(folder: str | os.PathLike[str], progress: Progress | None = None) -> Results:
    """Read what a results folder holds.

    Parameters
    ----------
    progress
        Called with the files that were looked at and that there are.

    Raises
    ------
    ImageError
        There is no such folder, or it holds no results.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "there is no such folder"
        raise ImageError(f"cannot read results from {folder}: {what}")
    skipped: list[str] = []
    listed = {
        (tree, path.name): _names(path, skipped, folders=False)
        for tree in TREES
        for path in _subfolders(folder / tree, skipped)
    }
    total, done = sum(map(len, listed.values())), 0
    layers: dict[str, _Layer] = {}
    for (tree, name), files in listed.items():
        found = _Layer(name)
        for file in files:
            _take(found, folder / tree / name / file, tree, skipped)
            done += 1
            if progress is not None and done % 64 == 0:
                progress(done, total)
        if found.units:
            _merge(layers, found, folder / tree / name, skipped)
    if progress is not None:
        progress(total, total)
    ordered = sorted(layers.values(), key=lambda layer: _natural(layer.true_name))
    frozen = tuple(one for one in (layer.frozen(skipped) for layer in ordered) if one.units)
    if not frozen:
        raise ImageError(_nothing_in(folder, skipped))
    return Results(folder, frozen, tuple(skipped))


# -- gathering ---------------------------------------------------------------------------------


@dataclass
class _Unit:
    pictures: set[str] = field(default_factory=set)
    runs: dict[int, dict[str, str]] = field(default_factory=dict)
    records: dict[int, Run] = field(default_factory=dict)
    label: str | None = None

    def frozen(self, unit: int) -> UnitResults:
        runs = []
        for seed, pictures in sorted(self.runs.items()):
            known = self.records.get(seed, Run(seed, {}))
            runs.append(Run(seed, pictures, known.record, known.every, known.length))
        return UnitResults(unit, self.label, tuple(runs), frozenset(self.pictures))


@dataclass
class _Layer:
    folder: str
    name: str | None = None
    model: str | None = None
    count: int | None = None
    whole_layer: bool = False
    units: dict[int, _Unit] = field(default_factory=dict)

    @property
    def true_name(self) -> str:
        return self.name or self.folder

    def unit(self, number: int) -> _Unit:
        return self.units.setdefault(number, _Unit())

    def hear(self, about: About, unit: int) -> None:
        """Take a record's word for names, if it can be about this folder and unit."""
        if about.unit != unit:
            raise ImageError(f"it is about unit {about.unit}")
        if folder_name(about.layer) != self.folder or self.name not in (None, about.layer):
            raise ImageError(f"it is about layer {about.layer!r}")
        self.name = about.layer
        self.model = self.model or about.model.name
        own = self.unit(unit)
        own.label = own.label or about.label

    def frozen(self, skipped: list[str]) -> LayerResults:
        for number, unit in self.units.items():
            for seed in unit.records.keys() - unit.runs.keys():
                skipped.append(
                    f"{self.true_name} unit {number}, seed {seed}: its pictures are gone"
                )
        units = {k: u for k, u in sorted(self.units.items()) if u.pictures or u.runs}
        return LayerResults(
            self.true_name,
            self.folder,
            self.count,
            self.whole_layer,
            self.model,
            tuple(unit.frozen(number) for number, unit in units.items()),
        )


def _take(layer: _Layer, path: Path, tree: str, skipped: list[str]) -> None:
    """Take one file into what is known of its layer; names of other kinds are not ours."""
    if not path.name.startswith(f"{layer.folder}_"):
        if tree == OPTIMIZED and path.name == "whole_layer.jpg":
            layer.whole_layer = True
            count = (read_record(path.with_suffix(".json")) or {}).get("count")
            layer.count = count if type(count) is int and count > 0 else None
        return
    rest = path.name[len(layer.folder) + 1 :]
    try:
        if tree != OPTIMIZED:
            _take_single(layer, path, TOP.fullmatch(rest), tree)
        elif run := RUN.fullmatch(rest):
            unit, seed, kind, ending = run.groups()
            pictures = layer.unit(int(unit)).runs.setdefault(int(seed), {})
            if pictures.get(kind) != "png":  # ours rather than DVT's, where both are there
                pictures[kind] = ending
        elif record := RUN_RECORD.fullmatch(rest):
            _take_record(layer, path, int(record[1]), int(record[2]))
        else:
            _take_single(layer, path, MONTAGE.fullmatch(rest), "montage")
    except ImageError as error:
        # The picture stays; only what the record says of it is left out.
        text = str(error)
        skipped.append(text if text.startswith(str(path)) else f"{path}: {text}")


def _take_single(layer: _Layer, path: Path, match: re.Match[str] | None, kind: str) -> None:
    if match is None:
        return
    unit, ending = int(match[1]), match[2]
    if ending == "jpg":
        layer.unit(unit).pictures.add(kind)
    else:
        layer.hear(read_about(path), unit)


def _take_record(layer: _Layer, path: Path, unit: int, seed: int) -> None:
    record = read_run_record(path)
    layer.hear(record, unit)
    if record.seed != seed:
        raise ImageError(f"it is about seed {record.seed}")
    length = len(record.objective)
    every = max(1, math.ceil(length / MOST_POINTS))
    shorter = record.model_copy(update={"objective": best_of(record.objective, every, record.push)})
    layer.unit(unit).records[seed] = Run(seed, {}, shorter, every, length)


def _merge(layers: dict[str, _Layer], found: _Layer, path: Path, skipped: list[str]) -> None:
    """Join what two trees hold of one layer; a folder without records is its folder's layer."""
    same = next((one for one in layers.values() if one.folder == found.folder), None)
    if same is None:
        layers[found.true_name] = found
        return
    if None not in (same.name, found.name) and same.name != found.name:
        skipped.append(f"{path}: it is of layer {found.name!r}, and others are of {same.name!r}")
        return
    same.name, same.model = same.name or found.name, same.model or found.model
    for number, unit in found.units.items():
        own = same.unit(number)
        own.pictures |= unit.pictures
        own.label = own.label or unit.label


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
        "<layer>_0000_montage.jpg, as `deepvis optimize` and the Deep Visualization Toolbox write "
        "them"
    )
    above = next((p.parent for p in (folder, *folder.absolute().parents) if p.name in TREES), None)
    if above is not None:
        text += f"; did you mean {above}?"
    return text + (f"; left out: {'; '.join(skipped[:3])}" if skipped else "")


SCAN = Path("dataset", "scan.npz")  # in the results folder, where `deepvis top-images` has it


def with_statistics(results: Results) -> Results:
    """The same with the statistics of every unit that the folder's scan knows.

    A folder without a scan stays as it is; one that cannot be read is among what was left out.
    """
    path = results.folder / SCAN
    if not path.is_file():
        return results
    try:
        scan, _ = read_scan(path)
    except ImageError as error:
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

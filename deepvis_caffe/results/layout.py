"""The layout of a results folder: each name in it, how it is written and how it is read back.

The layout is that of the Deep Visualization Toolbox (DVT), with a JSON record beside each picture::

    regularized_opt/<layer>/                       images that maximize a unit
        <layer>_<unit:04d>_<seed>_best_X.png       one run's image, zero is mid-gray
        <layer>_<unit:04d>_<seed>_best_Xpm.png     the same with the mean added
        <layer>_<unit:04d>_<seed>.json             the run's record
        <layer>_<unit:04d>_montage.jpg and .json   all seeds of a unit
        whole_layer.jpg and .json                  all units of the layer
        recipe.json                                which recipe all of this is by
        <recipe>/                                  the same files, by another recipe
    max_im/<layer>/                                crops of the images that activate a unit most
        <layer>_<unit:04d>.jpg and .json           the montage of them, strongest first
        <layer>_<unit:04d>_<rank>.png              each of them, strongest is 0
    max_deconv/, max_gradient/, max_guided/        saliency maps of these crops, by backward mode
    weights/<layer>/                               pictures of the weights of units
        <layer>_<unit:04d>.png and .json           each of them
    dataset/                                       a scan of a dataset
        recipe.json                                what decides its numbers
        shard_00012.npz                            a part of it, while it is not finished
        scan.npz                                   all of it, once it is
    runs/<digest>/regularized_opt/...              runs by one set of parameters, for experiments

DVT writes a run's images as JPEG, has no records, and has none of ``max_gradient``,
``max_guided`` and ``weights``. `deepvis_caffe.results.recipes` says which recipe has the layer's
own folder. ``<layer>`` is `folder_name`; two layers of a net that it would name alike are told
apart by `net_folders`. The gallery page builds the same addresses in the browser, in
``page/templates/pictures.js``.

A file's name is a small tuple: ``str(name)`` is how it is written, without its layer, and
``parse`` of its class reads that back. `path_of` and `parse_file` do the same for whole names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.graph import RAW, Graph

OPTIMIZED, TOP_IMAGES, DECONV, WEIGHTS = "regularized_opt", "max_im", "max_deconv", "weights"
BEST_X, BEST_XPM = KINDS = ("best_X", "best_Xpm")  # zero is mid-gray, and with the mean added
MONTAGE = "montage"

_UNIT, _SEED = r"(\d{4,9})", r"(\d{1,10})"


def mode_tree(mode: str) -> str:
    """The folder of crops by a backward mode: ``max_deconv``."""
    return f"max_{mode}"


TREES = (OPTIMIZED, TOP_IMAGES, DECONV, mode_tree("gradient"), mode_tree("guided"), WEIGHTS)


# Characters of a layer's folder. A file's name is at most 255 bytes long, and has the folder's name
# in it, a unit's, which has 100 characters at most, and what tells a partial file from a whole one.
LONGEST_NAME = 100

Folders = Mapping[str, str]  # by layer, those that are not named by `plain_name`
NO_FOLDERS: Folders = MappingProxyType({})


def folder_name(layer: str, folders: Folders = NO_FOLDERS) -> str:
    """A layer's name as one folder: ``fire5/concat`` is ``fire5_concat``; records keep the name.

    Parameters
    ----------
    folders
        Those of the layer's net that are named otherwise, from `net_folders`.
    """
    return folders.get(layer) or plain_name(layer)


def plain_name(layer: str) -> str:
    """A layer's name with ``_`` for all but ASCII letters, digits and ``_.-``, as one folder."""
    name = re.sub(r"^\.+|[^\w.-]", "_", layer, flags=re.ASCII) or "_"  # a folder has a name
    return name if len(name) <= LONGEST_NAME else _with_digest(name, layer)


def name_apart(layer: str) -> str:
    """The folder of a layer whose `plain_name` is another layer's, too: ``conv_1-5c1c5f0e``."""
    return _with_digest(plain_name(layer), layer)


def _with_digest(name: str, layer: str) -> str:
    digest = hashlib.blake2b(layer.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{name[: LONGEST_NAME - 1 - len(digest)]}-{digest}"


def net_folders(graph: Graph) -> Folders:
    """The folders of those layers of a net that `plain_name` alone does not tell apart.

    Where several share a plain name, only a layer that is really called that keeps it. Names of one
    and the same value share a folder: a layer called ``"a/b"``, and its blob ``"a_b"``.
    """
    return folders_apart(dict(_meanings(graph)))


def folders_apart(names: Mapping[str, Hashable]) -> Folders:
    """The folders of those names that `plain_name` alone does not tell apart.

    Parameters
    ----------
    names
        Names of layers, each with what it means. Names of one meaning need not be told apart.
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(plain_name(name), []).append(name)
    return {
        name: name_apart(name)
        for plain, several in alike.items()
        if len({names[name] for name in several}) > 1
        for name in several
        if name != plain
    }


def _meanings(graph: Graph) -> Iterator[tuple[str, Hashable]]:
    """Every name that results of a net can have, and what it means."""
    for name in (*graph.blobs, *graph.by_name):
        for spelling in (name, f"{name}{RAW}"):
            try:
                yield spelling, (graph.own_output(spelling), spelling.endswith(RAW))
            except ModelError:  # a layer of several tops, which its name does not mean
                continue


def unit_text(unit: int | str) -> str:
    """A unit in a file's name: its number, or the name of a sum of units or of a direction."""
    return f"{unit:04d}" if isinstance(unit, int) else unit


# -- files of a layer, after "<layer>_" ----------------------------------------------------------
# Only units with numbers are read back. Sums and directions are results that only their own
# command looks for.


class RunPicture(NamedTuple):
    """``0130_2_best_X.png``: one of a run's images."""

    unit: int | str
    seed: int
    kind: str
    ending: str = "png"

    def __str__(self) -> str:
        return f"{unit_text(self.unit)}_{self.seed}_{self.kind}.{self.ending}"

    @classmethod
    def parse(cls, text: str) -> RunPicture | None:
        """The name that is written `text`; None where that is another kind of name."""
        found = _RUN_PICTURE.fullmatch(text)
        return cls(int(found[1]), int(found[2]), found[3], found[4]) if found else None

    @property
    def record(self) -> RunRecordFile:
        """The record of the same run."""
        return RunRecordFile(self.unit, self.seed)


class RunRecordFile(NamedTuple):
    """``0130_2.json``: how one run came about."""

    unit: int | str
    seed: int

    def __str__(self) -> str:
        return f"{unit_text(self.unit)}_{self.seed}.json"

    @classmethod
    def parse(cls, text: str) -> RunRecordFile | None:
        """The name that is written `text`; None where that is another kind of name."""
        found = _RUN_RECORD.fullmatch(text)
        return cls(int(found[1]), int(found[2])) if found else None


class Montage(NamedTuple):
    """``0130_montage.jpg``: all seeds of a unit; with the ending ``json`` its record."""

    unit: int | str
    ending: str = "jpg"

    def __str__(self) -> str:
        return f"{unit_text(self.unit)}_{MONTAGE}.{self.ending}"

    @classmethod
    def parse(cls, text: str) -> Montage | None:
        """The name that is written `text`; None where that is another kind of name."""
        found = _MONTAGE.fullmatch(text)
        return cls(int(found[1]), found[2]) if found else None


class TopMontage(NamedTuple):
    """``0130.jpg``: the images that excite a unit most; with the ending ``json`` their record."""

    unit: int
    ending: str = "jpg"

    def __str__(self) -> str:
        return f"{unit_text(self.unit)}.{self.ending}"

    @classmethod
    def parse(cls, text: str) -> TopMontage | None:
        """The name that is written `text`; None where that is another kind of name."""
        found = _TOP_MONTAGE.fullmatch(text)
        return cls(int(found[1]), found[2]) if found else None


class TopCrop(NamedTuple):
    """``0130_0.png``: one of the images that excite a unit most, by rank."""

    unit: int
    rank: int

    def __str__(self) -> str:
        return f"{unit_text(self.unit)}_{self.rank}.png"

    @classmethod
    def parse(cls, text: str) -> TopCrop | None:
        """The name that is written `text`; None where that is another kind of name."""
        found = _TOP_CROP.fullmatch(text)
        return cls(int(found[1]), int(found[2])) if found else None


class WeightPicture(NamedTuple):
    """``0130.png``: a unit's weights; with the ending ``json`` their record."""

    unit: int
    ending: str = "png"

    def __str__(self) -> str:
        return f"{unit_text(self.unit)}.{self.ending}"

    @classmethod
    def parse(cls, text: str) -> WeightPicture | None:
        """The name that is written `text`; None where that is another kind of name."""
        found = _WEIGHT_PICTURE.fullmatch(text)
        return cls(int(found[1]), found[2]) if found else None


class WholeLayer(NamedTuple):
    """``whole_layer.jpg``: all units of a layer; with the ending ``json`` its record."""

    ending: str = "jpg"

    def __str__(self) -> str:
        return f"whole_layer.{self.ending}"

    @classmethod
    def parse(cls, text: str) -> WholeLayer | None:
        """The name that is written `text`; None where that is another kind of name."""
        found = _WHOLE_LAYER.fullmatch(text)
        return cls(found[1]) if found else None


UnitFile = RunPicture | RunRecordFile | Montage | TopMontage | TopCrop | WeightPicture
LayerFile = UnitFile | WholeLayer

_RUN_PICTURE = re.compile(rf"{_UNIT}_{_SEED}_({'|'.join(KINDS)})\.(png|jpg)", re.ASCII)
_RUN_RECORD = re.compile(rf"{_UNIT}_{_SEED}\.json", re.ASCII)
_MONTAGE = re.compile(rf"{_UNIT}_{MONTAGE}\.(jpg|json)", re.ASCII)
_TOP_MONTAGE = re.compile(rf"{_UNIT}\.(jpg|json)", re.ASCII)
_TOP_CROP = re.compile(rf"{_UNIT}_(\d{{1,4}})\.png", re.ASCII)
_WEIGHT_PICTURE = re.compile(rf"{_UNIT}\.(png|json)", re.ASCII)
_WHOLE_LAYER = re.compile(r"whole_layer\.(jpg|json)")


def layer_folder(results: Path, tree: str, layer: str, folders: Folders = NO_FOLDERS) -> Path:
    """Where the files of a layer are, in one of `TREES`."""
    return results / tree / folder_name(layer, folders)


def existing_folders(results: Path, layer: str) -> Folders:
    """The `Folders` of one layer, where its net is not known: by what there is of it."""
    apart = name_apart(layer)
    return {layer: apart} if any((results / tree / apart).is_dir() for tree in TREES) else {}


def path_of(
    results: Path,
    tree: str,
    layer: str,
    name: LayerFile,
    folders: Folders = NO_FOLDERS,
    within: str = "",
) -> Path:
    """Where a file of a layer is, in one of `TREES`; `parse_file` reads it back.

    Parameters
    ----------
    within
        The folder of a recipe in the layer's; empty for the layer's own.
    """
    folder = layer_folder(results, tree, layer, folders)
    file = str(name) if isinstance(name, WholeLayer) else f"{folder.name}_{name}"
    return folder / within / file


def parse_file(tree: str, folder: str, file: str) -> LayerFile | None:
    """What a file's name says.

    Parameters
    ----------
    tree
        One of `TREES`.
    folder
        The name of the layer's folder, which is its `folder_name`.
    file
        The file's own name.

    Returns
    -------
    LayerFile or None
        None where it is no name of ours.
    """
    if tree == OPTIMIZED and (whole := WholeLayer.parse(file)):  # also in a folder named "whole"
        return whole
    text = file.removeprefix(f"{folder}_")
    if text == file:
        return None
    if tree == WEIGHTS:
        return WeightPicture.parse(text)
    if tree != OPTIMIZED:
        return TopMontage.parse(text) or TopCrop.parse(text)
    return RunPicture.parse(text) or RunRecordFile.parse(text) or Montage.parse(text)


def record_of(picture: Path) -> Path:
    """The record beside a picture: the same name, ending in ``.json``."""
    return picture.with_suffix(".json")


def run_record_of(picture: Path) -> Path:
    """The record of the run that one of `KINDS` belongs to."""
    return picture.with_name(f"{picture.name.rpartition('_best_')[0]}.json")


RECIPE = "recipe.json"  # in a folder of optimized images: which recipe they are by


# -- a scan of a dataset -------------------------------------------------------------------------

SCAN, SCAN_RECIPE = "scan.npz", "recipe.json"


def scan_folder(results: Path) -> Path:
    """Where the scan of a dataset is, and the tables that are made of it."""
    return results / "dataset"


def scan_path(results: Path) -> Path:
    """The finished scan."""
    return scan_folder(results) / SCAN


class ShardFile(NamedTuple):
    """``shard_00012.npz``: a part of a scan."""

    number: int

    def __str__(self) -> str:
        return f"shard_{self.number:05d}.npz"

    @classmethod
    def parse(cls, text: str) -> ShardFile | None:
        """The name that is written `text`; None where that is another kind of name."""
        found = _SHARD.fullmatch(text)
        return cls(int(found[1])) if found else None


_SHARD = re.compile(r"shard_(\d{5,})\.npz", re.ASCII)


def statistics_table(folder: Path, layer: str, folders: Folders = NO_FOLDERS) -> Path:
    """The table of a layer's statistics, by default in `scan_folder`."""
    return folder / f"{folder_name(layer, folders)}.csv"


def statistics_plot(folder: Path, layer: str, folders: Folders = NO_FOLDERS) -> Path:
    """The plot of a layer's statistics, by default in `scan_folder`."""
    return folder / f"{folder_name(layer, folders)}.png"


def skipped_table(folder: Path) -> Path:
    """The table of the images that could not be used, by default in `scan_folder`."""
    return folder / "skipped.csv"


# -- experiments and figures ---------------------------------------------------------------------


def run_folder(results: Path, digest: str) -> Path:
    """A results folder within the results, for the runs by one set of parameters."""
    return results / "runs" / digest


def sweep_figure(
    results: Path, layer: str, unit: int, seed: int, folders: Folders = NO_FOLDERS
) -> Path:
    """The figure of `deepvis sweep`."""
    return results / "sweep" / f"{folder_name(layer, folders)}_{unit_text(unit)}_{seed}.png"


def search_sheet(
    results: Path,
    layer: str,
    units: Sequence[int],
    seed: int,
    ending: str,
    folders: Folders = NO_FOLDERS,
) -> Path:
    """A file of `deepvis search`: its record, its page or its picture, by the ending."""
    numbers = "_".join(map(unit_text, units))
    return results / "search" / f"{folder_name(layer, folders)}_{numbers}_{seed}{ending}"


def presets_figure(results: Path, layer: str, unit: int, folders: Folders = NO_FOLDERS) -> Path:
    """The figure of `deepvis presets`."""
    return results / "presets" / f"{folder_name(layer, folders)}_{unit_text(unit)}.png"


def layer_figure(results: Path, layer: str, folders: Folders = NO_FOLDERS) -> Path:
    """The figure of `deepvis layer-figure`."""
    return results / "layers" / f"{folder_name(layer, folders)}.png"


def sensitivity_folder(results: Path) -> Path:
    """The tables and plots of `deepvis sensitivity`."""
    return results / "sensitivity"


def demo_montage(results: Path, layer: str, folders: Folders = NO_FOLDERS) -> Path:
    """One of the pictures that `deepvis demo` names at its end."""
    return results / f"demo_{folder_name(layer, folders)}.png"


def demo_figure(results: Path, layer: str, folders: Folders = NO_FOLDERS) -> Path:
    """One of the pictures that `deepvis demo --real-images` names at its end."""
    return results / f"demo_images_{folder_name(layer, folders)}.png"


def demo_views(results: Path) -> Path:
    """The views that `deepvis demo --real-images` cuts photographs into."""
    return results / "views"


def viewer_folder(results: Path) -> Path:
    """The viewer's screenshots and videos."""
    return results / "viewer"


def gallery_page(results: Path) -> Path:
    """The page of `deepvis gallery`."""
    return results / "index.html"

"""The layout of a results folder: how each file name is formatted and parsed.

The layout is that of the Deep Visualization Toolbox (DVT), with a JSON record beside each picture::

    regularized_opt/<layer>/                       images that maximize a unit
        <layer>_<unit:04d>_<seed>_best_X.png       one run's image, zero is mid-gray
        <layer>_<unit:04d>_<seed>_best_Xpm.png     the same with the mean added
        <layer>_<unit:04d>_<seed>.json             the run's record
        <layer>_<unit:04d>_montage.jpg and .json   all seeds of a unit
        whole_layer.jpg and .json                  all units of the layer
        recipe.json                                the recipe of these images
        <recipe>/                                  the same files for another recipe
    max_im/<layer>/                                crops of each unit's top activating images
        <layer>_<unit:04d>.jpg and .json           their montage, strongest first
        <layer>_<unit:04d>_<rank>.png              each crop, 0 is the strongest; on request
    max_deconv/, max_gradient/, max_guided/        saliency maps of these crops, by backward mode
    weights/<layer>/                               pictures of each unit's weights
        <layer>_<unit:04d>.png and .json           one unit
    dataset/                                       a scan of a dataset
        recipe.json                                everything that determines its numbers
        shard_00012.npz                            a shard of an unfinished scan
        scan.npz                                   the finished scan
    runs/<digest>/regularized_opt/...              runs by one set of parameters, for experiments

DVT writes a run's images as JPEG, has no records, and has none of ``max_gradient``, ``max_guided``
and ``weights``. `deepvis_caffe.results.recipes` says which recipe uses the layer's own folder.
``<layer>`` is `folder_name`; where two layers of a net would share one, `net_folders` gives them
different folders. The gallery page builds the same URLs in the browser, in
``page/templates/pictures.js``.

A file's name is a small tuple: ``str(name)`` formats it without its layer, and ``parse`` of its
class parses it. `path_of` and `parse_file` do the same for whole names.
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
    """The tree of saliency maps by a backward mode: ``max_deconv``."""
    return f"max_{mode}"


TREES = (OPTIMIZED, TOP_IMAGES, DECONV, mode_tree("gradient"), mode_tree("guided"), WEIGHTS)


# Characters of a layer's folder. A file's name has at most 255 bytes, and contains the folder's
# name, the unit's, of at most 100 characters, and the affixes of a temporary file.
LONGEST_NAME = 100

Folders = Mapping[str, str]  # by layer, the folders that are not named by `plain_name`
NO_FOLDERS: Folders = MappingProxyType({})


def folder_name(layer: str, folders: Folders = NO_FOLDERS) -> str:
    """The name of a layer's folder: ``fire5_concat`` for ``fire5/concat``.

    Parameters
    ----------
    folders
        The net's folders that are named differently, from `net_folders`.
    """
    return folders.get(layer) or plain_name(layer)


def plain_name(layer: str) -> str:
    """A layer's name as a folder: ``_`` for all but ASCII letters, digits and ``_.-``."""
    name = re.sub(r"^\.+|[^\w.-]", "_", layer, flags=re.ASCII) or "_"  # never empty
    return name if len(name) <= LONGEST_NAME else _with_digest(name, layer)


def name_apart(layer: str) -> str:
    """The folder of a layer that shares its `plain_name` with another: ``conv_1-5c1c5f0e``."""
    return _with_digest(plain_name(layer), layer)


def _with_digest(name: str, layer: str) -> str:
    digest = hashlib.blake2b(layer.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{name[: LONGEST_NAME - 1 - len(digest)]}-{digest}"


def net_folders(graph: Graph) -> Folders:
    """The folders of a net's layers whose `plain_name` collides with another's.

    If several layers share a plain name, only the one with exactly that name keeps it. Names of the
    same value share a folder: a layer ``"a/b"`` and its blob ``"a_b"``.
    """
    return folders_apart(dict(_meanings(graph)))


def folders_apart(names: Mapping[str, Hashable]) -> Folders:
    """The folders of names whose `plain_name` collides with another's.

    Parameters
    ----------
    names
        Names of layers, each with the value that it stands for. Names of the same value may share a
        folder.
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
    """Every name that results of a net can have, and the value that it stands for."""
    for name in (*graph.blobs, *graph.by_name):
        for spelling in (name, f"{name}{RAW}"):
            try:
                yield spelling, (graph.own_output(spelling), spelling.endswith(RAW))
            except ModelError:  # a layer with several tops: its name stands for none of them
                continue


def unit_text(unit: int | str) -> str:
    """A unit in a file's name: its number, or the name of a sum of units or a direction."""
    return f"{unit:04d}" if isinstance(unit, int) else unit


# -- files of a layer, after "<layer>_" ----------------------------------------------------------
# Only numbered units are parsed. Only the command that made them looks for sums and directions.


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
        """Parse a name; None if it is of another kind."""
        found = _RUN_PICTURE.fullmatch(text)
        return cls(int(found[1]), int(found[2]), found[3], found[4]) if found else None

    @property
    def record(self) -> RunRecordFile:
        """The record of the same run."""
        return RunRecordFile(self.unit, self.seed)


class RunRecordFile(NamedTuple):
    """``0130_2.json``: the record of one run."""

    unit: int | str
    seed: int

    def __str__(self) -> str:
        return f"{unit_text(self.unit)}_{self.seed}.json"

    @classmethod
    def parse(cls, text: str) -> RunRecordFile | None:
        """Parse a name; None if it is of another kind."""
        found = _RUN_RECORD.fullmatch(text)
        return cls(int(found[1]), int(found[2])) if found else None


class Montage(NamedTuple):
    """``0130_montage.jpg``: all seeds of a unit; with the suffix ``json``, its record."""

    unit: int | str
    ending: str = "jpg"

    def __str__(self) -> str:
        return f"{unit_text(self.unit)}_{MONTAGE}.{self.ending}"

    @classmethod
    def parse(cls, text: str) -> Montage | None:
        """Parse a name; None if it is of another kind."""
        found = _MONTAGE.fullmatch(text)
        return cls(int(found[1]), found[2]) if found else None


class TopMontage(NamedTuple):
    """``0130.jpg``: a unit's top images; with the suffix ``json``, their record."""

    unit: int
    ending: str = "jpg"

    def __str__(self) -> str:
        return f"{unit_text(self.unit)}.{self.ending}"

    @classmethod
    def parse(cls, text: str) -> TopMontage | None:
        """Parse a name; None if it is of another kind."""
        found = _TOP_MONTAGE.fullmatch(text)
        return cls(int(found[1]), found[2]) if found else None


class TopCrop(NamedTuple):
    """``0130_0.png``: one of a unit's top images, by rank."""

    unit: int
    rank: int

    def __str__(self) -> str:
        return f"{unit_text(self.unit)}_{self.rank}.png"

    @classmethod
    def parse(cls, text: str) -> TopCrop | None:
        """Parse a name; None if it is of another kind."""
        found = _TOP_CROP.fullmatch(text)
        return cls(int(found[1]), int(found[2])) if found else None


class WeightPicture(NamedTuple):
    """``0130.png``: a unit's weights; with the suffix ``json``, their record."""

    unit: int
    ending: str = "png"

    def __str__(self) -> str:
        return f"{unit_text(self.unit)}.{self.ending}"

    @classmethod
    def parse(cls, text: str) -> WeightPicture | None:
        """Parse a name; None if it is of another kind."""
        found = _WEIGHT_PICTURE.fullmatch(text)
        return cls(int(found[1]), found[2]) if found else None


class WholeLayer(NamedTuple):
    """``whole_layer.jpg``: all units of a layer; with the suffix ``json``, its record."""

    ending: str = "jpg"

    def __str__(self) -> str:
        return f"whole_layer.{self.ending}"

    @classmethod
    def parse(cls, text: str) -> WholeLayer | None:
        """Parse a name; None if it is of another kind."""
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
    """The folder of a layer in one of `TREES`."""
    return results / tree / folder_name(layer, folders)


def existing_folders(results: Path, layer: str) -> Folders:
    """The `Folders` of one layer whose net is not known, by the folders that exist."""
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
    """The path of a layer's file in one of `TREES`; `parse_file` is the inverse.

    Parameters
    ----------
    within
        The recipe's folder within the layer's; empty for the layer's own.
    """
    folder = layer_folder(results, tree, layer, folders)
    file = str(name) if isinstance(name, WholeLayer) else f"{folder.name}_{name}"
    return folder / within / file


def parse_file(tree: str, folder: str, file: str) -> LayerFile | None:
    """Parse a file's name.

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
        None if it is not a name of ours.
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
    """The record beside a picture: the same name with the suffix ``.json``."""
    return picture.with_suffix(".json")


def run_record_of(picture: Path) -> Path:
    """The record of the run that one of `KINDS` belongs to."""
    return picture.with_name(f"{picture.name.rpartition('_best_')[0]}.json")


RECIPE = "recipe.json"  # in a folder of optimized images: their recipe


# -- a scan of a dataset -------------------------------------------------------------------------

SCAN, SCAN_RECIPE = "scan.npz", "recipe.json"


def scan_folder(results: Path) -> Path:
    """The folder of the scan of a dataset, and of the tables made from it."""
    return results / "dataset"


def scan_path(results: Path) -> Path:
    """The finished scan."""
    return scan_folder(results) / SCAN


class ShardFile(NamedTuple):
    """``shard_00012.npz``: a shard of a scan."""

    number: int

    def __str__(self) -> str:
        return f"shard_{self.number:05d}.npz"

    @classmethod
    def parse(cls, text: str) -> ShardFile | None:
        """Parse a name; None if it is of another kind."""
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
    """A results folder within the results folder, for the runs by one set of parameters."""
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
    """A file of `deepvis search`: its record, page or picture, by the suffix."""
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

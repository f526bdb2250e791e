"""What a results folder holds, plain and frozen: ``Results`` of layers of units of runs.

`deepvis_caffe.gallery.index` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deepvis_caffe.dataset.correlation import Correlation
from deepvis_caffe.dataset.statistics import UnitStatistics
from deepvis_caffe.gallery.run_record import RunRecord


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
    statistics: UnitStatistics | None = None  # see `deepvis_caffe.gallery.index_statistics`


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
    correlation: Correlation | None = None  # see `deepvis_caffe.gallery.index_statistics`


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

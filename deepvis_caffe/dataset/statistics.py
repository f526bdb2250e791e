"""Statistics of units over a dataset: ``(scan, layer, unit) -> UnitStatistics``, and CSV tables.

Selectivity is the class selectivity index of Morcos et al. 2018, "On the importance of single
directions for generalization"::

    (most - rest) / (most + rest)

where `most` is the mean activation over the images of the class with the highest mean, and `rest`
the mean of the other classes' means. It is between 0 and 1 for units that are never negative, as
after a ReLU, and undefined for others.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.correlation import Pairs, nearest, related
from deepvis_caffe.dataset.layer_scan import EDGES, NONE, Classes
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.errors import ResultsError
from deepvis_caffe.files import whole_file
from deepvis_caffe.model.labels import Labels, label_of

MOST_ALIKE = 3


@dataclass(frozen=True)
class Bars:
    """A histogram without the empty bins at its ends.

    Attributes
    ----------
    counts
        Images in each bin; empty if there were none.
    edges
        One more than there are bins; the first may be -inf and the last inf, see
        `deepvis_caffe.dataset.layer_scan`.
    """

    counts: tuple[int, ...]
    edges: tuple[float, ...]


@dataclass(frozen=True)
class UnitStatistics:
    """Statistics of one unit over a dataset.

    Attributes
    ----------
    images
        Number of images.
    mean, deviation
        Over every position of every image.
    zeros
        Fraction of those values that are exactly 0.
    active
        Fraction of images in which the unit is above 0 somewhere.
    lowest, highest
        Range of the images' highest activations.
    dead
        Whether the unit is above 0 in no image.
    bars
        Histogram of the images' highest activations.
    together, apart
        The units of the layer that rise with it, and those that fall when it rises, each with
        Pearson's r, the strongest first; empty if the correlation was not kept.
    """

    images: int
    mean: float
    deviation: float
    zeros: float
    active: float
    lowest: float
    highest: float
    dead: bool
    bars: Bars
    together: Pairs = ()
    apart: Pairs = ()

    @property
    def alike(self) -> Pairs:
        """The few units with the strongest correlation, of either sign."""
        closest = sorted((*self.together, *self.apart), key=lambda pair: -abs(pair[1]))
        return tuple(closest[:MOST_ALIKE])  # stable: ties have `together` first


def unit_statistics(scan: Scan, layer: str, unit: int) -> UnitStatistics:
    """The statistics of one unit, from a scan."""
    found = scan.layers[layer]
    together, apart = related(found.moments, unit)
    return UnitStatistics(
        images=scan.images,
        mean=float(found.moments.mean[unit]),
        deviation=float(found.moments.deviation()[unit]),
        zeros=float(found.zeros[unit] / max(found.moments.count, 1)),
        active=float(found.active[unit] / max(scan.images, 1)),
        lowest=float(found.low[unit]),
        highest=float(found.high[unit]),
        dead=bool(found.active[unit] == 0),
        bars=bars_of(found.histogram[unit]),
        together=together,
        apart=apart,
    )


def bars_of(histogram: NDArray[np.int64]) -> Bars:
    """A histogram, (`BINS`,), without the empty bins at its ends."""
    used = np.flatnonzero(histogram)
    if not len(used):
        return Bars((), ())
    first, last = int(used[0]), int(used[-1]) + 1
    return Bars(tuple(histogram[first:last].tolist()), tuple(EDGES[first : last + 1].tolist()))


@dataclass(frozen=True)
class UnitRow:
    """Statistics of one unit over a dataset, as a row of the table.

    Attributes
    ----------
    unit, label
        Its index and its label.
    mean, deviation
        Over every position of every image.
    zeros
        Fraction of those values that are exactly 0.
    active
        Fraction of images in which the unit is above 0 somewhere.
    highest
        The highest activation, in `image`.
    image
        The name of that image; empty if there is none.
    dead
        Whether the unit is above 0 in no image.
    nearest, correlation
        The unit of the layer with the strongest correlation, of either sign, and Pearson's r. None
        if the correlation was not kept or the unit is constant.
    selectivity, best_class
        See the top of this module; None without classes, or if undefined.
    """

    unit: int
    label: str | None
    mean: float
    deviation: float
    zeros: float
    active: float
    highest: float
    image: str
    dead: bool
    nearest: int | None = None
    correlation: float | None = None
    selectivity: float | None = None
    best_class: int | None = None


def unit_rows(scan: Scan, layer: str, labels: Labels = ()) -> list[UnitRow]:
    """Statistics of every unit of a layer."""
    found = scan.layers[layer]
    deviation, zeros = found.moments.deviation(), found.zeros / max(found.moments.count, 1)
    closest, correlation = nearest(found.moments)
    index, best = selectivity(found.classes, found.moments.mean)
    rows = []
    for unit in range(found.units):
        image = int(found.top.image[unit, 0])
        rows.append(
            UnitRow(
                unit=unit,
                label=label_of(labels, unit, found.units),
                mean=float(found.moments.mean[unit]),
                deviation=float(deviation[unit]),
                zeros=float(zeros[unit]),
                active=float(found.active[unit] / max(scan.images, 1)),
                highest=float(found.high[unit]),
                image=scan.names[image] if image != NONE else "",
                dead=bool(found.active[unit] == 0),
                nearest=None if math.isnan(correlation[unit]) else int(closest[unit]),
                correlation=_number(correlation[unit]),
                selectivity=_number(index[unit]),
                best_class=None if best[unit] is None else best[unit],
            )
        )
    return rows


def selectivity(
    classes: Classes, mean: NDArray[np.float64]
) -> tuple[NDArray[np.float64], list[int | None]]:
    """Each unit's class selectivity index, and its class with the highest mean activation.

    Parameters
    ----------
    mean
        (C,), used for its length.

    Returns
    -------
    index
        float64 (C,), NaN where it is undefined.
    best
        The label of that class; None without classes.
    """
    units = len(mean)
    if len(classes.label) < 2:
        return np.full(units, np.nan), [None] * units
    means = classes.total / classes.count[:, None]
    first = means.argmax(axis=0)
    most = means.max(axis=0)
    rest = (means.sum(axis=0) - most) / (len(means) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        index = (most - rest) / (most + rest)
    index[(means < 0).any(axis=0) | ~(most + rest > 0)] = np.nan
    return index, [int(classes.label[which]) for which in first]


def write_table(path: Path, rows: Sequence[UnitRow]) -> Path:
    """Write a CSV file with a row per unit; unknown values are empty.

    Raises
    ------
    ResultsError
        It cannot be written.
    """
    names = list(UnitRow.__dataclass_fields__)
    return write_csv(path, names, ([_cell(getattr(row, name)) for name in names] for row in rows))


def write_skipped(path: Path, scan: Scan) -> Path:
    """Write a CSV file of the images that were skipped, and why."""
    return write_csv(path, ["image", "why"], scan.skipped)


def write_csv(path: Path, head: Sequence[str], rows: object) -> Path:
    """Write a CSV file atomically.

    Parameters
    ----------
    rows
        Any number of rows, each as long as `head`.

    Raises
    ------
    ResultsError
        It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            writer.writerows(rows)  # type: ignore[arg-type]
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}") from error
    return path


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    return f"{value:.6g}" if isinstance(value, float) else value

"""What a dataset says of one unit, ready to be shown: ``(scan, layer, unit) -> UnitStatistics``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.correlation import Pairs, strongest
from deepvis_caffe.dataset.histogram import EDGES
from deepvis_caffe.dataset.moments import ROUNDING, Moments
from deepvis_caffe.dataset.scan import Scan

MOST_ALIKE = 3
MOST_RELATED = 6  # either way


@dataclass(frozen=True)
class Bars:
    """A histogram without the empty bins at its ends.

    Attributes
    ----------
    counts
        Images in each bin; empty where there were none.
    edges
        One more than there are bins; the first may be -inf and the last inf, see
        `deepvis_caffe.dataset.histogram`.
    """

    counts: tuple[int, ...]
    edges: tuple[float, ...]


@dataclass(frozen=True)
class UnitStatistics:
    """One unit over a dataset.

    Attributes
    ----------
    images
        How many there were.
    mean, deviation
        Over every position of every image.
    zeros
        Share of those values that are exactly 0.
    active
        Share of images in which it is above 0 somewhere.
    lowest, highest
        Of the images' strongest activations.
    dead
        Whether it is above 0 in no image.
    bars
        Of the images' strongest activations.
    together, apart
        The units of the layer that rise with it, and those that fall where it rises, and Pearson's
        correlation, the closest first; empty where that was not kept.
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
        """The few that it goes with most, either way."""
        closest = sorted((*self.together, *self.apart), key=lambda pair: -abs(pair[1]))
        return tuple(closest[:MOST_ALIKE])  # a sort that keeps together before apart


def unit_statistics(scan: Scan, layer: str, unit: int) -> UnitStatistics:
    """What a scan says of one unit of one of its layers."""
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
    """The part of a histogram, (`BINS`,), that has anything in it."""
    used = np.flatnonzero(histogram)
    if not len(used):
        return Bars((), ())
    first, last = int(used[0]), int(used[-1]) + 1
    return Bars(tuple(histogram[first:last].tolist()), tuple(EDGES[first : last + 1].tolist()))


def related(moments: Moments, unit: int, count: int = MOST_RELATED) -> tuple[Pairs, Pairs]:
    """The units that rise with one, and that fall where it rises, from one row of the products."""
    if moments.products is None:
        return (), ()
    spread = np.sqrt(np.maximum(np.diag(moments.products), 0))
    spread[moments.deviation() <= ROUNDING * np.abs(moments.mean)] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        row = np.clip(moments.products[unit] / (spread[unit] * spread), -1, 1)
    return strongest(row, unit, count, 1), strongest(row, unit, count, -1)

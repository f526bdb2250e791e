"""Correlation of a layer's units: ``moments -> Pearson's r``, and a unit order that shows clusters.

    r_ij = sum (a_i - mean_i) (a_j - mean_j) / sqrt(sum (a_i - mean_i)^2  sum (a_j - mean_j)^2)

where the sums are over every position of every image. A constant unit has no r.

In the arbitrary order of unit indices the matrix looks like noise. With similar units next to each
other, groups of them show as blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.moments import Moments
from deepvis_caffe.image import Floats

Doubles = NDArray[np.float64]
Pairs = tuple[tuple[int, float], ...]  # units, each with its r

NEGLIGIBLE = 0.005  # an r that rounds to 0.00
MOST_RELATED = 6  # number of units that rise with a unit, and of those that fall
MOST_ORDERED = 4096  # units; clustering these takes a second, and time grows with their square


def pearson(moments: Moments) -> Doubles | None:
    """Pearson's r of every pair of units, (C, C); NaN for a constant unit.

    None if the moments were kept without products.
    """
    if moments.products is None:
        return None
    norm = _norms(moments)
    return np.clip(moments.products / np.outer(norm, norm), -1, 1)


def related(moments: Moments, unit: int, count: int = MOST_RELATED) -> tuple[Pairs, Pairs]:
    """The units that rise with one unit, and those that fall when it rises, strongest r first."""
    if moments.products is None:
        return (), ()
    norm = _norms(moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        row = np.clip(moments.products[unit] / (norm[unit] * norm), -1, 1)
    return strongest(row, unit, count, 1), strongest(row, unit, count, -1)


def nearest(moments: Moments) -> tuple[NDArray[np.int64], Doubles]:
    """For each unit the other one with the largest ``|r|``, (C,), and its r, (C,), or NaN."""
    full, units = pearson(moments), len(moments.mean)
    if full is None or units < 2:
        return np.zeros(units, np.int64), np.full(units, np.nan)
    others = np.where(np.eye(units, dtype=bool), np.nan, full)
    strength = np.where(np.isnan(others), -1, np.abs(others))
    found = strength.argmax(axis=1)
    return found, others[np.arange(units), found]


def strongest(row: NDArray[np.floating], unit: int, count: int, sign: int) -> Pairs:
    """The other units with the highest r (`sign` 1) or lowest r (`sign` -1) in a unit's row.

    Only units whose r has that sign and does not round to 0.00.
    """
    signed = np.where(np.isnan(row), -np.inf, sign * row.astype(np.float64))
    signed[unit] = -np.inf
    order = np.argsort(-signed, kind="stable")[:count]
    return tuple((int(one), float(row[one])) for one in order if signed[one] > NEGLIGIBLE)


def _norms(moments: Moments) -> Doubles:
    """The root of each unit's sum of squares, (C,); NaN for a constant unit."""
    assert moments.products is not None
    norm = np.sqrt(np.maximum(np.diag(moments.products), 0))
    norm[moments.constant()] = np.nan
    return norm


@dataclass(frozen=True, eq=False)
class Correlation:
    """The correlation between the C units of a layer.

    Attributes
    ----------
    values
        (C, C), -1 to 1; NaN for a constant unit.
    order
        All units, similar ones next to each other; see `likeness_order`.
    images
        Number of images it was computed over.
    """

    values: Floats
    order: tuple[int, ...]
    images: int = 0

    @cached_property
    def still(self) -> NDArray[np.bool_]:
        """(C,) bool, the constant units."""
        return np.isnan(np.diag(self.values))

    def together(self, unit: int, count: int) -> Pairs:
        """Up to `count` units that rise most with a unit, with their r, highest first."""
        return strongest(self.values[unit], unit, count, 1)

    def apart(self, unit: int, count: int) -> Pairs:
        """Up to `count` units that fall most when it rises, with their r, lowest first."""
        return strongest(self.values[unit], unit, count, -1)


def correlation_of(moments: Moments, images: int = 0) -> Correlation | None:
    """A layer's correlation from its moments; None if they were kept without products."""
    full = pearson(moments)
    if full is None:
        return None
    values = full.astype(np.float32)
    values.flags.writeable = False
    return Correlation(values, likeness_order(values), images)


def likeness_order(values: NDArray[np.floating]) -> tuple[int, ...]:
    """Order units such that similar ones are neighbors, by hierarchical clustering.

    Average linkage with distance 1 - r. When two clusters are joined, each is oriented so that the
    most similar ends meet, as in Gruvaeus and Wainer 1972, "Two additions to hierarchical cluster
    analysis". (Optimal leaf ordering takes seconds for a thousand units, and looks the same.)

    Parameters
    ----------
    values
        (C, C).

    Returns
    -------
    tuple of int
        All units; constant ones come last, by index. A layer with more than `MOST_ORDERED` units is
        ordered by index.
    """
    units = len(values)
    if units > MOST_ORDERED:
        return tuple(range(units))
    moving = np.flatnonzero(~np.isnan(np.diag(values)))
    still = [unit for unit in range(units) if np.isnan(values[unit, unit])]
    if len(moving) < 3:
        return (*moving.tolist(), *still)
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    own = values[np.ix_(moving, moving)].astype(np.float64)
    tree = linkage(squareform(1 - own, checks=False), "average")
    clusters: dict[int, list[int]] = {leaf: [leaf] for leaf in range(len(moving))}
    for number, (one, other) in enumerate(tree[:, :2].astype(int).tolist(), len(moving)):
        clusters[number] = _joined(own, clusters.pop(one), clusters.pop(other))
    (order,) = clusters.values()
    return (*moving[order].tolist(), *still)


def _joined(values: NDArray[np.float64], one: list[int], other: list[int]) -> list[int]:
    ways = [(left, right) for left in (-1, 0) for right in (0, -1)]  # the ends that may meet
    left, right = max(ways, key=lambda way: float(values[one[way[0]], other[way[1]]]))
    return (one if left == -1 else one[::-1]) + (other if right == 0 else other[::-1])

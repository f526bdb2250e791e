"""How the units of a layer go together: ``scan, layer -> Correlation``, and an order that shows it.

Pearson's r over every position of every image, as `deepvis_caffe.dataset.moments` has it. A matrix
in the order of the units' numbers is noise to the eye, for numbers mean nothing; with units that
answer alike beside each other, groups of them are blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.moments import Moments
from deepvis_caffe.image import Floats

Pairs = tuple[tuple[int, float], ...]

NOTHING = 0.005
MOST_ORDERED = 4096  # units; clustering takes a second there, and the square of their number


@dataclass(frozen=True, eq=False)
class Correlation:
    """Of one layer of C units.

    Attributes
    ----------
    values
        (C, C), -1 to 1; NaN with a unit that never changes.
    order
        Units by likeness, see `likeness_order`.
    images
        How many images it was taken over.
    """

    values: Floats
    order: tuple[int, ...]
    images: int = 0

    @cached_property
    def still(self) -> NDArray[np.bool_]:
        """(C,), the units that never change."""
        return np.isnan(np.diag(self.values))

    def together(self, unit: int, count: int) -> Pairs:
        """The units that rise with one most, at most `count`, and r, the highest first."""
        return strongest(self.values[unit], unit, count, 1)

    def apart(self, unit: int, count: int) -> Pairs:
        """The units that fall where it rises, likewise, the lowest r first."""
        return strongest(self.values[unit], unit, count, -1)


def correlation_of(moments: Moments, images: int = 0) -> Correlation | None:
    """A layer's correlation from its moments; None where they were kept without products."""
    full = moments.correlation()
    if full is None:
        return None
    values = full.astype(np.float32)
    values.flags.writeable = False
    return Correlation(values, likeness_order(values), images)


def strongest(row: NDArray[np.floating], unit: int, count: int, sign: int) -> Pairs:
    """Of a unit's row the others of largest r, or (`sign` -1) of lowest, and of that sign only.

    Those whose r is 0.00 in two digits are left out.
    """
    signed = np.where(np.isnan(row), -np.inf, sign * row.astype(np.float64))
    signed[unit] = -np.inf
    order = np.argsort(-signed, kind="stable")[:count]
    return tuple((int(one), float(row[one])) for one in order if signed[one] > NOTHING)


def likeness_order(values: NDArray[np.floating]) -> tuple[int, ...]:
    """Units in an order in which those that go together are neighbours.

    Average linkage over the distance 1 - r, its tree laid out as Gruvaeus and Wainer 1972, "Two
    additions to hierarchical cluster analysis", do: where two clusters join, each is turned such
    that the ends which meet are those most alike. (The best of all layouts takes seconds for a
    thousand units, and looks no different.)

    Parameters
    ----------
    values
        (C, C).

    Returns
    -------
    tuple of int
        Every unit; those that never change come last, by number. By number are all of a layer of
        more than `MOST_ORDERED`.
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

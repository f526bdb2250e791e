"""Mergeable moments: ``(count, mean, sums of squared differences)`` of parts -> of the whole.

Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance". Differences are always
taken from a nearby mean, so there is no cancellation, however far from 0 the values are. The same
holds for the sums of products of pairs of units, which `deepvis_caffe.dataset.correlation` needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

ROUNDING = 2e-7  # the relative error of a mean taken in float32


@dataclass(frozen=True, eq=False)
class Moments:
    """The moments of C units, over `count` values of each.

    Attributes
    ----------
    count
        Values per unit.
    mean
        (C,).
    squares
        (C,), the sum of squared differences from the mean.
    products
        (C, C), the sums of products of two units' differences from their means; None if not kept.
    """

    count: int
    mean: Doubles
    squares: Doubles
    products: Doubles | None = None

    @classmethod
    def empty(cls, units: int, products: bool = False) -> Moments:
        """Moments of no values."""
        zeros = np.zeros(units)
        return cls(0, zeros, zeros, np.zeros((units, units)) if products else None)

    @classmethod
    def of_images(
        cls,
        count: int,
        means: NDArray[np.float32],
        squares: NDArray[np.float32],
        products: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ) -> Moments:
        """Moments of N images, from those of each image.

        Parameters
        ----------
        count
            Values per unit and image.
        means, squares
            (N, C), each image's mean, and its sum of squared differences from that.
        products
            Over all N images: sums of products of two units' differences from an origin, (C, C),
            and that origin, (C,), which is near the mean.
        """
        each, total = means.astype(np.float64), count * len(means)
        mean = each.mean(axis=0)
        between = count * ((each - mean) ** 2).sum(axis=0)
        cross = None
        if products is not None:
            about, origin = products
            off = mean - origin.astype(np.float64)
            cross = about.astype(np.float64) - total * np.outer(off, off)
        return cls(total, mean, squares.astype(np.float64).sum(axis=0) + between, cross)

    def merged(self, other: Moments) -> Moments:
        """The moments over the values of both."""
        count = self.count + other.count
        if not count:
            return self
        step = other.mean - self.mean
        weight = self.count * (other.count / count)
        products = None
        if self.products is not None and other.products is not None:
            products = self.products + other.products + weight * np.outer(step, step)
        return Moments(
            count,
            self.mean + step * (other.count / count),
            self.squares + other.squares + weight * step**2,
            products,
        )

    def deviation(self) -> Doubles:
        """The standard deviation of each unit, (C,), normalized by N."""
        return np.sqrt(self.squares / max(self.count, 1))

    def constant(self) -> NDArray[np.bool_]:
        """The constant units, (C,) bool, up to float32 rounding."""
        return np.asarray(self.deviation() <= ROUNDING * np.abs(self.mean))

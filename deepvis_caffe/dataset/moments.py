"""Mean and spread that merge: ``(count, mean, sum of squared differences)``, float64.

Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance": differences are always
taken from a mean that is near, so nothing cancels, however far from 0 the values lie. The same
holds for pairs of units, whose sums of products give their correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

ROUNDING = 2e-7  # of a mean that was taken in float32


@dataclass(frozen=True, eq=False)
class Moments:
    """Of C units, over `count` values of each.

    Attributes
    ----------
    count
        Values a unit.
    mean
        (C,).
    squares
        (C,), the sum over values of the squared difference from the mean.
    products
        (C, C), the sum of products of two units' differences; None where it is not kept.
    """

    count: int
    mean: Doubles
    squares: Doubles
    products: Doubles | None = None

    @classmethod
    def empty(cls, units: int, products: bool = False) -> Moments:
        """Of no values."""
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
        """From each image's own.

        Parameters
        ----------
        count
            Values that an image has for a unit.
        means, squares
            (N, C), each image's mean, and its sum of squared differences from that.
        products
            Over all N images: sums of products of two units' differences from the origin, (C, C),
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
        """Over the values of both."""
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
        """Standard deviation of each unit, over all values as they are (no N - 1)."""
        return np.sqrt(self.squares / max(self.count, 1))

    def correlation(self) -> Doubles | None:
        """Pearson's, (C, C); NaN with a unit that never changes, to the rounding of float32."""
        if self.products is None:
            return None
        spread = np.sqrt(np.maximum(np.diag(self.products), 0))
        spread[self.deviation() <= ROUNDING * np.abs(self.mean)] = np.nan
        return np.clip(self.products / np.outer(spread, spread), -1, 1)

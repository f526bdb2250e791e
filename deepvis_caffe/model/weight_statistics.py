"""What weights are like as a whole: ``array -> WeightStatistics``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepvis_caffe.image import Floats

BINS = 20


@dataclass(frozen=True)
class WeightStatistics:
    """Statistics of an array of weights.

    Attributes
    ----------
    shape
        Of the array.
    mean, std
        Mean and standard deviation (of the population).
    low, high
        The smallest and the largest weight.
    zeros
        How many are exactly 0.
    counts
        How many weights lie in each of `BINS` equal parts of the way from `low` to `high`.
    """

    shape: tuple[int, ...]
    mean: float
    std: float
    low: float
    high: float
    zeros: int
    counts: tuple[int, ...]

    @property
    def edges(self) -> tuple[float, ...]:
        """The ends of the parts that `counts` is of, one more than there are parts."""
        return tuple(np.linspace(self.low, self.high, len(self.counts) + 1).tolist())


def weight_statistics(weights: Floats) -> WeightStatistics:
    """The statistics of weights, at least one."""
    low, high = float(weights.min()), float(weights.max())
    counts, _ = np.histogram(weights, BINS, (low, high) if low < high else (low - 0.5, high + 0.5))
    return WeightStatistics(
        shape=weights.shape,
        mean=float(weights.mean(dtype=np.float64)),
        std=float(weights.std(dtype=np.float64)),
        low=low,
        high=high,
        zeros=int(weights.size - np.count_nonzero(weights)),
        counts=tuple(counts.tolist()),
    )

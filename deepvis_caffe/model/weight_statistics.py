"""Statistics of weights: ``array -> WeightStatistics``."""

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
        Shape of the array.
    mean, std
        Mean and (population) standard deviation.
    low, high
        The smallest and the largest weight.
    zeros
        Number of weights that are exactly 0.
    counts
        Histogram of the weights in `BINS` equal bins from `low` to `high`.
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
        """The edges of the bins of `counts`, one more than bins."""
        return tuple(np.linspace(self.low, self.high, len(self.counts) + 1).tolist())


def weight_statistics(weights: Floats) -> WeightStatistics:
    """The statistics of an array with at least one weight."""
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

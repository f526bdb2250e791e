"""How often a unit answers how strongly: counts in bins that are the same for all nets and layers.

Fixed bins need no pass to find a range, and histograms of parts add up. Each bin of either sign is
a factor of sqrt(2) wide, from 2^-12 to 2^20; 0 has a bin of its own, and the outermost take the
rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HALF_OCTAVES = np.arange(-24, 41)
POSITIVE = 2.0 ** (HALF_OCTAVES / 2)
# Bin k of the histogram holds EDGES[k] <= value < EDGES[k + 1]; the middle one is exactly 0.
EDGES = np.concatenate(
    [[-np.inf], -POSITIVE[:0:-1], [0.0], [np.nextafter(0, 1)], POSITIVE[1:], [np.inf]]
)
BINS = len(EDGES) - 1


def count_values(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """The histogram of each column of (N, C): int64 (C, `BINS`)."""
    bins = np.searchsorted(EDGES, values.astype(np.float64), side="right") - 1
    units = values.shape[1]
    places = np.clip(bins, 0, BINS - 1) + BINS * np.arange(units)
    return np.bincount(places.ravel(), minlength=units * BINS).reshape(units, BINS)

"""The colors of correlations, in the viewer and on the page: ``Pearson's r -> level -> RGB``.

A level is r in hundredths and fits into a byte, so r is stored to two decimals. The colors diverge
from black, and change fastest near 0, because most pairs of units in a layer have r within 0.2 of
0.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]

NONE, ZERO, STEPS = 0, 101, 100  # levels of unknown r and of r = 0; levels from 0 to 1, or to -1
COUNT = ZERO + STEPS + 1

STILL = (62, 66, 74)  # the color of unknown r: a constant unit has none
# (|r|, color); the colors in between are interpolated.
Stops = tuple[tuple[float, tuple[int, int, int]], ...]
RISING: Stops = (
    (0.0, (10, 11, 13)),
    (0.15, (94, 38, 18)),
    (0.45, (238, 104, 44)),
    (1.0, (255, 236, 184)),
)
FALLING: Stops = (
    (0.0, (10, 11, 13)),
    (0.15, (18, 50, 96)),
    (0.45, (56, 140, 240)),
    (1.0, (206, 236, 255)),
)


def levels_of(values: NDArray[np.floating]) -> Levels:
    """Levels of correlations of any shape: 1 for -1, `ZERO` for 0, 201 for 1, `NONE` for NaN."""
    lost = np.isnan(values)
    levels = np.rint(np.where(lost, 0, values) * STEPS) + ZERO
    return np.where(lost, NONE, np.clip(levels, ZERO - STEPS, ZERO + STEPS)).astype(np.uint8)


@cache
def colors() -> Levels:
    """The color of each level, (`COUNT`, 3) RGB."""
    share = np.arange(STEPS + 1) / STEPS
    table = np.empty((COUNT, 3), np.uint8)
    table[NONE] = STILL
    for stops, sign in ((FALLING, -1), (RISING, 1)):
        at = [where for where, _ in stops]
        for channel in range(3):
            column = np.interp(share, at, [color[channel] for _, color in stops])
            table[ZERO + sign * np.arange(STEPS + 1), channel] = np.rint(column)
    table.flags.writeable = False
    return table

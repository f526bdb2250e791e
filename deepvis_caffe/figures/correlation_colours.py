"""Pearson's r as levels and colours, the same in the viewer and on the page: ``r -> level -> RGB``.

A level is a hundredth, in one byte: what is said of a pair is r to two digits, exactly. Colours
diverge from black, and faster near 0, for most pairs of units of a layer lie within 0.2 of it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]

NONE, ZERO, STEPS = 0, 101, 100  # no number; r = 0; levels from there to r = 1, and to r = -1
COUNT = ZERO + STEPS + 1

STILL = (62, 66, 74)  # with a unit that never changes there is no r
# (|r|, colour) between which the others lie.
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
    """Correlations, of any shape, as levels: 1 is -1, `ZERO` is 0, 201 is 1, and NaN `NONE`."""
    lost = np.isnan(values)
    levels = np.rint(np.where(lost, 0, values) * STEPS) + ZERO
    return np.where(lost, NONE, np.clip(levels, ZERO - STEPS, ZERO + STEPS)).astype(np.uint8)


@cache
def colours() -> Levels:
    """The colour of each level, (`COUNT`, 3) RGB."""
    share = np.arange(STEPS + 1) / STEPS
    table = np.empty((COUNT, 3), np.uint8)
    table[NONE] = STILL
    for stops, sign in ((FALLING, -1), (RISING, 1)):
        at = [where for where, _ in stops]
        for channel in range(3):
            column = np.interp(share, at, [colour[channel] for _, colour in stops])
            table[ZERO + sign * np.arange(STEPS + 1), channel] = np.rint(column)
    table.flags.writeable = False
    return table

"""One sweep over a layer for all of its statistics, compiled by Numba where that is installed.

NumPy needs a sweep for each statistic, and takes Python's lock for each. One compiled loop takes a
third of the time, and leaves the lock to the other lanes of a scan.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

# Sums are accumulated in float32 over this many positions, and in float64 from there on.
PART = 128

# The signature of `sweep`.
Sweep = Callable[
    [
        NDArray[np.float32],
        NDArray[np.float32],
        NDArray[np.int64],
        NDArray[np.float64],
        NDArray[np.int64],
    ],
    None,
]


@functools.cache
def compiled_sweep() -> Sweep | None:
    """`sweep` in machine code, or None where Numba is missing or does not work.

    Loading it takes 0.3 s. The first call on a machine compiles it, which takes another second;
    Numba keeps the result on disk if it finds a folder that it can write to.
    """
    if not importlib.util.find_spec("numba"):
        return None
    try:
        compiled = _compiled()
    except Exception as error:  # anything: Numba may not fit this NumPy, or be incomplete
        log.warning("layers are read by NumPy, because Numba does not work: %s", error)
        return None
    return None if compiled is sweep else compiled  # NUMBA_DISABLE_JIT compiles nothing


def _compiled() -> Sweep:
    import numba

    pixels = numba.types.Array(numba.float32, 3, "C", readonly=True)
    high, sums, counts = numba.float32[:, ::1], numba.float64[:, :, :], numba.int64[:, ::1]
    parameters = numba.void(pixels, high, counts, sums, counts)
    # "contract" allows fused multiply-adds. Nothing is reordered, and NaNs stay NaNs.
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    compiled: Sweep
    try:
        compiled = numba.njit(parameters, cache=True, **options)(sweep)
    except Exception:  # anything: no writable folder, a damaged file in it, a full disk
        compiled = numba.njit(parameters, **options)(sweep)
    return compiled


def sweep(
    pixels: NDArray[np.float32],
    high: NDArray[np.float32],
    position: NDArray[np.int64],
    sums: NDArray[np.float64],
    nonzeros: NDArray[np.int64],
) -> None:
    """Compute the statistics of `pixels` (N, P, C) for each image and unit.

    Parameters
    ----------
    high, position, nonzeros
        (N, C), written: the maximum, its first position, and the number of values that are not 0.
        NaNs are no maximum; of a map without a maximum, the position means nothing.
    sums
        (2, N, C), written: the sums of the values and of their squares.
    """
    images, positions, units = pixels.shape
    total, power = np.empty((2, units), np.float32)
    count, near = np.empty((2, units), np.int32)
    one, none = np.int32(1), np.int32(0)
    for image in range(images):
        highest = high[image]
        highest[:] = -np.inf
        near[:] = 0
        sums[0, image, :] = 0
        sums[1, image, :] = 0
        nonzeros[image, :] = 0
        for start in range(0, positions, PART):
            stop = min(start + PART, positions)
            total[:] = 0
            power[:] = 0
            count[:] = 0
            # Four pixels at a time, so that the accumulators are read and written less often.
            whole = start + (stop - start) // 4 * 4
            for place in range(start, whole, 4):
                a, b = pixels[image, place], pixels[image, place + 1]
                c, d = pixels[image, place + 2], pixels[image, place + 3]
                for unit in range(units):
                    p, q, r, s = a[unit], b[unit], c[unit], d[unit]
                    best = q if q > p else p
                    other = s if s > r else r
                    best = other if other > best else best
                    if best > highest[unit]:
                        highest[unit] = best
                        near[unit] = place
                    total[unit] += (p + q) + (r + s)
                    power[unit] += (p * p + q * q) + (r * r + s * s)
                    count[unit] += (
                        (one if p != 0 else none)
                        + (one if q != 0 else none)
                        + (one if r != 0 else none)
                        + (one if s != 0 else none)
                    )
            for place in range(whole, stop):
                row = pixels[image, place]
                for unit in range(units):
                    p = row[unit]
                    if p > highest[unit]:
                        highest[unit] = p
                        near[unit] = place
                    total[unit] += p
                    power[unit] += p * p
                    count[unit] += one if p != 0 else none
            for unit in range(units):
                sums[0, image, unit] += total[unit]
                sums[1, image, unit] += power[unit]
                nonzeros[image, unit] += count[unit]
        # `near` is the position of the maximum, or the first of the four among which it is.
        for unit in range(units):
            place = near[unit]
            while pixels[image, place, unit] != highest[unit] and place < positions - 1:
                place += 1
            position[image, unit] = place

"""Reductions on the host: ``(maps or pixels of a batch) -> Found``.

A layer is read in its memory layout. Pixels, that is, all channels of a position together, take one
compiled sweep where there is one. Otherwise NumPy reads block by block, one statistic at a time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import Executor
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.compiled_sweep import Sweep
from deepvis_caffe.engines.arrays import ArrayOps

# Number of values reduced at a time on the host, so that they stay in a core's caches from one
# statistic to the next. A whole batch of a first layer is ten times too large.
BLOCK = 2**19
ROW = 1024  # values
# The variance is computed as mean(x^2) - mean(x)^2, which saves a pass over the data, unless
# mean(x)^2 exceeds this many times the variance: then cancellation would lose too much.
FAR = 32.0
WIDE = 16  # units from which the compiled sweep, whose inner loop goes over them, is faster
MOST_COUNTED = 255  # rows at a time, so that a byte holds their number of nonzeros

Result = TypeVar("Result")
# Maximum, mean, sum of squares, number of nonzeros and position, each (N, C).
Found = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.int64], NDArray[np.int64]]


def reduce_on_host(
    ops: ArrayOps,
    flat: Any,
    threshold: NDArray[np.float32] | None = None,
    helpers: Executor | None = None,
    sweep: Sweep | None = None,
) -> Found:
    """Reduce the engine's own (N, C, P) on the host; see `reduce_value` for the parameters."""
    pixels = ops.numbers(flat).transpose(0, 2, 1)
    with _quiet():
        if pixels.flags.c_contiguous:
            return _reduce_pixels(pixels, threshold, helpers, sweep)
        return _reduce_maps(ops, flat, threshold, helpers)


def _reduce_maps(
    ops: ArrayOps, flat: Any, threshold: NDArray[np.float32] | None, helpers: Executor | None
) -> Found:
    """Reduce the engine's own (N, C, P), on the host and in any memory format."""

    def read(block: Any) -> tuple[NDArray[Any], ...]:
        high = ops.numpy(ops.xp.amax(block, 2))
        total = ops.numpy(block.sum(axis=2)).astype(np.float64)
        work = block * block
        power = ops.numpy(work.sum(axis=2)).astype(np.float64)
        # As floats: counting booleans goes through 64-bit integers and is four times slower.
        nonzeros = ops.numpy(ops.xp.not_equal(block, 0, out=work).sum(axis=2))
        mean, squares, far = _about_the_mean(total, power, block.shape[2])
        if far.any():
            rows = _rows(ops, block, far)
            apart = rows - rows.mean(axis=1)[:, None]
            squares[far] = ops.numpy((apart * apart).sum(axis=1))
        wanted = _wanted(high, threshold)
        position = np.zeros(high.shape, np.int64)
        if wanted.all():
            position[...] = ops.numpy(block.argmax(axis=2))
        elif wanted.any():
            position[wanted] = ops.numpy(_rows(ops, block, wanted).argmax(axis=1))
        return high, mean, squares, nonzeros.astype(np.int64), position

    size = BLOCK // prod(flat.shape[1:])
    blocks = _each_block(lambda block: read(flat[block]), len(flat), size, helpers)
    high, mean, squares, nonzeros, position = map(np.concatenate, zip(*blocks, strict=True))
    return high, mean, squares, nonzeros, position


def _each_block(
    work: Callable[[slice], Result], images: int, size: int, helpers: Executor | None
) -> list[Result]:
    """Call `work` on blocks of `size` images, at least 1, and return its results."""

    def quietly(block: slice) -> Result:
        with _quiet():  # of this thread
            return work(block)

    size = max(1, size)
    blocks = [slice(first, first + size) for first in range(0, images, size)]
    return list(helpers.map(quietly, blocks) if helpers and len(blocks) > 1 else map(work, blocks))


def _quiet() -> np.errstate:
    """Suppress overflow warnings: values that are not finite are reported later."""
    return np.errstate(over="ignore", invalid="ignore")


def _rows(ops: ArrayOps, flat: Any, wanted: NDArray[np.bool_]) -> Any:
    """The maps of (N, C, P) that are `wanted` (N, C), as (M, P)."""
    image, unit = (ops.asarray(index, np.int64) for index in np.nonzero(wanted))
    return flat[image, unit]


def _reduce_pixels(
    pixels: NDArray[np.float32],
    threshold: NDArray[np.float32] | None,
    helpers: Executor | None,
    sweep: Sweep | None,
) -> Found:
    """Reduce (N, P, C)."""
    if sweep and pixels.shape[2] >= WIDE:
        swept = _swept(pixels, sweep, helpers)
    else:
        swept = _swept_in_turn(pixels, threshold, helpers)
    high, position, (total, power), nonzeros = swept
    mean, squares, far = _about_the_mean(total, power, pixels.shape[1])
    if far.any():
        image, unit = np.nonzero(far)
        maps = pixels[image, :, unit]
        apart = maps - maps.mean(axis=1)[:, None]
        squares[far] = (apart * apart).sum(axis=1)
    return high, mean, squares, nonzeros, position


# Maximum, position, sums of values and of their squares (2, N, C), number of nonzeros.
_Swept = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


def _swept(pixels: NDArray[np.float32], sweep: Sweep, helpers: Executor | None) -> _Swept:
    """All statistics of (N, P, C) in one compiled sweep."""
    images, positions, units = pixels.shape
    high = np.empty((images, units), np.float32)
    position, nonzeros = np.empty((2, images, units), np.int64)
    sums = np.empty((2, images, units))

    def work(block: slice) -> None:
        sweep(pixels[block], high[block], position[block], sums[:, block], nonzeros[block])

    _each_block(work, images, BLOCK // (positions * units) if helpers else images, helpers)
    return high, position, sums, nonzeros


def _swept_in_turn(
    pixels: NDArray[np.float32], threshold: NDArray[np.float32] | None, helpers: Executor | None
) -> _Swept:
    """The statistics of (N, P, C), one after the other.

    Each takes one sweep over rows of several pixels, accumulated into a single row. The row stays
    in the cache, and is long enough to outweigh the call overhead. In the end its pixels are added
    up.
    """
    images, positions, units = pixels.shape
    width = _row_of_pixels(positions, units, ROW)
    rows = pixels.reshape(images, positions // width, width * units)
    step = max(1, min(MOST_COUNTED, BLOCK // rows.shape[2]))
    parts = [slice(first, first + step) for first in range(0, rows.shape[1], step)]
    highest = np.empty((images, len(parts), width * units), np.float32)
    sums, counts = np.empty((2, *highest.shape), np.float32), np.empty(highest.shape, np.uint8)

    def work(block: slice) -> None:
        for number, part in enumerate(parts):
            some, into = rows[block, part], (block, number)
            np.maximum.reduce(some, axis=1, out=highest[into])
            np.add.reduce(some, axis=1, out=sums[0][into])
            np.einsum("nrk,nrk->nk", some, some, out=sums[1][into])
            nonzero = np.not_equal(some, 0).view(np.uint8)
            np.add.reduce(nonzero, axis=1, dtype=np.uint8, out=counts[into])

    _each_block(work, images, BLOCK // (positions * units), helpers)
    nonzeros = np.add.reduce(counts.reshape(images, -1, units), axis=1, dtype=np.int64)
    sums = np.add.reduce(sums.reshape(2, images, -1, units), axis=2)
    columns = np.maximum.reduce(highest, axis=1).reshape(images, width, units)
    high = np.maximum.reduce(columns, axis=1)
    position = np.zeros(high.shape, np.int64)
    # All values of a silent unit are the maximum, so its first position needs no search.
    elsewhere = _wanted(high, threshold) & (pixels[:, 0] != high)
    if elsewhere.any():
        position[elsewhere] = _first_of(pixels, columns, high, elsewhere)
    return high, position, sums.astype(np.float64), nonzeros


def _first_of(
    pixels: NDArray[np.float32],
    columns: NDArray[np.float32],
    high: NDArray[np.float32],
    wanted: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """The first position of the highest value of each `wanted` map.

    Only columns of a map that contain this value are searched: `columns` (N, W, C) holds their
    maxima.
    """
    images, positions, units = pixels.shape
    width = columns.shape[1]
    image, unit = np.nonzero(wanted)
    value = high[image, unit]
    which, column = np.nonzero(columns[image, :, unit] == value[:, None])
    rows = pixels.reshape(images, positions // width, width, units)
    found = rows[image[which], :, column, unit[which]] == value[which, None]
    first = np.full(len(image), positions)
    np.minimum.at(first, which, found.argmax(axis=1) * width + column)
    return np.where(first < positions, first, 0)  # a map with NaNs has no maximum


@functools.cache
def _row_of_pixels(positions: int, units: int, values: int) -> int:
    """The number of pixels in a row of about `values` values; it divides the map's positions."""
    widths = (width for width in range(1, positions + 1) if positions % width == 0)
    return min(widths, key=lambda width: abs(math.log(width * units / values)))


def _wanted(high: NDArray[np.float32], threshold: NDArray[np.float32] | None) -> NDArray[np.bool_]:
    """The maps whose maximum gets a position."""
    return np.ones_like(high, bool) if threshold is None else high > threshold


def _about_the_mean(
    total: NDArray[np.float64], power: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Mean and sum of squared differences from it, from sums of values and of their squares.

    The third array tells where the sum of squared differences must be computed differently.
    """
    mean = total / count
    about_zero = total * mean
    squares = power - about_zero
    far = ~(np.isfinite(power) & (squares * FAR >= about_zero))
    return mean.astype(np.float32), squares.astype(np.float32), far

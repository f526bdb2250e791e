"""Reductions: ``(ops, a layer's value for a batch) -> Reduction``, on the engine's device.

A layer's value is large, but its reduction is small; only that is copied to the host. On a GPU the
reductions of a whole pass are copied together, because the host waits for each copy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import ModelError

# Number of values reduced at a time on the host, so that they stay in a core's caches from one
# statistic to the next. A whole batch of a first layer is ten times too large.
BLOCK = 2**19
ROW = 1024  # values
# The variance is computed as mean(x^2) - mean(x)^2, which saves a pass over the data, unless
# mean(x)^2 exceeds this many times the variance: then cancellation would lose too much.
FAR = 32.0
MOST_COUNTED = 255  # rows at a time, so that a byte holds their number of nonzeros


Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Reduction:
    """Statistics of a layer for N images and C units, (N, C) each, on the host.

    Attributes
    ----------
    count
        Number of positions in a unit's map.
    high
        The largest value.
    position
        The first position of the largest value. It may be 0 if the value is not above the
        threshold.
    mean, squares
        The mean, and the sum of squared differences from it.
    zeros
        The number of values that are exactly 0.
    products
        Over all images together: (C, C) sums of products of two units' differences from an origin,
        and that origin (C,); None unless asked for.
    """

    count: int
    high: NDArray[np.float32]
    position: NDArray[np.int64]
    mean: NDArray[np.float32]
    squares: NDArray[np.float32]
    zeros: NDArray[np.int64]
    products: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @classmethod
    def joined(cls, parts: Sequence[Reduction]) -> Reduction:
        """The reduction of all parts' images, in order; `products` only for a single part."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            parts[0].count,
            np.concatenate([part.high for part in parts]),
            np.concatenate([part.position for part in parts]),
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.squares for part in parts]),
            np.concatenate([part.zeros for part in parts]),
        )

    def finite(self) -> NDArray[np.bool_]:
        """(N,) bool: the images whose values are all finite."""
        return np.asarray((np.isfinite(self.high) & np.isfinite(self.squares)).all(axis=1))


@dataclass(frozen=True, eq=False)
class DeviceReduction:
    """A reduction that is still on the device; see `on_host`.

    Attributes
    ----------
    count
        As of a `Reduction`.
    arrays
        (5, N, C) float32: its `high`, `mean` and `squares`, and the bits of `position` and of the
        number of nonzeros as integers. With products, these and their origin follow.
    """

    count: int
    arrays: tuple[Any, ...]

    def filled(self, numbers: NDArray[np.float32], *products: NDArray[np.float32]) -> Reduction:
        """The reduction, from the same arrays on the host."""
        high, mean, squares, *bits = numbers
        position, nonzeros = (one.view(np.int32).astype(np.int64) for one in bits)
        both = (products[0], products[1]) if products else None
        return Reduction(self.count, high, position, mean, squares, self.count - nonzeros, both)


def on_host(
    ops: ArrayOps, parts: Mapping[str, Reduction | DeviceReduction]
) -> dict[str, Reduction]:
    """Reductions of several layers, copied from the device together."""
    waiting = [part for part in parts.values() if isinstance(part, DeviceReduction)]
    arrays = [array for part in waiting for array in part.arrays]
    if arrays:
        numbers = ops.numpy(ops.xp.concatenate([array.reshape(-1) for array in arrays]))
        ends = np.cumsum([math.prod(array.shape) for array in arrays])
        flat = iter(np.split(numbers, ends[:-1]))
    return {
        name: part.filled(*(next(flat).reshape(tuple(array.shape)) for array in part.arrays))
        if isinstance(part, DeviceReduction)
        else part
        for name, part in parts.items()
    }


def reduce_value(
    ops: ArrayOps,
    value: Any,
    images: int,
    threshold: NDArray[np.float32] | None = None,
    correlation: bool = False,
    helpers: Executor | None = None,
) -> Reduction | DeviceReduction:
    """Reduce a layer's value.

    Parameters
    ----------
    ops
        Operations on the engine's arrays.
    value
        The engine's own array, (N, C) or (N, C, ...).
    images
        The number of leading images that count; the others only pad the batch.
    threshold
        (C,): a maximum that is not above it gets no position, because finding the position takes
        longer than finding the maximum.
    correlation
        Whether to compute `products`.
    helpers
        A thread pool to share the work; see `ArrayOps.helpers`.
    """
    shape = tuple(value.shape)
    count = prod(shape[2:])
    flat = value.reshape((*shape[:2], count))[:images]
    if not ops.on_host:
        return DeviceReduction(count, _reduce_on_device(ops, flat, correlation))
    pixels = _as_pixels(ops, value)
    with _quiet():
        if pixels is None:
            found = _reduce_maps(ops, flat, threshold, helpers)
        else:
            found = _reduce_pixels(pixels[:images], threshold, helpers)
    high, mean, squares, nonzeros, position = found
    products = None
    if correlation:
        origin = mean.mean(axis=0)
        products = ops.numpy(_products(ops, flat, ops.asarray(origin))), origin
    return Reduction(count, high, position, mean, squares, count - nonzeros, products)


def _products(ops: ArrayOps, flat: Any, origin: Any) -> Any:
    """(C, C), sums over all images and positions of products of two units' differences."""
    columns = ops.xp.swapaxes(flat - origin[None, :, None], 0, 1).reshape((flat.shape[1], -1))
    return columns @ columns.T


def _reduce_on_device(ops: ArrayOps, flat: Any, correlation: bool) -> tuple[Any, ...]:
    """The arrays of a `DeviceReduction`, of torch's (N, C, P)."""
    xp = ops.xp
    high, position = flat.max(dim=2)
    mean = flat.mean(dim=2)
    apart = flat - mean[:, :, None]
    counts = position, xp.count_nonzero(flat, dim=2)
    bits = (one.int().view(xp.float32) for one in counts)
    numbers = xp.stack([high, mean, (apart * apart).sum(dim=2), *bits])
    if not correlation:
        return (numbers,)
    origin = mean.mean(dim=0)
    return numbers, _products(ops, flat, origin), origin


# Maximum, mean, sum of squares, number of nonzeros and position, each (N, C).
_Found = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.int64], NDArray[np.int64]]


def _reduce_maps(
    ops: ArrayOps, flat: Any, threshold: NDArray[np.float32] | None, helpers: Executor | None
) -> _Found:
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


def _as_pixels(ops: ArrayOps, value: Any) -> NDArray[np.float32] | None:
    """A view (N, P, C) of a value on the host in channels-last format; otherwise None."""
    array = ops.numbers(value)
    pixels = array.transpose(0, *range(2, array.ndim), 1)
    if not pixels.flags.c_contiguous:
        return None
    return pixels.reshape(len(pixels), prod(pixels.shape[1:-1]), pixels.shape[-1])


def _reduce_pixels(
    pixels: NDArray[np.float32], threshold: NDArray[np.float32] | None, helpers: Executor | None
) -> _Found:
    """Reduce (N, P, C).

    Each statistic takes one sweep over rows of several pixels, accumulated into a single row. The
    row stays in the cache, and is long enough to outweigh the call overhead. In the end its pixels
    are added up.
    """
    images, positions, units = pixels.shape
    width = _row_of_pixels(positions, units, ROW)
    rows = pixels.reshape(images, positions // width, width * units)
    step = max(1, min(MOST_COUNTED, BLOCK // rows.shape[2]))
    parts = [slice(first, first + step) for first in range(0, rows.shape[1], step)]
    highest = np.empty((images, len(parts), width * units), np.float32)
    sums, counts = np.empty((2, *highest.shape), np.float32), np.empty(highest.shape, np.uint8)

    def sweep(block: slice) -> None:
        for number, part in enumerate(parts):
            some, into = rows[block, part], (block, number)
            np.maximum.reduce(some, axis=1, out=highest[into])
            np.add.reduce(some, axis=1, out=sums[0][into])
            np.einsum("nrk,nrk->nk", some, some, out=sums[1][into])
            nonzero = np.not_equal(some, 0).view(np.uint8)
            np.add.reduce(nonzero, axis=1, dtype=np.uint8, out=counts[into])

    _each_block(sweep, images, BLOCK // (positions * units), helpers)
    nonzeros = np.add.reduce(counts.reshape(images, -1, units), axis=1, dtype=np.int64)
    total, power = np.add.reduce(sums.reshape(2, images, -1, units), axis=2).astype(np.float64)
    mean, squares, far = _about_the_mean(total, power, positions)
    if far.any():
        image, unit = np.nonzero(far)
        maps = pixels[image, :, unit]
        apart = maps - maps.mean(axis=1)[:, None]
        squares[far] = (apart * apart).sum(axis=1)
    columns = np.maximum.reduce(highest, axis=1).reshape(images, width, units)
    high = np.maximum.reduce(columns, axis=1)
    position = np.zeros(high.shape, np.int64)
    # All values of a silent unit are the maximum, so its first position needs no search.
    elsewhere = _wanted(high, threshold) & (pixels[:, 0] != high)
    if elsewhere.any():
        position[elsewhere] = _first_of(pixels, columns, high, elsewhere)
    return high, mean, squares, nonzeros, position


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


def check_readable(name: str, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of a layer's value for one image, from that for a batch.

    Raises
    ------
    ModelError
        It is unknown, or has no axis of units.
    """
    if shape is None or len(shape) < 2:
        raise ModelError(
            f"layer {name!r} has values of shape {shape}; expected (N, units) or (N, units, ...)"
        )
    return tuple(shape[1:])

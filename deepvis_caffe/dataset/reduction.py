"""Reductions: ``(ops, a layer's value for a batch) -> Reduction``, on the engine's device.

A layer's value is large, and what a scan keeps of it is small; only that is copied to the host.
Written in the namespace that numpy and torch share, see `deepvis_caffe.engines.arrays`.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import ModelError

# Values reduced at a time on the host, so that intermediate results stay in a core's caches. A
# whole batch of a first layer is ten times too large for them, and takes five times as long.
BLOCK = 2**19
# The variance is computed as mean(x^2) - mean(x)^2, which saves a pass over the data, unless
# mean(x)^2 is more than this many times the variance: then rounding would lose too much.
FAR = 8.0


@dataclass(frozen=True, eq=False)
class Reduction:
    """What is kept of a layer for N images and C units, (N, C) each, on the host.

    Attributes
    ----------
    count
        Positions in a unit's map.
    high
        The largest value.
    position
        The first position of the largest value, if that is above the threshold; otherwise 0.
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

    def finite(self) -> NDArray[np.bool_]:
        """(N,) bool: the images whose values are all finite."""
        return np.asarray((np.isfinite(self.high) & np.isfinite(self.squares)).all(axis=1))


def reduce_value(
    ops: ArrayOps,
    value: Any,
    images: int,
    threshold: NDArray[np.float32] | None = None,
    correlation: bool = False,
    helpers: Executor | None = None,
) -> Reduction:
    """Reduce a layer's value.

    Parameters
    ----------
    ops
        The engine's.
    value
        The engine's own array, (N, C) or (N, C, ...).
    images
        How many of the N count, from the first; the others only fill the batch.
    threshold
        (C,): a maximum that is not above it gets no position, as finding the position takes longer
        than finding the maximum.
    correlation
        Whether to compute `products`.
    helpers
        Threads that share the work; see `ArrayOps.helpers`.
    """
    shape = tuple(value.shape)
    flat = value.reshape((*shape[:2], prod(shape[2:])))[:images]
    step = max(1, BLOCK // max(1, prod(shape[1:]))) if ops.on_host else images
    blocks = [flat[first : first + step] for first in range(0, images, step)]
    work = partial(_reduce_block, ops, threshold)
    done = helpers.map(work, blocks) if helpers and len(blocks) > 1 else map(work, blocks)
    high, mean, squares, nonzeros, position = (
        np.concatenate(parts) for parts in zip(*done, strict=True)
    )
    products = None
    if correlation:
        origin = mean.mean(axis=0)
        columns = ops.xp.swapaxes(flat - ops.asarray(origin)[None, :, None], 0, 1)
        columns = columns.reshape((shape[1], -1))
        products = ops.numpy(columns @ columns.T), origin
    zeros = flat.shape[2] - nonzeros.astype(np.int64)
    return Reduction(flat.shape[2], high, position, mean, squares, zeros, products)


def _reduce_block(
    ops: ArrayOps, threshold: NDArray[np.float32] | None, flat: Any
) -> tuple[NDArray[Any], ...]:
    """Maximum, mean, squares, number of nonzeros and position of (N, C, P), each (N, C).

    Without warnings of overflow: values that are not finite are reported later.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _reduced(ops, threshold, flat)


def _reduced(
    ops: ArrayOps, threshold: NDArray[np.float32] | None, flat: Any
) -> tuple[NDArray[Any], ...]:
    high = ops.numpy(ops.xp.amax(flat, 2))
    total = ops.numpy(flat.sum(axis=2)).astype(np.float64)
    work = flat * flat
    power = ops.numpy(work.sum(axis=2)).astype(np.float64)
    # Into floats: counting a comparison's booleans goes through 64-bit integers, four times slower.
    nonzeros = ops.numpy(ops.xp.not_equal(flat, 0, out=work).sum(axis=2))
    mean = total / flat.shape[2]
    about_zero = total * mean
    squares = power - about_zero
    near = np.isfinite(power) & (squares * FAR >= about_zero)
    if not near.all():
        rows = _rows(ops, flat, ~near)
        apart = rows - rows.mean(axis=1)[:, None]
        squares[~near] = ops.numpy((apart * apart).sum(axis=1))
    wanted = np.ones_like(high, bool) if threshold is None else high > threshold
    position = np.zeros(high.shape, np.int64)
    if wanted.all():
        position[...] = ops.numpy(flat.argmax(axis=2))
    elif wanted.any():
        position[wanted] = ops.numpy(_rows(ops, flat, wanted).argmax(axis=1))
    return high, mean.astype(np.float32), squares.astype(np.float32), nonzeros, position


def _rows(ops: ArrayOps, flat: Any, wanted: NDArray[np.bool_]) -> Any:
    """The maps of (N, C, P) that are `wanted` (N, C), as (M, P)."""
    image, unit = (ops.asarray(index, np.int64) for index in np.nonzero(wanted))
    return flat[image, unit]


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

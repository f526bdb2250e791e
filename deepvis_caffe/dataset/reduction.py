"""What is read of a layer for a batch, on the engine's device: ``(ops, value) -> Reduction``.

Written against the namespace that numpy and torch share, see `deepvis_caffe.engines.arrays`: a
layer's value is large, what is kept of it small, and only that comes to the host.
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

# Values that are worked on at a time in the host's memory: what is in between stays in a core's
# caches. A whole batch of a first layer is ten times too large, and takes five times as long.
BLOCK = 2**19


@dataclass(frozen=True, eq=False)
class Reduction:
    """Per image and unit, (N, C), on the host.

    Attributes
    ----------
    count
        Positions of a unit's map.
    high
        The largest value.
    position
        The first position that has it, where it is over the threshold; else 0.
    mean, squares
        The mean, and the sum of squared differences from it.
    zeros
        How many values are exactly 0.
    products
        Over all images together: (C, C) sums of products of two units' differences from an origin,
        and that origin (C,); None where they are not wanted.
    """

    count: int
    high: NDArray[np.float32]
    position: NDArray[np.int64]
    mean: NDArray[np.float32]
    squares: NDArray[np.float32]
    zeros: NDArray[np.int64]
    products: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def finite(self) -> NDArray[np.bool_]:
        """(N,): whether all that is known of an image is a number."""
        return np.asarray((np.isfinite(self.high) & np.isfinite(self.squares)).all(axis=1))


def reduce_value(
    ops: ArrayOps,
    value: Any,
    images: int,
    threshold: NDArray[np.float32] | None = None,
    correlation: bool = False,
    helpers: Executor | None = None,
) -> Reduction:
    """Read what is wanted of a layer's value.

    Parameters
    ----------
    ops
        The engine's.
    value
        The engine's own array, (N, C) or (N, C, ...).
    images
        How many of the N are wanted, the first ones; the others only fill the batch.
    threshold
        (C,): where nothing higher is found the position is not looked for, which takes longer than
        to find the maximum.
    correlation
        Whether `products` are wanted.
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
    zeros = flat.shape[2] - np.nan_to_num(nonzeros).astype(np.int64)
    return Reduction(flat.shape[2], high, position, mean, squares, zeros, products)


def _reduce_block(
    ops: ArrayOps, threshold: NDArray[np.float32] | None, flat: Any
) -> tuple[NDArray[Any], ...]:
    """Of (N, C, P): maximum, mean, squares, how many are not 0, and position."""
    mean = flat.mean(axis=2)
    apart = flat - mean[:, :, None]
    apart *= apart
    high = ops.numpy(ops.xp.amax(flat, 2))
    wanted = np.ones_like(high, bool) if threshold is None else high > threshold
    position = np.zeros(high.shape, np.int64)
    if wanted.all():
        position[...] = ops.numpy(flat.argmax(axis=2))
    elif wanted.any():
        image, unit = np.nonzero(wanted)
        rows = flat[ops.asarray(image, np.int64), ops.asarray(unit, np.int64)]
        position[image, unit] = ops.numpy(rows.argmax(axis=1))
    return (
        high,
        ops.numpy(mean),
        ops.numpy(apart.sum(axis=2)),
        # A comparison would be counted in 64-bit integers, which takes twice as long.
        ops.numpy(ops.xp.abs(ops.xp.sign(flat)).sum(axis=2)),
        position,
    )


def check_readable(name: str, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of a layer's value for one image.

    Raises
    ------
    ModelError
        It is not known, or has no axis of units.
    """
    if shape is None or len(shape) < 2:
        raise ModelError(
            f"layer {name!r} has values of shape {shape}; expected (N, units) or (N, units, ...)"
        )
    return tuple(shape[1:])

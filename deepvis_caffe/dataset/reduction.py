"""Reductions: ``(ops, a layer's value for a batch) -> Reduction``, on the engine's device.

A layer's value is large, but its reduction is small; only that is copied to the host. On a GPU the
reductions of a whole pass are copied together, because the host waits for each copy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.compiled_sweep import Sweep
from deepvis_caffe.dataset.host_reduction import reduce_on_host
from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import ModelError


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
    sweep: Sweep | None = None,
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
    sweep
        See `compiled_sweep`; used for values on the host in channels-last format. Without it,
        NumPy reads them.
    """
    shape = tuple(value.shape)
    count = prod(shape[2:])
    flat = value.reshape((*shape[:2], count))[:images]
    if not ops.on_host:
        return DeviceReduction(count, _reduce_on_device(ops, flat, correlation))
    high, mean, squares, nonzeros, position = reduce_on_host(ops, flat, threshold, helpers, sweep)
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

"""Gaussian blur: ``(x, g, t) -> x``, of one width (Yosinski et al. 2015) or of one that falls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps

BAND = 32  # rows; measured best at 227 pixels for numpy and for torch
SHARP = 0.1  # pixels; the neighbours weigh under 1e-21 in a narrower blur

Operator = Callable[[Any, Any, int], Any]


def blur(ops: ArrayOps, height: int, width: int, sigma: float, every: int) -> Operator:
    """Gaussian blur of each channel, `sigma` pixels wide, at steps divisible by `every`.

    Equal to ``scipy.ndimage.gaussian_filter`` (reflected edges, cut off at 4 sigma), as two matrix
    products, which every device does fast: ``rows @ x @ columns``.
    """
    rows = [(seen, ops.asarray(band)) for seen, band in bands(blur_matrix(height, sigma))]
    columns = [(seen, ops.asarray(band.T)) for seen, band in bands(blur_matrix(width, sigma))]

    def join(parts: list[Any], axis: int) -> Any:
        return ops.xp.concatenate(parts, axis=axis) if len(parts) > 1 else parts[0]

    def smooth(x: Any, g: Any, t: int) -> Any:
        if t % every:
            return x
        x = join([band @ x[..., seen, :] for seen, band in rows], axis=2)
        return join([x[..., seen] @ band for seen, band in columns], axis=3)

    return smooth


def falling_blur(
    ops: ArrayOps, height: int, width: int, ends: tuple[float, float], every: int, steps: int
) -> Operator:
    """:func:`blur` whose sigma goes evenly from one width to the other over the run.

    Oygard 2015, "Visualizing GoogLeNet classes": first the whole, then the detail.
    """
    first, last = ends

    def smooth(x: Any, g: Any, t: int) -> Any:
        sigma = first + (last - first) * t / max(steps - 1, 1)
        if t % every or sigma < SHARP:
            return x
        return blur(ops, height, width, sigma, 1)(x, g, t)

    return smooth


def blur_matrix(size: int, sigma: float) -> NDArray[np.float64]:
    """The (size, size) matrix of scipy's 1-D gaussian filter: its response to each unit vector."""
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.eye(size), sigma, axis=0)


def bands(matrix: NDArray[np.float64]) -> list[tuple[slice, NDArray[np.float64]]]:
    """The matrix in groups of `BAND` rows, each as (columns it needs, the matrix on those).

    A blur's matrix is 0 away from its diagonal; to leave that out makes it four times faster.
    """
    groups = [matrix[first : first + BAND] for first in range(0, len(matrix), BAND)]
    needed = [np.flatnonzero(group.any(axis=0)) for group in groups]
    spans = [slice(int(columns[0]), int(columns[-1]) + 1) for columns in needed]
    return [(span, group[:, span]) for span, group in zip(spans, groups, strict=True)]

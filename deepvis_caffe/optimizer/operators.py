"""Regularization operators: ``(x, g, t) -> x``, each step's pull towards pictures people can read.

Section 3 of Yosinski et al. 2015, "Understanding Neural Networks Through Deep Visualization":
an operator maps an image to a slightly more regular one. Here x is the batch (N, C, H, W) in the
net's units, mean subtracted, so that 0 is the mean picture; g is this step's gradient, of the same
shape; t is the step, from 0. Each image of the batch is treated as if it were alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.optimizer.params import AscentParams

BAND = 32  # rows; measured best at 227 pixels for numpy and for torch

Operator = Callable[[Any, Any, int], Any]


def decay(fraction: float) -> Operator:
    """Shrink every value: ``x * (1 - fraction)``, the paper's L2 decay."""
    return lambda x, g, t: x * (1 - fraction)


def blur(ops: ArrayOps, height: int, width: int, sigma: float, every: int) -> Operator:
    """Gaussian blur of each channel, `sigma` pixels wide, at steps divisible by `every`.

    Equal to ``scipy.ndimage.gaussian_filter`` (reflected edges, cut off at 4 sigma), as two matrix
    products, which every device does fast: ``rows @ x @ columns``.
    """
    rows = [(seen, ops.asarray(band)) for seen, band in bands(blur_matrix(height, sigma))]
    columns = [(seen, ops.asarray(band.T)) for seen, band in bands(blur_matrix(width, sigma))]
    join = ops.xp.concatenate

    def smooth(x: Any, g: Any, t: int) -> Any:
        if t % every:
            return x
        x = join([band @ x[..., seen, :] for seen, band in rows], axis=2)
        return join([x[..., seen] @ band for seen, band in columns], axis=3)

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


def clip_small_values(ops: ArrayOps, q: float) -> Operator:
    """Zero the values whose magnitude is under the image's `q`-th percentile of magnitudes."""

    def clip(x: Any, g: Any, t: int) -> Any:
        size = abs(x)
        threshold = ops.percentile(size.reshape(len(x), -1), q)
        return x * (size >= threshold[:, None, None, None])

    return clip


def clip_small_norms(ops: ArrayOps, q: float) -> Operator:
    """Zero the pixels whose norm over channels is under the image's `q`-th percentile of norms."""
    return lambda x, g, t: _keep_pixels(ops, x, ops.xp.sqrt((x * x).sum(axis=1)), q)


def clip_small_contributions(ops: ArrayOps, q: float) -> Operator:
    """Zero the pixels that matter least: small ``|sum over channels of x * g|``.

    To first order that is how much the activation changes when the pixel is set to 0.
    """
    return lambda x, g, t: _keep_pixels(ops, x, abs((x * g).sum(axis=1)), q)


def clip_small_benefits(ops: ArrayOps, q: float) -> Operator:
    """The signed variant of the Deep Visualization Toolbox: small ``-sum over channels of x * g``.

    That is what the activation gains, to first order, when the pixel is set to 0. So this clips
    the pixels that the activation can spare least; the toolbox has it, and no preset uses it.
    """
    return lambda x, g, t: _keep_pixels(ops, x, -(x * g).sum(axis=1), q)


def regularizer(params: AscentParams, ops: ArrayOps, height: int, width: int) -> Operator:
    """The operators that `params` asks for, in the paper's order, as one.

    An operator whose parameter is 0 is left out.
    """
    p = params
    operators = [
        decay(p.decay) if p.decay else None,
        blur(ops, height, width, p.blur_width, p.blur_every) if p.blurs else None,
        clip_small_values(ops, p.value_percentile) if p.value_percentile else None,
        clip_small_norms(ops, p.norm_percentile) if p.norm_percentile else None,
        clip_small_benefits(ops, p.benefit_percentile) if p.benefit_percentile else None,
        clip_small_contributions(ops, p.contribution_percentile)
        if p.contribution_percentile
        else None,
    ]
    chosen = [operator for operator in operators if operator is not None]
    return lambda x, g, t: reduce(lambda now, operator: operator(now, g, t), chosen, x)


def _keep_pixels(ops: ArrayOps, x: Any, worth: Any, q: float) -> Any:
    """Zero the pixels of `x` whose `worth` (N, H, W) is strictly under its `q`-th percentile."""
    threshold = ops.percentile(worth.reshape(len(worth), -1), q)
    return x * (worth >= threshold[:, None, None])[:, None]

"""Regularizers: ``(x, g, t) -> x``, operators applied to the image after each step.

x is the batch (N, C, H, W) in the net's units with the mean subtracted, so that 0 is the mean
picture; g is this step's gradient, of the same shape; t is the step, from 0. Every image of the
batch is treated as if it were alone, except by `diversity`; percentiles are taken per image.

Section 3 of Yosinski et al. 2015, "Understanding Neural Networks Through Deep Visualization":

================================  ============================================================
`decay`                           ``x * (1 - fraction)``
`blur`                            gaussian blur of each channel, at every n-th step
`clip_small_norms`                pixels of small ``norm over channels of x`` become 0
`clip_small_contributions`        pixels of small ``|sum over channels of x * g|`` become 0
================================  ============================================================

The Deep Visualization Toolbox adds two, which no preset uses:

================================  ============================================================
`clip_small_values`               values of small ``|x|`` become 0
`clip_small_benefits`             pixels of small ``-sum over channels of x * g`` become 0
================================  ============================================================

From other work, off by default:

================================  ============================================================
`total_variation`                 Rudin, Osher and Fatemi 1992; as a regularizer Mahendran and
                                  Vedaldi 2015, "Understanding Deep Image Representations by
                                  Inverting Them"
`falling_blur`                    Oygard 2015, "Visualizing GoogLeNet classes"
`diversity`                       Olah et al. 2017, "Feature Visualization"
================================  ============================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.optimizer.params import AscentParams

Operator = Callable[[Any, Any, int], Any]


def regularizer(
    params: AscentParams,
    ops: ArrayOps,
    height: int,
    width: int,
    pixel_scale: float = 1.0,
    units: Sequence[int] = (),
) -> Operator:
    """Compose the operators that `params` asks for, in the paper's order.

    An operator whose parameter is 0 is left out. Those that are not the paper's come first.

    Parameters
    ----------
    params, ops
        Which operators, and the operations of the engine's arrays.
    height, width
        Of the images.
    pixel_scale
        How far one 8-bit gray level moves the input.
    units
        The unit of each image; diversity acts among the images of one unit.
    """
    p = params
    operators = [
        diversity(ops, units, height, width, p.diversity, pixel_scale) if p.diversity else None,
        total_variation(ops, p.total_variation, pixel_scale) if p.total_variation else None,
        decay(p.decay) if p.decay else None,
        _blur(p, ops, height, width) if p.blurs else None,
        clip_small_values(ops, p.value_percentile) if p.value_percentile else None,
        clip_small_norms(ops, p.norm_percentile) if p.norm_percentile else None,
        clip_small_benefits(ops, p.benefit_percentile) if p.benefit_percentile else None,
        clip_small_contributions(ops, p.contribution_percentile)
        if p.contribution_percentile
        else None,
    ]
    chosen = [operator for operator in operators if operator is not None]
    return lambda x, g, t: reduce(lambda now, operator: operator(now, g, t), chosen, x)


def _blur(p: AscentParams, ops: ArrayOps, height: int, width: int) -> Operator:
    if p.blur_end is None:
        return blur(ops, height, width, p.blur_width, p.blur_every)
    ends = (p.blur_width, p.blur_end)
    return falling_blur(ops, height, width, ends, p.blur_every, p.iterations)


def decay(fraction: float) -> Operator:
    """L2 decay: ``x * (1 - fraction)``."""
    return lambda x, g, t: x * (1 - fraction)


BAND = 32  # rows; measured best at 227 pixels for numpy and for torch
SHARP = 0.1  # pixels; in a narrower blur the neighbors weigh less than 1e-21


def blur(ops: ArrayOps, height: int, width: int, sigma: float, every: int) -> Operator:
    """Gaussian blur of each channel, `sigma` pixels wide, at steps divisible by `every`.

    Equal to ``scipy.ndimage.gaussian_filter`` (reflected edges, truncated at 4 sigma). It is done
    by two matrix products, which are fast on every device: ``rows @ x @ columns``.
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
    """:func:`blur` whose sigma changes linearly between two widths over the run.

    Oygard 2015, "Visualizing GoogLeNet classes": coarse structure first, then detail.
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
    """The matrix in groups of `BAND` rows, each as (columns that are not all 0, the matrix there).

    A blur's matrix is 0 far from its diagonal; leaving that out makes the product 4 times faster.
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


def _keep_pixels(ops: ArrayOps, x: Any, score: Any, q: float) -> Any:
    """Zero the pixels of `x` whose `score` (N, H, W) is strictly under its `q`-th percentile."""
    threshold = ops.percentile(score.reshape(len(score), -1), q)
    return x * (score >= threshold[:, None, None])[:, None]


def total_variation(ops: ArrayOps, levels: float, pixel_scale: float) -> Operator:
    """Descend the total variation, by up to `levels` gray levels per step.

    Parameters
    ----------
    pixel_scale
        How far one 8-bit gray level moves the input; differences of up to one count as noise.
    """
    size = levels * pixel_scale
    return lambda x, g, t: x - size * total_variation_gradient(ops, x, pixel_scale)


def total_variation_gradient(ops: ArrayOps, x: Any, soft: float) -> Any:
    """The gradient of each channel's smoothed total variation.

    The total variation is ``sum over pixels of sqrt(down^2 + right^2 + soft^2)``, where `down` and
    `right` are the differences to the pixels below and to the right, 0 at the edge.
    """
    join, zero = ops.xp.concatenate, ops.xp.zeros_like
    down = join([x[..., 1:, :] - x[..., :-1, :], zero(x[..., :1, :])], axis=2)
    right = join([x[..., 1:] - x[..., :-1], zero(x[..., :1])], axis=3)
    length = ops.xp.sqrt(down * down + right * right + soft * soft)
    down, right = down / length, right / length
    above = join([zero(x[..., :1, :]), down[..., :-1, :]], axis=2)
    left = join([zero(x[..., :1]), right[..., :-1]], axis=3)
    return above - down + left - right


COARSE = 1 / 16  # of the image's larger side: the sigma of the low-pass
TINY = 1e-12


def diversity(
    ops: ArrayOps,
    units: Sequence[int],
    height: int,
    width: int,
    levels: float,
    pixel_scale: float,
) -> Operator:
    """Move each image away from the others of its unit, by at most `levels` gray levels (RMS).

    So that one unit's images show the different things that it responds to, Olah et al. 2017 add
    to the objective the negative similarity of the images of a batch. Theirs is the similarity of
    a layer's activations; ours is that of the images themselves, low-passed, so that it means the
    same at every layer and on every engine.

    This is the only operator that couples images: a unit's images depend on which seeds run beside
    each other, and all of them have to run in one batch. A single image is left unchanged.

    Parameters
    ----------
    units
        The unit of each image of the batch.
    height, width
        Of the images.
    levels
        Length of the step between identical images; it falls with their mean similarity, to 0.
    pixel_scale
        How far one 8-bit gray level moves the input.
    """
    same = np.equal.outer(np.asarray(units), units) & ~np.eye(len(units), dtype=bool)
    others = ops.asarray(same / np.maximum(same.sum(axis=1, keepdims=True), 1))
    sigma = COARSE * max(height, width)
    rows = _low_pass(ops, height, sigma)
    columns = _low_pass(ops, width, sigma)
    xp = ops.xp

    def move_apart(x: Any, g: Any, t: int) -> Any:
        similarity, gradient = similarity_and_gradient(ops, x, others, rows, columns)
        length = xp.sqrt((gradient * gradient).mean(axis=(1, 2, 3)))
        size = levels * pixel_scale * xp.clip(similarity, 0, 1) / (length + TINY)
        return x - size[:, None, None, None] * gradient

    return move_apart


def similarity_and_gradient(
    ops: ArrayOps, x: Any, others: Any, rows: Any, columns: Any
) -> tuple[Any, Any]:
    """Each low-passed image's mean cosine with the others, and the gradient in that image alone.

    Parameters
    ----------
    x
        (N, C, H, W).
    others
        (N, N), the weight of image j in the mean of image i.
    rows, columns
        The low-pass: ``rows @ x @ columns.T``.

    Returns
    -------
    similarity
        (N,).
    gradient
        (N, C, H, W).
    """
    shape = x.shape
    low = (rows @ x @ columns.T).reshape(shape[0], -1)
    norm = ops.xp.sqrt((low * low).sum(axis=1))[:, None] + TINY
    unit = ops.xp.where(ops.xp.isfinite(norm), low / norm, 0)  # an image that ended may be infinite
    mean_of_others = others @ unit
    similarity = (unit * mean_of_others).sum(axis=1)
    gradient = (mean_of_others - similarity[:, None] * unit) / norm
    return similarity, rows.T @ gradient.reshape(shape) @ columns


def _low_pass(ops: ArrayOps, size: int, sigma: float) -> Any:
    return ops.asarray(blur_matrix(size, sigma))

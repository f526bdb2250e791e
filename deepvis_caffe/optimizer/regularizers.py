"""Regularizers: ``(x, g, t) -> x``, operators applied to the image after each step.

x is the batch (N, C, H, W) in the net's units with the mean subtracted, so that 0 is the mean
picture; g is this step's gradient, of the same shape; t is the step, from 0. All are the engine's
own arrays: torch tensors on the torch engine, numpy arrays on pycaffe. Every image of the batch is
treated separately, except by `diversity`; percentiles are per image.

Any function of these is a regularizer. Those below are values: ``decay(0.01)`` describes one, and
`Regularizer.bind` returns the function for a batch.

>>> dv.optimize(net, "pool10", 130, regularizers=[decay(0.01), blur(0.5, every=4), my_function])

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

From other work:

================================  ============================================================
`total_variation`                 Rudin, Osher and Fatemi 1992; as a regularizer Mahendran and
                                  Vedaldi 2015, "Understanding Deep Image Representations by
                                  Inverting Them"
`falling_total_variation`         the same, with decreasing steps
`falling_decay`                   ``x * (1 - fraction)``, with a decreasing fraction
`falling_blur`                    Oygard 2015, "Visualizing GoogLeNet classes"
`diversity`                       Olah et al. 2017, "Feature Visualization"
================================  ============================================================
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.optimizer import ranges
from deepvis_caffe.optimizer.batch_info import BatchInfo
from deepvis_caffe.optimizer.value_records import name_of_callable

Operator = Callable[[Any, Any, int], Any]


class Regularizer(abc.ABC):
    """An operation on the image after each step.

    Attributes
    ----------
    compares_images
        Whether an image depends on its unit's others, so that they must share a batch.
    """

    compares_images: ClassVar[bool] = False

    @abc.abstractmethod
    def bind(self, info: BatchInfo) -> Operator:
        """The operator for a batch."""


def composed(regularizers: Iterable[Regularizer | Operator], info: BatchInfo) -> Operator:
    """One operator that applies the regularizers in their order.

    Parameters
    ----------
    regularizers
        Values of this module, and functions ``(x, g, t) -> x``.
    info
        The batch.
    """
    chosen = [
        one.bind(info) if isinstance(one, Regularizer) else _checked(one, info)
        for one in regularizers
    ]
    return lambda x, g, t: reduce(lambda now, operator: operator(now, g, t), chosen, x)


def _checked(function: Operator, info: BatchInfo) -> Operator:
    """A user's function, with a check that it returns images like its arguments."""
    name = name_of_callable(function)

    def operator(x: Any, g: Any, t: int) -> Any:
        result = function(x, g, t)
        expected = f"expected {type(x).__name__} of shape {tuple(x.shape)}, the images at step {t}"
        if not isinstance(result, type(x)):
            got = type(result).__name__
            raise SettingsError(f"regularizer {name} returned {got}; {expected}")
        if result.shape != x.shape:
            raise SettingsError(
                f"regularizer {name} returned shape {tuple(result.shape)}; {expected}"
            )
        result = result if isinstance(result, np.ndarray) else result.detach()
        return info.ops.xp.asarray(result, dtype=x.dtype)

    return operator


# -- the paper's ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class decay(Regularizer):
    """L2 decay: ``x * (1 - fraction)``.

    Parameters
    ----------
    fraction
        The fraction to remove at each step, in [0, 1).
    """

    fraction: float

    def __post_init__(self) -> None:
        ranges.expect(self, fraction=ranges.fraction(self.fraction))

    def bind(self, info: BatchInfo) -> Operator:
        """The operator."""
        return lambda x, g, t: x * (1 - self.fraction)


@dataclass(frozen=True)
class falling_decay(Regularizer):
    """`decay` whose fraction changes linearly over the run.

    With a rate that decreases likewise, the equilibrium contrast stays the same, and traces of the
    long first steps are gone at the end.

    Parameters
    ----------
    first, last
        The fractions to remove at the first and at the last step, in [0, 1).
    """

    first: float
    last: float = 0.0

    def __post_init__(self) -> None:
        ranges.expect(self, first=ranges.fraction(self.first), last=ranges.fraction(self.last))

    def bind(self, info: BatchInfo) -> Operator:
        """The operator."""
        slope = (self.last - self.first) / max(info.steps - 1, 1)
        return lambda x, g, t: x * (1 - self.first - slope * t)


BAND = 32  # rows; measured best at 227 pixels for numpy and for torch
SHARP = 0.1  # pixels; in a narrower blur the neighbors' weights are below 1e-21


@dataclass(frozen=True)
class blur(Regularizer):
    """Gaussian blur of each channel, at the steps divisible by `every`.

    Equal to ``scipy.ndimage.gaussian_filter`` (reflected edges, truncated at 4 sigma). Computed as
    two matrix products, ``rows @ x @ columns``, which are fast on every device.

    Parameters
    ----------
    width
        Standard deviation, in pixels.
    every
        1 blurs at each step, 4 at steps 0, 4, 8, ...
    """

    width: float
    every: int = 1

    def __post_init__(self) -> None:
        ranges.expect(self, width=ranges.at_least(self.width, 0), every=ranges.whole(self.every, 1))

    def bind(self, info: BatchInfo) -> Operator:
        """The operator."""
        ops = info.ops
        rows, columns = (blur_matrix(size, self.width) for size in (info.height, info.width))
        # 4 axes: with 2, torch merges all images into one product, whose rounding depends on N.
        by_row = [(seen, ops.asarray(band)[None, None]) for seen, band in bands(rows)]
        by_column = [(seen, ops.asarray(band.T)[None, None]) for seen, band in bands(columns)]

        def join(parts: list[Any], axis: int) -> Any:
            return ops.xp.concatenate(parts, axis=axis) if len(parts) > 1 else parts[0]

        def smooth(x: Any, g: Any, t: int) -> Any:
            if t % self.every:
                return x
            x = join([band @ x[..., seen, :] for seen, band in by_row], axis=2)
            return join([x[..., seen] @ band for seen, band in by_column], axis=3)

        return smooth


@dataclass(frozen=True)
class falling_blur(Regularizer):
    """`blur` whose width changes linearly over the run.

    Oygard 2015, "Visualizing GoogLeNet classes": coarse structure first, then detail.

    Parameters
    ----------
    first, last
        The width at the first and at the last step, in pixels.
    every
        As for `blur`.
    """

    first: float
    last: float
    every: int = 1

    def __post_init__(self) -> None:
        ranges.expect(
            self,
            first=ranges.at_least(self.first, 0),
            last=ranges.at_least(self.last, 0),
            every=ranges.whole(self.every, 1),
        )

    def bind(self, info: BatchInfo) -> Operator:
        """The operator."""

        def smooth(x: Any, g: Any, t: int) -> Any:
            width = self.first + (self.last - self.first) * t / max(info.steps - 1, 1)
            if t % self.every or width < SHARP:
                return x
            return blur(width).bind(info)(x, g, t)

        return smooth


def blur_matrix(size: int, sigma: float) -> NDArray[np.float64]:
    """The (size, size) matrix of scipy's 1-D gaussian filter: its response to each unit vector."""
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.eye(size), sigma, axis=0)


def bands(matrix: NDArray[np.float64]) -> list[tuple[slice, NDArray[np.float64]]]:
    """The matrix in groups of `BAND` rows: (slice of columns that are not all 0, matrix there).

    A blur matrix is 0 far from its diagonal; skipping that makes the product 4 times faster.
    """
    groups = [matrix[first : first + BAND] for first in range(0, len(matrix), BAND)]
    needed = [np.flatnonzero(group.any(axis=0)) for group in groups]
    spans = [slice(int(columns[0]), int(columns[-1]) + 1) for columns in needed]
    return [(span, group[:, span]) for span, group in zip(spans, groups, strict=True)]


@dataclass(frozen=True)
class _Clipping(Regularizer):
    """Zero what is strictly below the image's own percentile of some score."""

    percentile: float

    def __post_init__(self) -> None:
        ranges.expect(self, percentile=ranges.percentile(self.percentile))

    def _keep_pixels(self, ops: ArrayOps, x: Any, score: Any) -> Any:
        """Zero the pixels of `x` whose `score` (N, H, W) is below its percentile."""
        threshold = ops.percentile(score.reshape(len(score), -1), self.percentile)
        return x * (score >= threshold[:, None, None])[:, None]


@dataclass(frozen=True)
class clip_small_values(_Clipping):
    """Zero the values whose magnitude is below the image's percentile of magnitudes.

    Parameters
    ----------
    percentile
        In [0, 100).
    """

    def bind(self, info: BatchInfo) -> Operator:
        """The operator."""

        def clip(x: Any, g: Any, t: int) -> Any:
            size = abs(x)
            threshold = info.ops.percentile(size.reshape(len(x), -1), self.percentile)
            return x * (size >= threshold[:, None, None, None])

        return clip


@dataclass(frozen=True)
class clip_small_norms(_Clipping):
    """Zero the pixels whose norm over channels is below the image's percentile of norms.

    Parameters
    ----------
    percentile
        In [0, 100).
    """

    def bind(self, info: BatchInfo) -> Operator:
        """The operator."""
        ops = info.ops
        return lambda x, g, t: self._keep_pixels(ops, x, ops.xp.sqrt((x * x).sum(axis=1)))


@dataclass(frozen=True)
class clip_small_contributions(_Clipping):
    """Zero the pixels that matter least: small ``|sum over channels of x * g|``.

    To first order this is the change of the activation if the pixel is set to 0.

    Parameters
    ----------
    percentile
        In [0, 100).
    """

    def bind(self, info: BatchInfo) -> Operator:
        """The operator."""
        return lambda x, g, t: self._keep_pixels(info.ops, x, abs((x * g).sum(axis=1)))


@dataclass(frozen=True)
class clip_small_benefits(_Clipping):
    """The signed variant of the Deep Visualization Toolbox: small ``-sum over channels of x * g``.

    To first order this is the gain of the activation if the pixel is set to 0. So it clips the
    pixels that the activation needs most; the toolbox has it, but no preset uses it.

    Parameters
    ----------
    percentile
        In [0, 100).
    """

    def bind(self, info: BatchInfo) -> Operator:
        """The operator."""
        return lambda x, g, t: self._keep_pixels(info.ops, x, -(x * g).sum(axis=1))


# -- from other work -----------------------------------------------------------------------------


@dataclass(frozen=True)
class total_variation(Regularizer):
    """Descend the total variation.

    Parameters
    ----------
    levels
        Step size for an isolated pixel, in gray levels. Differences of up to one gray level count
        as noise.
    """

    levels: float

    def __post_init__(self) -> None:
        ranges.expect(self, levels=ranges.between(self.levels, 0, 255))

    def bind(self, info: BatchInfo) -> Operator:
        """The operator."""
        soft = info.pixel_scale
        size = self.levels * soft
        return lambda x, g, t: x - size * total_variation_gradient(info.ops, x, soft)


@dataclass(frozen=True)
class falling_total_variation(Regularizer):
    """`total_variation` whose steps change linearly over the run.

    With a rate that decreases likewise, its share in each step stays the same.

    Parameters
    ----------
    first, last
        Step sizes for an isolated pixel, in gray levels, at the first and at the last step.
    """

    first: float
    last: float = 0.0

    def __post_init__(self) -> None:
        ranges.expect(
            self,
            first=ranges.between(self.first, 0, 255),
            last=ranges.between(self.last, 0, 255),
        )

    def bind(self, info: BatchInfo) -> Operator:
        """The operator."""
        ops, soft = info.ops, info.pixel_scale
        slope = (self.last - self.first) / max(info.steps - 1, 1)

        def smooth(x: Any, g: Any, t: int) -> Any:
            size = (self.first + slope * t) * soft
            return x - size * total_variation_gradient(ops, x, soft)

        return smooth


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


@dataclass(frozen=True)
class diversity(Regularizer):
    """Move each image away from the others of its unit.

    To make a unit's images show the different things that it responds to, Olah et al. 2017 add the
    negative similarity of a batch's images to the objective. They compare a layer's activations; we
    compare the low-passed images themselves, which means the same at every layer and on every
    engine.

    This is the only operator that couples images: a unit's images depend on the set of seeds, which
    must all run in one batch. A single image is left unchanged.

    Parameters
    ----------
    levels
        Step size between identical images, in gray levels (root mean square); it decreases to 0
        with their mean similarity.
    """

    compares_images: ClassVar[bool] = True

    levels: float

    def __post_init__(self) -> None:
        ranges.expect(self, levels=ranges.between(self.levels, 0, 255))

    def bind(self, info: BatchInfo) -> Operator:
        """The operator."""
        ops, units = info.ops, info.units
        same = np.equal.outer(np.asarray(units), units) & ~np.eye(len(units), dtype=bool)
        others = ops.asarray(same / np.maximum(same.sum(axis=1, keepdims=True), 1))
        sigma = COARSE * max(info.height, info.width)
        rows = ops.asarray(blur_matrix(info.height, sigma))
        columns = ops.asarray(blur_matrix(info.width, sigma))
        xp, longest = ops.xp, self.levels * info.pixel_scale

        def move_apart(x: Any, g: Any, t: int) -> Any:
            similarity, gradient = similarity_and_gradient(ops, x, others, rows, columns)
            length = xp.sqrt((gradient * gradient).mean(axis=(1, 2, 3)))
            size = longest * xp.clip(similarity, 0, 1) / (length + TINY)
            return x - size[:, None, None, None] * gradient

        return move_apart


def similarity_and_gradient(
    ops: ArrayOps, x: Any, others: Any, rows: Any, columns: Any
) -> tuple[Any, Any]:
    """Each low-passed image's mean cosine with the others, and its gradient for that image alone.

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
    unit = ops.xp.where(ops.xp.isfinite(norm), low / norm, 0)  # a stopped image may be infinite
    mean_of_others = others @ unit
    similarity = (unit * mean_of_others).sum(axis=1)
    gradient = (mean_of_others - similarity[:, None] * unit) / norm
    return similarity, rows.T @ gradient.reshape(shape) @ columns


REGULARIZERS: dict[str, type[Regularizer]] = {
    one.__name__: one
    for one in (
        decay,
        falling_decay,
        blur,
        falling_blur,
        clip_small_values,
        clip_small_norms,
        clip_small_contributions,
        clip_small_benefits,
        total_variation,
        falling_total_variation,
        diversity,
    )
}

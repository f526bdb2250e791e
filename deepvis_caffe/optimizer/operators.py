"""Regularization operators: ``(x, g, t) -> x``, each step's pull towards pictures people can read.

Section 3 of Yosinski et al. 2015, "Understanding Neural Networks Through Deep Visualization":
an operator maps an image to a slightly more regular one. Here x is the batch (N, C, H, W) in the
net's units, mean subtracted, so that 0 is the mean picture; g is this step's gradient, of the same
shape; t is the step, from 0. Each image of the batch is treated as if it were alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.optimizer.blur import Operator, blur, falling_blur
from deepvis_caffe.optimizer.diversity import diversity
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.variation import total_variation


def decay(fraction: float) -> Operator:
    """Shrink every value: ``x * (1 - fraction)``, the paper's L2 decay."""
    return lambda x, g, t: x * (1 - fraction)


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


def regularizer(
    params: AscentParams,
    ops: ArrayOps,
    height: int,
    width: int,
    pixel_scale: float = 1.0,
    units: Sequence[int] = (),
) -> Operator:
    """The operators that `params` asks for, in the paper's order, as one.

    An operator whose parameter is 0 is left out. What is not the paper's comes first.

    Parameters
    ----------
    params, ops
        Which operators, on whose arrays.
    height, width
        Of the images.
    pixel_scale
        How far one 8-bit gray level moves the input.
    units
        The unit of each image, among whose images diversity holds.
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


def _keep_pixels(ops: ArrayOps, x: Any, worth: Any, q: float) -> Any:
    """Zero the pixels of `x` whose `worth` (N, H, W) is strictly under its `q`-th percentile."""
    threshold = ops.percentile(worth.reshape(len(worth), -1), q)
    return x * (worth >= threshold[:, None, None])[:, None]

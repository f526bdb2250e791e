"""Total variation: ``(x, g, t) -> x``, flat surfaces with sharp edges.

Mahendran & Vedaldi 2015, "Understanding Deep Image Representations by Inverting Them", regularize
by it; Rudin, Osher and Fatemi 1992 introduced it.
"""

from __future__ import annotations

from typing import Any

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.optimizer.blur import Operator


def total_variation(ops: ArrayOps, levels: float, pixel_scale: float) -> Operator:
    """A step down the total variation, by `levels` gray levels where it is steepest.

    Parameters
    ----------
    pixel_scale
        How far one 8-bit gray level moves the input; differences of up to one count as noise.
    """
    size = levels * pixel_scale
    return lambda x, g, t: x - size * variation_slope(ops, x, pixel_scale)


def variation_slope(ops: ArrayOps, x: Any, soft: float) -> Any:
    """The gradient of each channel's smoothed total variation.

    That is ``sum over pixels of sqrt(down^2 + right^2 + soft^2)``, with the differences to the
    pixels below and right, 0 beyond the edge.
    """
    join, zero = ops.xp.concatenate, ops.xp.zeros_like
    down = join([x[..., 1:, :] - x[..., :-1, :], zero(x[..., :1, :])], axis=2)
    right = join([x[..., 1:] - x[..., :-1], zero(x[..., :1])], axis=3)
    length = ops.xp.sqrt(down * down + right * right + soft * soft)
    down, right = down / length, right / length
    above = join([zero(x[..., :1, :]), down[..., :-1, :]], axis=2)
    left = join([zero(x[..., :1]), right[..., :-1]], axis=3)
    return above - down + left - right

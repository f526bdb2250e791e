"""Preconditioners: ``gradient -> direction``, where to step instead of straight up the gradient.

Olah et al. 2017, "Feature Visualization", optimize a picture's Fourier coefficients in decorrelated
colours, ``x = A z``, scaled so that coarse structure moves as easily as fine. Steepest ascent in z
moves x by ``A A^T`` times the gradient in x. So the parameterization is that matrix, symmetric and
positive: x stays a picture, and every operator that knows pictures goes on working.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.optimizer.params import AscentParams

Direction = Callable[[Any], Any]

# How R, G and B of photographs come from three uncorrelated signals (rows R, G, B): the square root
# of their covariance over ImageNet, as published with Olah et al. 2017.
COLOR_SQRT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
COARSEST = (
    3  # cycles a picture; coarser structure is not eased further, or all turns black or white
)


def preconditioner(
    params: AscentParams, ops: ArrayOps, swap: Sequence[int], height: int, width: int
) -> Direction:
    """The direction that `params` asks for; the gradient itself where it asks for none.

    Parameters
    ----------
    params
        Its `fourier` and `decorrelate` are read.
    ops
        Operations of the engine's arrays.
    swap
        Which of R, G, B each input channel holds. Inputs that have not three channels have no
        colours to decorrelate.
    height, width
        Of the picture.

    Returns
    -------
    callable
        Maps gradients (N, C, H, W) to directions of that shape, float32.
    """
    parts: list[Direction] = []
    if params.fourier:
        gain = ops.asarray(spectrum(*padded(height, width), params.fourier))
        parts.append(lambda g: filtered(ops, g, gain))
    if params.decorrelate and len(swap) == 3:
        mix = ops.asarray(color_mix(swap, params.decorrelate))
        parts.append(lambda g: (mix @ g.reshape(len(g), 3, -1)).reshape(g.shape))
    return lambda g: reduce(lambda now, part: part(now), parts, g)


def spectrum(height: int, width: int, power: float) -> NDArray[np.float64]:
    """How far each frequency moves, ``f ** -power``, mean 1 over them all.

    Parameters
    ----------
    power
        1 is the gain of Olah et al. once z is weighted by ``sqrt(1 / f)``, 2 theirs by ``1 / f``.

    Returns
    -------
    ndarray
        (height, width // 2 + 1), in the layout of ``numpy.fft.rfft2``.
    """
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    gain = np.maximum(f, COARSEST / max(height, width)) ** -power
    return (gain / gain.mean())[:, : width // 2 + 1]


def padded(height: int, width: int) -> tuple[int, int]:
    """Sizes at least these, of which a Fourier transform is fast."""
    from scipy.fft import next_fast_len

    return next_fast_len(height, real=True), next_fast_len(width, real=True)


def filtered(ops: ArrayOps, images: Any, gain: Any) -> Any:
    """`images` (N, C, H, W) with each frequency times its `gain`, as if zeros lay around them."""
    height, width = images.shape[2:]
    rows, columns = gain.shape[0], padded(height, width)[1]
    fft = ops.xp.fft
    changed = fft.irfft2(fft.rfft2(images, (rows, columns)) * gain, (rows, columns))
    return ops.xp.asarray(changed[..., :height, :width], dtype=ops.xp.float32)


def color_mix(swap: Sequence[int], part: float) -> NDArray[np.float64]:
    """How much each channel moves for a gradient in another, (3, 3), in the net's own order.

    The covariance of photographs' colours, mean variance 1, as far as `part`; the rest of the way
    each channel by itself.
    """
    covariance = (COLOR_SQRT @ COLOR_SQRT.T)[np.ix_(swap, swap)]
    return part * covariance / covariance.diagonal().mean() + (1 - part) * np.eye(3)

"""Preconditioning: ``gradient (N, C, H, W) -> direction``, the step's direction.

Olah et al. 2017, "Feature Visualization", optimize an image's Fourier coefficients in decorrelated
colors, ``x = A z``, scaled such that coarse structure changes as easily as fine structure. Steepest
ascent in z moves x by ``A A^T g``, where g is the gradient in x. So we multiply the gradient by
that symmetric positive matrix and keep x an image, on which every regularizer still works. The
matrix is the product of two:

    Fourier    multiply frequency f by ``f ** -fourier``
    color      multiply the channels of each pixel by the covariance of photographs' colors
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.optimizer.params import AscentParams

Preconditioner = Callable[[Any], Any]

# The square root of the covariance of R, G and B over ImageNet (rows R, G, B), as published with
# Olah et al. 2017: it makes colors of three uncorrelated signals.
COLOR_SQRT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
COARSEST = 3  # cycles per image; amplifying still lower frequencies turns it all black or white


def preconditioner(
    params: AscentParams, ops: ArrayOps, swap: Sequence[int], height: int, width: int
) -> Preconditioner:
    """The preconditioner that `params` asks for; the identity where it asks for none.

    Parameters
    ----------
    params
        Its `fourier` and `decorrelate` are read.
    ops
        Operations of the engine's arrays.
    swap
        Which of R, G, B each input channel holds. Only inputs of three channels have colors to
        decorrelate.
    height, width
        Of the image.

    Returns
    -------
    callable
        Maps gradients (N, C, H, W) to directions of that shape, float32.
    """
    parts: list[Preconditioner] = []
    if params.fourier:
        gain = ops.asarray(spectrum(*padded(height, width), params.fourier))
        parts.append(lambda g: filtered(ops, g, gain))
    if params.decorrelate and len(swap) == 3:
        mix = ops.asarray(color_mix(swap, params.decorrelate))
        parts.append(lambda g: (mix @ g.reshape(len(g), 3, -1)).reshape(g.shape))
    return lambda g: reduce(lambda now, part: part(now), parts, g)


def spectrum(height: int, width: int, power: float) -> NDArray[np.float64]:
    """The gain of each frequency, ``f ** -power``, scaled to a mean of 1.

    Parameters
    ----------
    power
        2 corresponds to the weights ``1 / f`` of Olah et al., 1 to ``sqrt(1 / f)``.

    Returns
    -------
    ndarray
        (height, width // 2 + 1), in the layout of ``numpy.fft.rfft2``.
    """
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    gain = np.maximum(f, COARSEST / max(height, width)) ** -power
    return (gain / gain.mean())[:, : width // 2 + 1]


def padded(height: int, width: int) -> tuple[int, int]:
    """The next sizes, at least these, for which a Fourier transform is fast."""
    from scipy.fft import next_fast_len

    return next_fast_len(height, real=True), next_fast_len(width, real=True)


def filtered(ops: ArrayOps, images: Any, gain: Any) -> Any:
    """`images` (N, C, H, W), padded with zeros, with each frequency multiplied by its `gain`."""
    height, width = images.shape[2:]
    rows, columns = gain.shape[0], padded(height, width)[1]
    fft = ops.xp.fft
    changed = fft.irfft2(fft.rfft2(images, (rows, columns)) * gain, (rows, columns))
    return ops.xp.asarray(changed[..., :height, :width], dtype=ops.xp.float32)


def color_mix(swap: Sequence[int], part: float) -> NDArray[np.float64]:
    """The color matrix, (3, 3), in the net's channel order.

    ``part * covariance + (1 - part) * identity``, the covariance scaled to a mean variance of 1.
    """
    covariance = (COLOR_SQRT @ COLOR_SQRT.T)[np.ix_(swap, swap)]
    return part * covariance / covariance.diagonal().mean() + (1 - part) * np.eye(3)

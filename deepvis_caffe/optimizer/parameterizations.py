"""Parameterizations: ``(x, gradient) -> direction``, the variables that the ascent optimizes.

Olah et al. 2017, "Feature Visualization", optimize an image's Fourier coefficients instead of its
pixels, ``x = A z``. Steepest ascent in z moves x by ``A A^T g``, where g is the gradient with
respect to x. So we multiply the gradient by that matrix and keep x an image, to which all
regularizers and learning rates still apply. For a nonlinear parameterization, A is the Jacobian at
x, and each step ends at the nearest image of this form.

>>> dv.optimize(net, "pool10", 130, parameterization=fourier(1.15, decorrelate=0.85))

================  =================================================================================
`pixels`          plain gradient ascent
`fourier`         coarse structure changes as easily as fine structure, and colors as in photographs
`maco`            only the phases change; the magnitudes are those of photographs
================  =================================================================================
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.image import resize_image, sample_image, sample_images
from deepvis_caffe.model.preprocess import LUMA, Preprocessor
from deepvis_caffe.optimizer import ranges
from deepvis_caffe.optimizer.batch_info import BatchInfo
from deepvis_caffe.optimizer.frozen_array import FrozenArray
from deepvis_caffe.optimizer.value_records import Recorded

# The square root of the covariance of R, G and B over ImageNet (rows R, G, B), as published with
# Olah et al. 2017; it turns three uncorrelated signals into colors.
COLOR_SQRT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
COARSEST = 3  # cycles per image; amplifying lower frequencies turns it all black or white


class BoundParameterization:
    """A parameterization of a batch's images (N, C, H, W); the base class is that by pixels."""

    def start(self, x: Any) -> Any:
        """The images to start from, given the requested ones."""
        return x

    def direction(self, x: Any, gradient: Any) -> Any:
        """The direction of steepest ascent in x, of its shape; zero only if no change helps."""
        return gradient

    def settle(self, x: Any) -> Any:
        """The images of this form nearest to x."""
        return x


class Parameterization(abc.ABC):
    """The variables that the ascent optimizes."""

    @abc.abstractmethod
    def bind(self, info: BatchInfo) -> BoundParameterization:
        """The parameterization of a batch's images."""


@dataclass(frozen=True)
class pixels(Parameterization):
    """The pixels themselves: plain gradient ascent."""

    def bind(self, info: BatchInfo) -> BoundParameterization:
        """The identity."""
        return BoundParameterization()


# -- Fourier coefficients ------------------------------------------------------------------------


@dataclass(frozen=True)
class fourier(Parameterization):
    """Scaled Fourier coefficients in decorrelated colors: Olah et al. 2017.

    The direction is the gradient times a symmetric positive matrix, the product of two: one scales
    frequency f by ``f ** -power``, the other multiplies each pixel's channels by the covariance of
    photographs' colors.

    Parameters
    ----------
    power
        From 0 to 4. 2 corresponds to the weights ``1 / f`` of Olah et al., 1 to ``sqrt(1 / f)``, 0
        to none.
    decorrelate
        How correlated the steps of the color channels are: from 0, independent, to 1, as in
        photographs, which are nearly gray. Only inputs with three channels have colors.
    """

    power: float
    decorrelate: float = 0.0

    def __post_init__(self) -> None:
        ranges.expect(
            self,
            power=ranges.between(self.power, 0, 4),
            decorrelate=ranges.between(self.decorrelate, 0, 1),
        )

    def bind(self, info: BatchInfo) -> BoundParameterization:
        """The parameterization of a batch's images."""
        ops, swap = info.ops, _channels(info.preprocessor)
        gain = mix = None
        if self.power:
            size = padded(info.height, info.width)
            gain = ops.asarray(spectrum(*size, self.power))
        if self.decorrelate and len(swap) == 3:
            mix = ops.asarray(color_mix(swap, self.decorrelate))
        return _Fourier(ops, gain, mix)


class _Fourier(BoundParameterization):
    def __init__(self, ops: ArrayOps, gain: Any, mix: Any) -> None:
        self._ops, self._gain, self._mix = ops, gain, mix

    def direction(self, x: Any, gradient: Any) -> Any:
        if self._gain is not None:
            gradient = filtered(self._ops, gradient, self._gain)
        return gradient if self._mix is None else mixed(self._mix, gradient)


def spectrum(height: int, width: int, power: float) -> NDArray[np.float64]:
    """The gain of each frequency, ``f ** -power``, scaled to a mean of 1.

    Returns
    -------
    ndarray
        (height, width // 2 + 1), in the layout of ``numpy.fft.rfft2``.
    """
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    gain = np.maximum(f, COARSEST / max(height, width)) ** -power
    return (gain / gain.mean())[:, : width // 2 + 1]


def padded(height: int, width: int) -> tuple[int, int]:
    """The next larger sizes for which a Fourier transform is fast."""
    return fast_length(height), fast_length(width)


@cache
def fast_length(length: int) -> int:
    """The next larger product of 2, 3 and 5.

    That of ``scipy.fft.next_fast_len(length, real=True)``, whose import takes a tenth of a second.
    """
    fast = length
    while True:
        rest = fast
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return fast
        fast += 1


def filtered(ops: ArrayOps, images: Any, gain: Any) -> Any:
    """`images` (N, C, H, W), padded with zeros, with each frequency multiplied by its `gain`."""
    height, width = images.shape[2:]
    rows, columns = gain.shape[0], padded(height, width)[1]
    spectra = ops.xp.fft.rfft2(images, (rows, columns))
    return ops.irfft2(spectra * gain, (rows, columns))[..., :height, :width]


def color_mix(swap: Sequence[int], part: float) -> NDArray[np.float64]:
    """The color matrix, (3, 3), in the net's channel order.

    ``part * covariance + (1 - part) * identity``, the covariance scaled to a mean variance of 1.

    Parameters
    ----------
    swap
        Which of R, G, B each input channel holds.
    part
        From 0 to 1.
    """
    covariance = (COLOR_SQRT @ COLOR_SQRT.T)[np.ix_(swap, swap)]
    return part * covariance / covariance.diagonal().mean() + (1 - part) * np.eye(3)


def mixed(matrix: Any, images: Any) -> Any:
    """`images` (N, C, H, W) with the channels of each pixel multiplied by a (C, C) matrix."""
    # With 3 axes, so that torch does not merge all images into one product.
    return (matrix[None] @ images.reshape(len(images), len(matrix), -1)).reshape(images.shape)


def _channels(preprocessor: Preprocessor) -> tuple[int, ...]:
    """Which channel of a picture each input channel holds."""
    return tuple(preprocessor.channel_swap or ())


# -- phases --------------------------------------------------------------------------------------

FAINT = 0.01  # gray levels of noise added to the start: a coefficient of 0 has no phase


@dataclass(frozen=True)
class maco(Parameterization):
    """The phases of an image whose Fourier magnitudes are those of photographs.

    Fel et al. 2023, "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained
    Optimization". In decorrelated colors, each channel's coefficient at frequency f is
    ``r(f) * exp(i phase)``, and the ascent optimizes the phases. Its direction is ``J J^T g``,
    where J is the Jacobian of x with respect to the phases: the part of the gradient that rotates
    the coefficients, times ``r ** 2``. After each step the magnitudes are reset to r.

    All magnitudes are fixed. That of frequency 0 is 0, so an image's mean is that of the net's mean
    picture. A few pixels may lie slightly beyond black or white; pictures clip them.

    Parameters
    ----------
    spectrum
        (C, H, W // 2 + 1), r in the net's units, in the layout of ``numpy.fft.rfft2`` and in
        the channels of `decorrelated`; by default `natural_spectrum`.
    """

    spectrum: FrozenArray | ArrayLike | None = field(default=None)

    def __post_init__(self) -> None:
        if not isinstance(self.spectrum, FrozenArray | Recorded | None):
            object.__setattr__(self, "spectrum", FrozenArray(self.spectrum))

    def bind(self, info: BatchInfo) -> BoundParameterization:
        """The parameterization of a batch's images."""
        preprocessor = info.preprocessor
        if self.spectrum is None:
            return _Maco(info, natural_spectrum(preprocessor))
        if isinstance(self.spectrum, Recorded):
            raise self.spectrum.missing("spectrum of maco")
        assert isinstance(self.spectrum, FrozenArray)
        magnitudes, shape = self.spectrum.array, spectrum_shape(preprocessor)
        if magnitudes.shape != shape:
            raise SettingsError(
                f"spectrum of maco has shape {magnitudes.shape}; for images of shape "
                f"{preprocessor.shape} expected {shape} (channels, height, width // 2 + 1)"
            )
        if not (np.isfinite(magnitudes).all() and (magnitudes >= 0).all()):
            raise SettingsError("spectrum of maco must hold finite numbers, none less than 0")
        _check_real(magnitudes, preprocessor.shape[2])
        return _Maco(info, magnitudes)


def _check_real(magnitudes: NDArray[Any], width: int) -> None:
    """Raise if no real image has these magnitudes, because opposite frequencies differ."""
    for column in {0, width // 2} if width % 2 == 0 else {0}:
        there = magnitudes[:, :, column]
        opposite = np.roll(there[:, ::-1], 1, axis=1)
        if not np.allclose(there, opposite, rtol=1e-3, atol=1e-6 * magnitudes.max()):
            raise SettingsError(
                f"spectrum of maco is not that of a real image: in column {column}, rows n and -n "
                "hold opposite frequencies, but differ; use the magnitudes of numpy.fft.rfft2"
            )


class _Maco(BoundParameterization):
    """Channels are decorrelated by `_apart`, and correlated again by `_together`."""

    def __init__(self, info: BatchInfo, magnitudes: NDArray[Any]) -> None:
        ops = info.ops
        matrix = color_matrix(info.preprocessor)
        self._info, self._ops, self._size = info, ops, (info.height, info.width)
        self._magnitudes = ops.asarray(magnitudes)
        # A phase belongs to two coefficients of the full plane, and irfft2 divides by its size.
        self._weights = ops.asarray(2 * magnitudes**2 / (info.height * info.width))
        self._together, self._apart = ops.asarray(matrix), ops.asarray(np.linalg.inv(matrix))

    def start(self, x: Any) -> Any:
        shape, size = tuple(x.shape[1:]), FAINT * self._info.pixel_scale
        faint = [np.random.RandomState(seed).normal(0, size, shape) for seed in self._info.seeds]
        return self.settle(x + self._ops.asarray(np.stack(faint)))

    def direction(self, x: Any, gradient: Any) -> Any:
        phases, xp = self._phases(x), self._ops.xp
        slopes = xp.fft.rfft2(mixed(self._together.T, gradient))
        turning = (xp.conj(phases) * slopes).imag  # the part perpendicular to the coefficient
        return self._images(1j * phases * turning * self._weights)

    def settle(self, x: Any) -> Any:
        return self._images(self._phases(x) * self._magnitudes)

    def _phases(self, x: Any) -> Any:
        """(N, C, H, W // 2 + 1), numbers of magnitude 1."""
        found = self._ops.xp.fft.rfft2(mixed(self._apart, x))
        size = abs(found)
        return self._ops.xp.where(size > 0, found / size, 1.0)

    def _images(self, coefficients: Any) -> Any:
        return mixed(self._together, self._ops.irfft2(coefficients, self._size))


def color_matrix(preprocessor: Preprocessor) -> NDArray[np.float64]:
    """(C, C), from decorrelated channels to the net's; the identity unless there are three."""
    swap = _channels(preprocessor)
    return COLOR_SQRT[list(swap)] if len(swap) == 3 else np.eye(len(swap))


def decorrelated(x: NDArray[Any], preprocessor: Preprocessor) -> NDArray[Any]:
    """A net's inputs (..., C, H, W) in channels that are uncorrelated in photographs."""
    return np.einsum("ij,...jhw->...ihw", np.linalg.inv(color_matrix(preprocessor)), x)


def spectrum_shape(preprocessor: Preprocessor) -> tuple[int, int, int]:
    """(C, H, W // 2 + 1), of the magnitudes of an input."""
    channels, height, width = preprocessor.shape
    return channels, height, width // 2 + 1


def natural_spectrum(preprocessor: Preprocessor) -> NDArray[np.float64]:
    """The Fourier magnitudes of photographs, as inputs of a net.

    The root mean square over the photographs of `sample_images`, each resized to the input, and
    over all directions, so that it depends only on the frequency's magnitude. 0 at frequency 0.

    Returns
    -------
    ndarray
        (C, H, W // 2 + 1), in the net's units and the channels of `decorrelated`.
    """
    _, height, width = preprocessor.shape
    unit = _of_photographs(height, width, _channels(preprocessor))
    return unit * preprocessor.raw_scale * preprocessor.input_scale


@lru_cache(maxsize=8)
def _of_photographs(height: int, width: int, swap: tuple[int, ...]) -> NDArray[np.float64]:
    """`natural_spectrum` for pixels in [0, 1]."""
    total = np.zeros((len(swap), height, width // 2 + 1))
    apart = np.linalg.inv(COLOR_SQRT[list(swap)]) if len(swap) == 3 else None
    for name in sample_images():
        photograph = sample_image(name).astype(np.float32) / 255
        x = resize_image(_middle(photograph, height, width), height, width)
        if apart is None:
            channels = np.repeat((x @ LUMA)[None], len(swap), axis=0)
        else:
            channels = np.einsum("ij,hwj->ihw", apart, x[..., list(swap)])
        total += abs(np.fft.rfft2(channels)) ** 2
    means = total / len(sample_images())
    magnitudes = np.sqrt(np.stack([_radial(power, height, width) for power in means]))
    magnitudes[:, 0, 0] = 0
    magnitudes.flags.writeable = False
    return magnitudes


def _middle(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """The largest center crop with the aspect ratio of (height, width)."""
    rows = min(image.shape[0], max(1, round(image.shape[1] * height / width)))
    columns = min(image.shape[1], max(1, round(image.shape[0] * width / height)))
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    return image[top : top + rows, left : left + columns]


def _radial(power: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """The mean over all directions of `power` (height, width // 2 + 1), in rings of one cycle.

    Opposite edges of a photograph do not match, which adds power on the axes; this spreads it.
    """
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    ring = np.rint(f * max(height, width)).astype(int).ravel()
    mean = np.bincount(ring, power.ravel()) / np.maximum(np.bincount(ring), 1)
    return mean[ring].reshape(power.shape)


PARAMETERIZATIONS: dict[str, type[Parameterization]] = {
    one.__name__: one for one in (pixels, fourier, maco)
}

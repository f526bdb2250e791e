"""What a first layer's filters look for: ``weights (filters, C, h, w) -> frequencies and kinds``.

The first appendix of Yosinski et al. 2015 sorts the filters of a first convolution into "oriented
Gabor edge filters of varying frequencies" and "blobs of color". It gives no rule; ours is below, in
`spectrum_of`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ModelError

Kind = Literal["edge", "colour edge", "blob", "empty"]
EDGES = ("edge", "colour edge")

SAMPLES = 64  # points of the padded transform on each axis, at least: 1/64 of a cycle a pixel
BLOB_SHARE = 0.5  # of the spectrum's peak that is left at frequency 0 in a blob
GRAY_SHARE = 0.5  # of the filter's energy that is the same in all channels in a gray edge
EMPTY = 1e-3  # norm under which a filter has learned nothing, against the largest of its layer


@dataclass(frozen=True)
class FilterSpectrum:
    """One filter's place in the spectrum.

    Attributes
    ----------
    unit
        Its channel.
    kind
        ``"edge"`` (of brightness), ``"colour edge"``, ``"blob"`` (it answers to patches of a colour
        or brightness) or ``"empty"``.
    frequency
        Where its spectrum is highest, cycles a pixel, 0 to sqrt(1/2).
    angle
        The direction of that wave, degrees in [0, 180): 0 is a vertical edge, 90 a horizontal one.
    flat
        Share of the spectrum's peak that is at frequency 0.
    gray
        Share of the filter's energy that is the same in all channels.
    """

    unit: int
    kind: Kind
    frequency: float
    angle: float
    flat: float
    gray: float


def filter_spectra(weights: NDArray[np.float32]) -> list[FilterSpectrum]:
    """Frequency, direction and kind of every filter.

    Parameters
    ----------
    weights
        (filters, C, h, w), a convolution's; with h = w = 1 there are no frequencies to see.

    Raises
    ------
    ModelError
        The weights are no filters over two axes, or of one pixel.
    """
    if weights.ndim != 4 or max(weights.shape[2:]) < 2:
        raise ModelError(
            f"filters need height and width to have a frequency; got weights of shape "
            f"{weights.shape}, expected (filters, channels, height, width)"
        )
    norms = np.linalg.norm(weights.reshape(len(weights), -1), axis=1)
    empty = norms <= EMPTY * norms.max()
    return [spectrum_of(w, unit, bool(empty[unit])) for unit, w in enumerate(weights)]


def spectrum_of(filter_: NDArray[np.float32], unit: int = 0, empty: bool = False) -> FilterSpectrum:
    """One filter's dominant frequency, and whether it is an edge filter or a blob.

    The power spectrum is the squared magnitude of the 2-D Fourier transform of the filter, padded
    with zeros so that frequencies between those of a small filter show, summed over the channels:
    a filter that goes from red to green is as much an edge as one from black to white. The dominant
    frequency is where it is highest. A blob's spectrum is still at least half as high at frequency
    0 as at its peak: such a filter answers to a patch of one colour, while an edge filter's
    positive and negative parts cancel over such a patch. An edge is one of colour where more than
    half of the filter's energy differs between the channels: photographs hold little of that, so
    such filters are quiet whatever their frequency.

    Parameters
    ----------
    filter_
        (C, h, w).
    """
    size = [max(SAMPLES, 2 * length) for length in filter_.shape[1:]]
    power = (np.abs(np.fft.fft2(filter_.astype(np.float64), size)) ** 2).sum(axis=0)
    if empty or not power.max() > 0:
        return FilterSpectrum(unit, "empty", 0.0, 0.0, 0.0, 0.0)
    row, column = np.unravel_index(power.argmax(), power.shape)
    fy, fx = np.fft.fftfreq(size[0])[row], np.fft.fftfreq(size[1])[column]
    flat = float(power[0, 0] / power.max())
    gray = float(len(filter_) * (filter_.mean(axis=0) ** 2).sum() / (filter_**2).sum())
    edge: Kind = "edge" if gray >= GRAY_SHARE else "colour edge"
    return FilterSpectrum(
        unit=unit,
        kind="blob" if flat >= BLOB_SHARE else edge,
        frequency=float(np.hypot(fy, fx)),
        angle=float(np.degrees(np.arctan2(fy, fx)) % 180),
        flat=flat,
        gray=gray,
    )


def compared_kinds(spectra: Sequence[FilterSpectrum]) -> list[tuple[str, ...]]:
    """Which kinds of filters can be compared: edges of brightness, and all edges.

    Raises
    ------
    ModelError
        Neither: the layer has fewer than two edge filters.
    """
    count = {kind: sum(one.kind == kind for one in spectra) for kind in EDGES}
    choices: list[tuple[str, ...]] = [
        kinds for kinds in (EDGES[:1], EDGES) if sum(count[kind] for kind in kinds) > 1
    ]
    if not choices:
        raise ModelError(
            f"{sum(count.values())} of the layer's {len(spectra)} filters are edge filters; to "
            "compare low and high frequencies takes two"
        )
    return choices


def first_and_last(
    spectra: Sequence[FilterSpectrum], count: int = 5, kinds: Collection[str] = ("edge",)
) -> tuple[list[FilterSpectrum], list[FilterSpectrum]]:
    """The `count` edge filters of lowest and those of highest frequency, none of them in both.

    Parameters
    ----------
    kinds
        Which filters to take; `EDGES` are those of brightness and of colour.

    Raises
    ------
    ModelError
        There are fewer than two of them.
    """
    edges = sorted((one for one in spectra if one.kind in kinds), key=lambda one: one.frequency)
    count = min(count, len(edges) // 2)
    if not count:
        raise ModelError(
            f"{len(edges)} of the layer's {len(spectra)} filters are of kind {' or '.join(kinds)}; "
            "to compare low and high frequencies takes two"
        )
    return edges[:count], edges[-count:]

"""First-layer filters: ``(weights, photographs) -> kind, frequency, mean activation of each``.

The first appendix of Yosinski et al. 2015 sorts the filters of a first convolution into "oriented
Gabor edge filters of varying frequencies" and "blobs of color", and finds that "the average
activation values (after the rectifier) of the edge filters vary across filters, with low frequency
filters generally having much higher average activation values than high frequency filters". It
gives no rule for the sorting; ours is in `spectrum_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.statistics import write_csv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError, ModelError, UnknownNameError
from deepvis_caffe.figures.plots import new_figure, write_figure
from deepvis_caffe.figures.weights import layer_weights
from deepvis_caffe.image import Picture

Kind = Literal["edge", "colour edge", "blob", "empty"]
EDGES = ("edge", "colour edge")

SAMPLES = 64  # least points of the padded transform per axis: 1/64 cycle per pixel
BLOB_SHARE = 0.5  # of the spectrum's peak, from which power at frequency 0 makes a blob
GRAY_SHARE = 0.5  # of the filter's energy, from which the gray part makes an edge of brightness
EMPTY = 1e-3  # norm below which a filter has learned nothing, relative to the layer's largest


@dataclass(frozen=True)
class FilterSpectrum:
    """The spectrum of one filter.

    Attributes
    ----------
    unit
        Its channel.
    kind
        ``"edge"`` (of brightness), ``"colour edge"``, ``"blob"`` (which responds to patches of one
        color or brightness) or ``"empty"``.
    frequency
        The peak of the spectrum, in cycles per pixel, 0 to sqrt(1/2).
    angle
        The direction of that wave, degrees in [0, 180): 0 is a vertical edge, 90 a horizontal one.
    flat
        The power at frequency 0, as a fraction of the peak's.
    gray
        The fraction of the filter's energy that is equal in all channels.
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
        (filters, C, h, w), of a convolution with a kernel of more than one pixel.

    Raises
    ------
    ModelError
        The weights have another number of axes, or a kernel of one pixel.
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

    The power spectrum is the squared magnitude of the filter's 2-D Fourier transform, summed over
    channels: a filter from red to green is as much an edge as one from black to white. The filter
    is padded with zeros, to resolve frequencies between those of its few pixels. The dominant
    frequency is the spectrum's peak.

    A filter is a blob if its power at frequency 0 is at least half of the peak's: it responds to a
    patch of one color, over which the positive and negative parts of an edge filter cancel. An edge
    is a color edge if more than half of the filter's energy differs between channels. Photographs
    have little of that, so such filters respond weakly whatever their frequency.

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
    """The groups of kinds that can be compared: edges of brightness, and all edges.

    Raises
    ------
    ModelError
        There are none: the layer has fewer than two edge filters.
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
    """The `count` filters of lowest and of highest frequency; none is in both.

    Parameters
    ----------
    kinds
        Kinds of filters to choose from; `EDGES` are edges of brightness and of color.

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


COLOURS = {"edge": "tab:blue", "colour edge": "tab:green", "blob": "tab:orange"}
COLUMNS = ("unit", "kind", "frequency", "angle", "flat", "gray", "mean_activation")


def first_convolution(net: Net) -> str:
    """The first convolution that reads the image.

    Raises
    ------
    ModelError
        The net has none.
    """
    for layer in net.model.graph:
        if layer.type == "Convolution":
            return layer.name
    raise ModelError(f"net {net.model.graph.name!r} has no Convolution layer")


def filters_of(net: Net, layer: str) -> NDArray[np.float32]:
    """A convolution's weights, (filters, C, h, w)."""
    convolutions = [one.name for one in net.model.graph if one.type == "Convolution"]
    if layer not in convolutions:
        raise UnknownNameError("convolution", layer, convolutions)
    return layer_weights(net, layer).values


def mean_activations(
    net: Net,
    layer: str,
    images: Iterable[NDArray[Any]],
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Each channel's mean activation after the rectifier, over images and positions.

    Parameters
    ----------
    images
        (H, W, 3), RGB, or as the net's `Preprocessor` takes them; of any size.
    progress
        Called with the number of images done.

    Returns
    -------
    ndarray
        (channels,).

    Raises
    ------
    ImageError
        There are no images.
    """
    blob = net.model.graph.activation_name(layer)
    total, count = np.zeros(len(filters_of(net, layer))), 0
    for image in images:
        values = net.forward(net.preprocessor(image)[None], [blob])[blob][0]
        # An in-place ReLU has been applied to the blob already; any other one has not.
        total += np.maximum(values, 0).mean(axis=(1, 2), dtype=np.float64)
        count += 1
        if progress:
            progress(count)
    if not count:
        raise ImageError("there are no images to take activations from")
    return total / count


@dataclass(frozen=True)
class FrequencyComparison:
    """Filters of low and of high frequency compared.

    Attributes
    ----------
    kinds
        The kinds of filters compared.
    low, high
        The mean activation over the filters of lowest, and of highest frequency.
    counts
        The number of filters in `low` and in `high`.
    rank_correlation
        Spearman's, of frequency and activation, over all `filters` of these kinds; None if all have
        the same frequency or activation.
    filters
        How many these are.
    """

    kinds: tuple[str, ...]
    low: float
    high: float
    counts: tuple[int, int]
    rank_correlation: float | None
    filters: int


def compare_frequencies(
    spectra: Sequence[FilterSpectrum], means: NDArray[np.float64], count: int = 5
) -> list[FrequencyComparison]:
    """The appendix's comparison: for edges of brightness, then for all edges.

    Parameters
    ----------
    means
        See `mean_activations`.
    count
        How many filters to compare at either end.
    """
    from scipy.stats import spearmanr

    found = []
    for kinds in compared_kinds(spectra):
        ends = first_and_last(spectra, count, kinds)
        low, high = (float(means[[one.unit for one in some]].mean()) for some in ends)
        some = [one for one in spectra if one.kind in kinds]
        columns = [one.frequency for one in some], [float(means[one.unit]) for one in some]
        alike = min(len(set(column)) for column in columns) < 2
        rank = None if alike else float(spearmanr(*columns).statistic)
        counts = len(ends[0]), len(ends[1])
        found.append(FrequencyComparison(kinds, low, high, counts, rank, len(some)))
    return found


def write_table(path: Path, spectra: Sequence[FilterSpectrum], means: NDArray[np.float64]) -> Path:
    """Write a CSV file with a row per filter, in the order of the channels."""
    return write_csv(
        path,
        COLUMNS,
        [
            [
                one.unit,
                one.kind,
                *(
                    f"{value:.6g}"
                    for value in (one.frequency, one.angle, one.flat, one.gray, means[one.unit])
                ),
            ]
            for one in spectra
        ],
    )


def plot(
    path: Path,
    layer: str,
    spectra: Sequence[FilterSpectrum],
    means: NDArray[np.float64],
    pictures: Sequence[Picture],
    count: int = 5,
) -> Path:
    """Plot mean activation against frequency, drawing each filter as a picture.

    Parameters
    ----------
    path
        Ends in ``.png`` or another format of matplotlib's.
    pictures
        A small picture of each filter, see `deepvis_caffe.figures.weights`.
    count
        How many edge filters to compare at either end.

    Raises
    ------
    SettingsError
        matplotlib is not installed.
    ImageError
        The file cannot be written.
    """
    figure = new_figure(8, 5, "give --no-plot for the table alone")
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    axes = figure.subplots()
    for kind, colour in COLOURS.items():
        some = [one for one in spectra if one.kind == kind]
        where = [one.frequency for one in some], [means[one.unit] for one in some]
        axes.scatter(*where, s=380, marker="s", color=colour, label=f"{kind}s ({len(some)})")
    for one in spectra:
        if one.kind != "empty":
            small = OffsetImage(pictures[one.unit], zoom=15 / max(pictures[one.unit].shape[:2]))
            axes.add_artist(
                AnnotationBbox(small, (one.frequency, means[one.unit]), frameon=False, pad=0)
            )
    shown = [means[one.unit] for one in spectra if one.kind != "empty" and means[one.unit] > 0]
    kinds = compared_kinds(spectra)[0]
    floor = min(shown, default=1.0) / 4  # leaves room for the text below
    for name, some in zip(
        ("lowest", "highest"), first_and_last(spectra, count, kinds), strict=True
    ):
        level = float(np.mean([means[one.unit] for one in some]))
        ends = min(one.frequency for one in some), max(one.frequency for one in some)
        reach = max(0.03, (ends[1] - ends[0]) / 2)
        middle = sum(ends) / 2
        axes.plot([middle - reach, middle + reach], [level, level], color="black", linewidth=2.5)
        axes.text(
            middle,
            floor * 1.5,
            f"the {len(some)} edges of {name}\nfrequency: mean {level:.3g}",
            ha="center",
        )
    axes.set_yscale("log")
    axes.set_ylim(floor, max(shown, default=1.0) * 2)
    axes.set_xlabel("dominant spatial frequency of the filter (cycles a pixel)")
    axes.set_ylabel("mean activation after the rectifier")
    axes.set_title(f"{layer}: how strongly each filter responds to photographs")
    axes.legend(loc="upper right", markerscale=0.4)
    return write_figure(path, figure, dpi=150)

"""A first layer's filters: their spatial frequencies, and how strongly they answer to images.

The first appendix of Yosinski et al. 2015 sorts the filters of a first convolution into "oriented
Gabor edge filters of varying frequencies" and "blobs of color". It gives no rule; ours is below, in
`spectrum_of`.

The first appendix of Yosinski et al. 2015: "the average activation values (after the rectifier) of
the edge filters vary across filters, with low frequency filters generally having much higher
average activation values than high frequency filters".
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError, ModelError, UnknownNameError
from deepvis_caffe.figures.plots import new_figure, write_figure
from deepvis_caffe.files import whole_file
from deepvis_caffe.image import Picture

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
    return np.asarray(net.model.weights[layer][0])


def mean_activations(
    net: Net,
    layer: str,
    images: Iterable[Picture],
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Each channel's activation after the rectifier, mean over images and over the map.

    Parameters
    ----------
    images
        (H, W, 3), RGB, of any size.
    progress
        Called with the number of images that are done.

    Returns
    -------
    ndarray
        (channels,).

    Raises
    ------
    ImageError
        There are no images.
    """
    blob = net.model.graph.seed(layer).blob
    total, count = np.zeros(len(filters_of(net, layer))), 0
    for image in images:
        values = net.forward(net.preprocessor(image)[None], [blob])[blob][0]
        # A ReLU that works in place has been here already; one that does not comes later.
        total += np.maximum(values, 0).mean(axis=(1, 2), dtype=np.float64)
        count += 1
        if progress:
            progress(count)
    if not count:
        raise ImageError("there are no images to take activations from")
    return total / count


def write_table(path: Path, spectra: Sequence[FilterSpectrum], means: NDArray[np.float64]) -> Path:
    """Write one CSV row a filter, in the order of the channels."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for one in spectra:
                values = (one.frequency, one.angle, one.flat, one.gray, means[one.unit])
                writer.writerow([one.unit, one.kind, *(f"{value:.6g}" for value in values)])
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror}") from error
    return path


def plot(
    path: Path,
    layer: str,
    spectra: Sequence[FilterSpectrum],
    means: NDArray[np.float64],
    pictures: Sequence[Picture],
    count: int = 5,
) -> Path:
    """Draw mean activation against frequency, every filter as itself.

    Parameters
    ----------
    path
        Ends in ``.png`` or another of matplotlib's.
    pictures
        Each filter's, small.
    count
        How many edge filters at either end are compared.

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
    floor = min(shown, default=1.0) / 4  # room for what is written below
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
    axes.set_title(f"{layer}: how strongly each filter answers to photographs")
    axes.legend(loc="upper right", markerscale=0.4)
    return write_figure(path, figure, dpi=150)

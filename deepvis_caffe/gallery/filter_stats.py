"""How strongly a first layer's filters answer to images: ``(net, images) -> means``, and a plot.

The first appendix of Yosinski et al. 2015: "the average activation values (after the rectifier) of
the edge filters vary across filters, with low frequency filters generally having much higher
average activation values than high frequency filters".
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError, ModelError, UnknownNameError
from deepvis_caffe.files import whole_file
from deepvis_caffe.image import Picture
from deepvis_caffe.model.filters import FilterSpectrum, compared_kinds, first_and_last
from deepvis_caffe.plots import new_figure, write_figure

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

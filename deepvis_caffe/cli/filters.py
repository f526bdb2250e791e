"""``deepvis filters``: responses of the first layer's filters by spatial frequency."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.errors import ImageError
from deepvis_caffe.limits import MEGAPIXELS
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepvis_caffe.experiments.first_layer import FilterSpectrum

ORDER = ("edge", "colour edge", "blob", "empty")


@with_settings(MODEL)
def filters(
    settings: Settings,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder of photographs. Default: the samples of scikit-image."
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Convolution layer. Default: the first one.")
    ] = None,
    count: Annotated[
        int,
        typer.Option(min=1, help="Compare this many edge filters of lowest and highest frequency."),
    ] = 5,
    show_plot: Annotated[
        bool, typer.Option("--plot/--no-plot", help="Also draw a plot; needs matplotlib.")
    ] = True,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="CSV table to write; the plot is written next to it."),
    ] = Path("filters.csv"),
) -> None:
    """Compare low- and high-frequency filters of the first layer.

    Repeats the first appendix of the paper: the response of each filter to photographs (after the
    ReLU, averaged over images and positions) against its spatial frequency. Color blobs are
    detected and left out of the comparison of edges.
    """
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.experiments.first_layer import (
        compared_kinds,
        filter_spectra,
        filters_of,
        first_convolution,
        mean_activations,
        plot,
        write_table,
    )
    from deepvis_caffe.figures.weights import layer_weights

    paths = image_files(images) if images else None
    net = load_net(settings)
    name = layer or first_convolution(net)
    weights = filters_of(net, name)
    spectra = filter_spectra(weights)
    compared_kinds(spectra)  # fails before any work if there is nothing to compare
    with progress_bar(f"{name} on {net.engine}, {net.device}", "images") as report:
        number = len(paths) if paths else None
        photographs = read_all(paths, net.preprocessor.shape[0], settings.max_megapixels)
        means = mean_activations(net, name, photographs, lambda done: report(done, number))
    for line in table(spectra, means):
        typer.echo(line)
    typer.echo("")
    for line in summary(spectra, means, count):
        typer.echo(line)
    write_table(out, spectra, means)
    written = [str(out)]
    if show_plot:
        drawn = layer_weights(net, name)
        pictures = [drawn.picture(unit, zoom=1) for unit in range(len(weights))]
        written.append(str(plot(out.with_suffix(".png"), name, spectra, means, pictures, count)))
    typer.echo(f"wrote {' and '.join(written)}", err=True)


def table(spectra: list[FilterSpectrum], means: np.ndarray) -> Iterator[str]:
    """A line per filter: edges first, by frequency."""
    yield f"{'unit':>5}  {'kind':11}  {'cycles/pixel':>12}  {'angle':>5}  {'mean activation':>15}"
    for spectrum in sorted(
        spectra, key=lambda spectrum: (ORDER.index(spectrum.kind), spectrum.frequency)
    ):
        yield (
            f"{spectrum.unit:5d}  {spectrum.kind:11}  {spectrum.frequency:12.3f}  "
            f"{spectrum.angle:5.0f}  {means[spectrum.unit]:15.4g}"
        )


def summary(spectra: list[FilterSpectrum], means: np.ndarray, count: int) -> Iterator[str]:
    """The comparison of the appendix, as lines of text."""
    from deepvis_caffe.experiments.first_layer import EDGES, compare_frequencies

    kinds: list[str] = [spectrum.kind for spectrum in spectra]
    yield ", ".join(
        f"{kinds.count(kind)} {kind if kind == 'empty' else f'{kind}s'}"
        for kind in (*EDGES, "blob", "empty")
    )
    for compared in compare_frequencies(spectra, means, count):
        name = " and ".join(f"{kind}s" for kind in compared.kinds)
        factor = f", a factor of {compared.low / compared.high:.3g}" if compared.high else ""
        found = compared.rank_correlation
        rank = "none, because all are equal" if found is None else f"{found:.2f}"
        yield (
            f"{name}: mean activation {compared.low:.4g} for the {compared.counts[0]} of lowest "
            f"frequency, {compared.high:.4g} for the {compared.counts[1]} of highest{factor}; rank "
            f"correlation of frequency and activation over all {compared.filters}: {rank}"
        )


def image_files(folder: Path) -> list[Path]:
    """The image files in a folder, by name."""
    from deepvis_caffe.image import IMAGE_SUFFIXES, is_image

    if not folder.is_dir():
        raise ImageError(f"--images: there is no folder {folder}")
    found = sorted(path for path in folder.iterdir() if path.is_file() and is_image(path))
    if not found:
        raise ImageError(f"--images: {folder} contains no {', '.join(sorted(IMAGE_SUFFIXES))}")
    return found


def read_all(
    paths: list[Path] | None, channels: int, megapixels: float = MEGAPIXELS
) -> Iterator[NDArray[Any]]:
    """Read the images for a net; without paths, the photographs of scikit-image."""
    from deepvis_caffe.image import sample_image, sample_images
    from deepvis_caffe.image_channels import read_channels

    if paths is None:
        yield from map(sample_image, sample_images())
        return
    yield from (read_channels(path, channels, megapixels=megapixels) for path in paths)

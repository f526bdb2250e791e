"""``deepvis filters``: how strongly a first layer's filters answer, by spatial frequency."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.errors import ImageError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL

if TYPE_CHECKING:
    import numpy as np

    from deepvis_caffe.experiments.first_layer import FilterSpectrum
    from deepvis_caffe.image import Picture

ORDER = ("edge", "colour edge", "blob", "empty")


@with_settings(MODEL)
def filters(
    settings: Settings,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Photographs; by default the few that scikit-image has."
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="A convolution; by default the net's first.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Edge filters to compare at either end.")] = 5,
    show_plot: Annotated[
        bool, typer.Option("--plot/--no-plot", help="Draw it; needs matplotlib.")
    ] = True,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The table, .csv; the plot goes beside it.")
    ] = Path("filters.csv"),
) -> None:
    """Compare a first layer's filters of low and of high frequency.

    The paper's first appendix: how strongly each filter answers to photographs (after the
    rectifier, mean over images and places), against the spatial frequency that it looks for. Blobs
    of colour are told from edges and left out of the comparison.
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

    paths = image_files(images) if images else None
    net = load_net(settings)
    name = layer or first_convolution(net)
    weights = filters_of(net, name)
    spectra = filter_spectra(weights)
    compared_kinds(spectra)  # before any work: there is something to compare
    with progress_bar(f"{name} on {net.engine}, {net.device}", "images") as report:
        number = len(paths) if paths else None
        means = mean_activations(net, name, read_all(paths), lambda done: report(done, number))
    for line in table(spectra, means):
        typer.echo(line)
    typer.echo("")
    for said in summary(spectra, means, count):
        typer.echo(said)
    write_table(out, spectra, means)
    written = [str(out)]
    if show_plot:
        pictures = [filter_picture(weights[unit], net.preprocessor) for unit in range(len(weights))]
        written.append(str(plot(out.with_suffix(".png"), name, spectra, means, pictures, count)))
    typer.echo(f"wrote {' and '.join(written)}", err=True)


def table(spectra: list[FilterSpectrum], means: np.ndarray) -> Iterator[str]:
    """A line a filter: edges first, lowest frequency first."""
    yield f"{'unit':>5}  {'kind':11}  {'cycles/pixel':>12}  {'angle':>5}  {'mean activation':>15}"
    for one in sorted(spectra, key=lambda one: (ORDER.index(one.kind), one.frequency)):
        yield (
            f"{one.unit:5d}  {one.kind:11}  {one.frequency:12.3f}  {one.angle:5.0f}  "
            f"{means[one.unit]:15.4g}"
        )


def summary(spectra: list[FilterSpectrum], means: np.ndarray, count: int) -> Iterator[str]:
    """The comparison of the appendix, in words: edges of brightness, then all edges."""
    from scipy.stats import spearmanr

    from deepvis_caffe.experiments.first_layer import EDGES, compared_kinds, first_and_last

    kinds: list[str] = [one.kind for one in spectra]
    yield ", ".join(
        f"{kinds.count(kind)} {kind if kind == 'empty' else f'{kind}s'}"
        for kind in (*EDGES, "blob", "empty")
    )
    for chosen in compared_kinds(spectra):
        name = " and ".join(f"{kind}s" for kind in chosen)
        low, high = first_and_last(spectra, count, chosen)
        ends = [float(means[[one.unit for one in some]].mean()) for some in (low, high)]
        factor = f", a factor of {ends[0] / ends[1]:.3g}" if ends[1] else ""
        some = [one for one in spectra if one.kind in chosen]
        columns = [one.frequency for one in some], [float(means[one.unit]) for one in some]
        alike = min(len(set(column)) for column in columns) < 2
        rank = "none, for all are alike" if alike else f"{spearmanr(*columns).statistic:.2f}"
        yield (
            f"{name}: mean activation of the {len(low)} of lowest frequency {ends[0]:.4g}, of the "
            f"{len(high)} of highest {ends[1]:.4g}{factor}; rank correlation of frequency and "
            f"activation over all {len(some)}: {rank}"
        )


def filter_picture(filter_: np.ndarray, preprocessor: object) -> Picture:
    """One filter's weights as a small picture, 0 is mid-gray."""
    import numpy as np

    from deepvis_caffe.model.preprocess import Preprocessor

    assert isinstance(preprocessor, Preprocessor)
    channels, height, width = filter_.shape
    if channels != preprocessor.shape[0]:  # not of the first layer, or of a group
        filter_ = np.repeat(filter_.mean(axis=0, keepdims=True), preprocessor.shape[0], axis=0)
    # A mean image does not matter here, and would not fit.
    small = Preprocessor((len(filter_), height, width), None, preprocessor.channel_swap)
    return small.show_symmetric(filter_)


def image_files(folder: Path) -> list[Path]:
    """The pictures of a folder, in the order of their names."""
    from deepvis_caffe.image import SUFFIXES

    if not folder.is_dir():
        raise ImageError(f"--images: there is no folder {folder}")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ImageError(f"--images: {folder} holds no {', '.join(SUFFIXES)}")
    return found


def read_all(paths: list[Path] | None) -> Iterator[Picture]:
    """Each picture in turn; scikit-image's photographs without paths."""
    from deepvis_caffe.image import read_image, sample_image, sample_images

    if paths is None:
        yield from map(sample_image, sample_images())
        return
    yield from map(read_image, paths)

"""``deepvis weights LAYER``: a layer's weights as a picture, and their statistics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.model.unit_text import parse_unit_numbers
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL

if TYPE_CHECKING:
    from deepvis_caffe.image import Floats

LONGEST_BAR = 40  # characters


@with_settings(MODEL)
def weights(
    settings: Settings,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="Layer (or blob).")],
    units: Annotated[
        str | None,
        typer.Option(
            help="Units to draw: 5 or 130,366 or 0-99, or class names. Default: as many as fit in "
            "one picture."
        ),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(help="Scale colors by the largest weight of each unit, or of the layer."),
    ] = "unit",
    style: Annotated[
        str | None,
        typer.Option(
            help="image (in color), signed (red and blue) or gray. Default: image for units that "
            "read the image, else signed."
        ),
    ] = None,
    gallery: Annotated[
        bool,
        typer.Option(
            "--gallery",
            help="Also write a picture of each unit into the results folder, for the gallery page.",
        ),
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Image file to write.")] = Path(
        "weights.png"
    ),
) -> None:
    """Draw the weights of a layer, and print their statistics.

    Units that read the image are drawn in its colors, one patch each. Any other unit is a row of
    patches, one for each channel that it reads, or a square of them if it is drawn alone.
    """
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.figures.weights import LayerWeights, layer_weights
    from deepvis_caffe.image import write_image
    from deepvis_caffe.jobs.job import Job
    from deepvis_caffe.jobs.weights import write_weight_pictures
    from deepvis_caffe.model.kernels import WITH_KERNELS, weights_of
    from deepvis_caffe.model.weights import blob_name

    net = load_net(settings)
    own, blobs = weights_of(net.model, layer)
    found: LayerWeights | None = None
    if own.type in WITH_KERNELS or units or gallery:  # otherwise there are only statistics
        found = layer_weights(net, layer)
    chosen = None
    if found is not None:
        count, channels, *window = found.values.shape
        each = " x ".join(map(str, (f"{channels} channel{'s' * (channels != 1)}", *window)))
        typer.echo(f"{own.name} ({own.type}): {count} units, each {each}")
        chosen = parse_unit_numbers(units, count, net.named(layer)) if units else None
    else:
        typer.echo(f"{own.name} ({own.type})")
    for number, blob in enumerate(blobs):
        some = blob
        if chosen is not None and found is not None:
            if number > 0 and len(blob) != len(found.values):
                continue
            some = (found.values if number == 0 else blob)[chosen]
        for line in _described(blob_name(own.type, number), some):
            typer.echo(line)
    if found is None:
        return
    drawn = chosen[0] if chosen is not None and len(chosen) == 1 else chosen
    write_image(out, found.picture(drawn, scale, style))
    typer.echo(f"wrote {out}", err=True)
    if chosen is None and found.count_shown < len(found.values):
        typer.echo(
            f"it shows the first {found.count_shown} of {len(found.values)} units; --units chooses "
            "others",
            err=True,
        )
    if gallery:
        with progress_bar(f"weights of {layer}", "units") as report:
            job = Job(net, settings.results)
            folder = write_weight_pictures(job, layer, report)
        typer.echo(f"wrote {len(found.values)} units to {folder}", err=True)


def _described(name: str, weights: Floats) -> Iterator[str]:
    """A line of statistics of an array, and its histogram."""
    from deepvis_caffe.model.weight_statistics import weight_statistics

    known = weight_statistics(weights)
    shape = " x ".join(map(str, known.shape))
    zeros = f", {known.zeros} are 0" if known.zeros else ""
    yield (
        f"{name}, {shape}: mean {known.mean:.4g}, standard deviation {known.std:.4g}, from "
        f"{known.low:.4g} to {known.high:.4g}{zeros}"
    )
    if known.low == known.high:
        return
    most = max(known.counts)
    for count, low, high in zip(known.counts, known.edges, known.edges[1:], strict=False):
        bar = "#" * -(-count * LONGEST_BAR // most)
        yield f"  {low:10.4g} to {high:10.4g} {count:9d}  {bar}".rstrip()

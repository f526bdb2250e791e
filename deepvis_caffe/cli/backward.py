"""``deepvis backward IMAGE``: what in an image makes a unit respond."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.values import parse_position
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL

if TYPE_CHECKING:
    from deepvis_caffe.image import Picture


@with_settings(MODEL)
def backward(
    settings: Settings,
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE", help="An image file, or one of astronaut, chelsea, coffee, rocket."
        ),
    ],
    layer: Annotated[str, typer.Option(help="The unit's layer, or blob.")],
    unit: Annotated[int, typer.Option(help="Channel, from 0.")],
    mode: Annotated[str, typer.Option(help="gradient, deconv or guided.")] = "deconv",
    position: Annotated[
        str,
        typer.Option(
            help="all: start from the unit's whole activation map, as the live viewer does; y,x or "
            "center: from one place of it."
        ),
    ] = "all",
    view: Annotated[str, typer.Option(help="raw, gray, norm, blur or positive.")] = "raw",
    overlay: Annotated[
        Path | None, typer.Option(help="Write the image under a heat map here, too.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture.")] = Path("backward.png"),
) -> None:
    """Show what in an image makes a unit respond.

    Sends the unit's activation back down to the image and writes a picture of what arrives.
    """
    from deepvis_caffe.attribution.backward import unit_diff
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.figures.saliency import heat, show_diff
    from deepvis_caffe.figures.saliency import overlay as lay_over
    from deepvis_caffe.image import write_image
    from deepvis_caffe.model.labels import class_blob, read_labels, top_classes

    net = load_net(settings)
    labels = read_labels(settings.labels) if settings.labels else ()
    x = net.preprocessor(_read(image))[None]
    zeros = net.zero_inputs()
    if zeros:
        typer.echo(f"the net's other inputs are zero: {', '.join(zeros)}", err=True)
    blob = net.model.graph.seed(layer).blob
    blobs = dict.fromkeys([blob, *net.model.graph.outputs])
    values = net.forward({net.image_input(): x, **zeros}, blobs=blobs)
    diff, strongest = unit_diff(net, values[blob], layer, unit, mode, parse_position(position))
    write_image(out, show_diff(diff, net.preprocessor, view))
    if overlay:
        write_image(overlay, lay_over(net.preprocessor.show(x[0]), heat(diff)))
    typer.echo(f"{layer} unit {unit}: activation {strongest:.5g}")
    if not diff.any():
        typer.echo("nothing arrives at the image: the diff is zero everywhere", err=True)
    outputs = {name: values[name].shape for name in net.model.graph.outputs}
    if scored := class_blob(outputs, labels):
        typer.echo(f"{scored}:")
        for score, name in top_classes(values[scored], labels):
            typer.echo(f"{score:9.4f}  {name}")
    typer.echo(f"wrote {out}" + (f" and {overlay}" if overlay else ""), err=True)


def _read(image: str) -> Picture:
    from deepvis_caffe.image import read_image, sample_image, sample_images

    is_sample = image in sample_images() and not Path(image).exists()
    return sample_image(image) if is_sample else read_image(image)

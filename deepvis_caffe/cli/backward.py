"""``deepvis backward IMAGE``: a saliency map of one unit for one image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepvis_caffe.cli.flags import ImageArgument, UnitLayer, UnitNumber, labels_for, with_settings
from deepvis_caffe.cli.values import parse_position
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL

if TYPE_CHECKING:
    from numpy.typing import NDArray


@with_settings(MODEL)
def backward(
    settings: Settings,
    image: ImageArgument,
    layer: UnitLayer,
    unit: UnitNumber,
    mode: Annotated[
        str, typer.Option(help="Backward mode: gradient, deconv or guided.")
    ] = "deconv",
    position: Annotated[
        str,
        typer.Option(
            help="Where the backward pass starts: all (the unit's whole activation map, as in the "
            "viewer), center, or a position y,x."
        ),
    ] = "all",
    view: Annotated[
        str,
        typer.Option(help="Style of the result: raw, gray, norm, blur, positive, signed or heat."),
    ] = "raw",
    overlay: Annotated[
        Path | None,
        typer.Option(help="Also write the image with the saliency map as a heat map over it."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Image file to write.")] = Path(
        "backward.png"
    ),
) -> None:
    """Write a saliency map: the parts of an image that make a unit respond.

    Runs the image forward, then propagates the unit's activation back to the input by gradient,
    deconv (Zeiler and Fergus 2014) or guided backpropagation (Springenberg et al. 2015). Also
    prints the top classes.
    """
    from deepvis_caffe.attribution.backward import saliency_map
    from deepvis_caffe.attribution.pictures import heat, show_diff
    from deepvis_caffe.attribution.pictures import overlay as lay_over
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.image import write_image
    from deepvis_caffe.model.labels import class_blob, top_classes

    net = load_net(settings)
    labels = labels_for(settings, net)
    picture = named_image(image, net.preprocessor.shape[0], settings.max_megapixels)
    x = net.preprocessor(picture)[None]
    blob = net.model.graph.activation_name(layer)
    blobs = dict.fromkeys([blob, *net.outputs])
    values = net.forward({net.image_input(): x, **net.other_inputs(x)}, blobs=blobs)
    diff, strongest = saliency_map(net, values[blob], layer, unit, mode, parse_position(position))
    write_image(out, show_diff(diff, net.preprocessor, view))
    if overlay:
        write_image(overlay, lay_over(net.preprocessor.show(x[0]), heat(diff)))
    typer.echo(f"{layer} unit {unit}: activation {strongest:.5g}")
    if not diff.any():
        typer.echo("nothing arrives at the image: the diff is zero everywhere", err=True)
    outputs = {name: values[name].shape for name in net.outputs}
    if scored := class_blob(outputs, labels):
        typer.echo(f"{scored}:")
        for score, name in top_classes(values[scored], labels):
            typer.echo(f"{score:9.4f}  {name}")
    typer.echo(f"wrote {out}" + (f" and {overlay}" if overlay else ""), err=True)


def named_image(image: str, channels: int, megapixels: float) -> NDArray[Any]:
    """The image of a file, for a net of so many channels, or a photograph by its name."""
    from deepvis_caffe.image import sample_image, sample_images
    from deepvis_caffe.image_channels import read_channels

    is_sample = image in sample_images() and not Path(image).exists()
    if is_sample:
        return sample_image(image)
    return read_channels(image, channels, megapixels=megapixels)

"""``deepvis backward IMAGE``: a saliency map by one backward pass, and the top classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepvis_caffe.cli.flags import (
    ImageArgument,
    UnitLayer,
    UnitName,
    named_image,
    with_settings,
)
from deepvis_caffe.cli.values import chosen_unit, parse_position
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL


@with_settings(MODEL)
def backward(
    settings: Settings,
    image: ImageArgument,
    layer: UnitLayer,
    unit: UnitName,
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
        typer.Option(help="Also write the image with the saliency map overlaid as a heat map."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Image file to write.")] = Path(
        "backward.png"
    ),
) -> None:
    """Write a saliency map: the parts of an image that make a unit respond.

    Runs a forward pass, then propagates the unit's activation back to the input by gradient,
    deconv (Zeiler and Fergus 2014) or guided backpropagation (Springenberg et al. 2015). Also
    prints the top classes.
    """
    from deepvis_caffe.attribution.attribute import attribute
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.engines.rules import check_mode
    from deepvis_caffe.image import legible, write_image
    from deepvis_caffe.model.labels import class_blob, top_classes

    net = load_net(settings)
    at = parse_position(position)
    picture = named_image(image, net.preprocessor.shape[0], settings.max_megapixels)
    number = chosen_unit(net, layer, unit)
    found = attribute(net, picture, layer, number, check_mode(mode), at)
    write_image(out, legible(found.picture(view)))
    if overlay:
        write_image(overlay, legible(found.overlay()))
    typer.echo(f"{layer} unit {number}: activation {found.activation:.5g}")
    if not found.map.any():
        typer.echo("nothing propagates back to the image: the diff is zero everywhere", err=True)
    x = found.image[None]
    values = net.forward({net.image_input(): x, **net.other_inputs(x)}, net.outputs)
    outputs = {name: value.shape for name, value in values.items()}
    if scored := class_blob(outputs, net.labels):
        typer.echo(f"{scored}:")
        for score, name in top_classes(values[scored], net.labels):
            typer.echo(f"{score:9.4f}  {name}")
    typer.echo(f"wrote {out}" + (f" and {overlay}" if overlay else ""), err=True)

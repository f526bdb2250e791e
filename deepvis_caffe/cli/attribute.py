"""``deepvis attribute IMAGE``: which parts of an image made a unit respond, by any method."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Any

import typer

from deepvis_caffe.cli.flags import (
    ImageArgument,
    UnitLayer,
    UnitName,
    UnitPosition,
    named_image,
    with_settings,
)
from deepvis_caffe.cli.values import chosen_unit, parse_position
from deepvis_caffe.errors import DeepVisError, SettingsError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL


@with_settings(MODEL)
def attribute(
    settings: Settings,
    image: ImageArgument,
    layer: UnitLayer,
    unit: UnitName,
    method: Annotated[
        str,
        typer.Option(
            help="gradient, gradient_x_input, deconv, guided, integrated_gradients, smooth_grad, "
            "grad_cam, guided_grad_cam, occlusion, lrp_epsilon or lrp_z_plus."
        ),
    ] = "grad_cam",
    all_methods: Annotated[
        bool, typer.Option("--all-methods", help="Draw all methods side by side in one figure.")
    ] = False,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "-p",
            metavar="NAME=VALUE",
            help="Parameter of the method, such as steps=100 or baseline=black; can be repeated. "
            "With --all-methods, each method takes those that apply to it.",
        ),
    ] = None,
    position: UnitPosition = "all",
    view: Annotated[
        str | None,
        typer.Option(
            help="Style of the result: raw, gray, norm, blur, positive, signed or heat. Default: "
            "depends on the method."
        ),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(help="Also write the image with the result overlaid as a heat map."),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="File to write: .png, .jpg, or .npy for the numbers."),
    ] = Path("attribution.png"),
) -> None:
    """Show which parts of an image made a unit respond, by any of eleven methods.

    Gradients, integrated gradients, SmoothGrad, Grad-CAM, occlusion and layer-wise relevance
    propagation; docs/attribution.md explains what each of them shows.
    """
    from deepvis_caffe.attribution.attribute import METHODS
    from deepvis_caffe.attribution.attribute import attribute as attribute_to
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.figures.attributions import side_by_side
    from deepvis_caffe.image import legible, write_image

    given = dict(map(_parsed, parameter or ()))
    if all_methods and overlay:
        raise SettingsError("--overlay works with one method only: leave out --all-methods")
    net = load_net(settings)
    picture = named_image(image, net.preprocessor.shape[0], settings.max_megapixels)
    at, number = parse_position(position), chosen_unit(net, layer, unit)
    if not all_methods:
        found = attribute_to(net, picture, layer, number, method.replace("-", "_"), at, **given)
        if out.suffix.lower() == ".npy":
            found.save(out)
        else:
            write_image(out, legible(found.picture(view)))
        if overlay:
            write_image(overlay, legible(found.overlay()))
        typer.echo(f"{layer} unit {number}: activation {found.activation:.5g}")
        if not found.map.any():
            typer.echo("no part of the image contributed: the map is zero everywhere", err=True)
        typer.echo(f"wrote {out}" + (f" and {overlay}" if overlay else ""), err=True)
        return
    unknown = [name for name in given if not any(name in m.parameters for m in METHODS.values())]
    if unknown:
        raise SettingsError(f"--parameter: no method has a parameter named {unknown[0]!r}")
    results = []
    for name, entry in METHODS.items():
        applicable = {key: value for key, value in given.items() if key in entry.parameters}
        try:
            results.append(attribute_to(net, picture, layer, number, name, at, **applicable))
        except DeepVisError as error:
            if entry.everywhere:
                raise
            typer.echo(f"left out {entry.title}: {error}", err=True)
    write_image(out, side_by_side(results, f"{layer} unit {number}", view))
    typer.echo(f"{layer} unit {number}: activation {results[0].activation:.5g}")
    typer.echo(f"wrote {out}", err=True)


def _parsed(text: str) -> tuple[str, Any]:
    """``steps=100 -> ("steps", 100)``; a value that is not a Python literal is a string."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError(f"--parameter: got {text!r}, expected NAME=VALUE, as in steps=100")
    try:
        return name.strip(), ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name.strip(), value

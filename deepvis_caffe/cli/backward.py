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
    from deepvis_caffe.engines.base import Floats, Net
    from deepvis_caffe.image import Picture
    from deepvis_caffe.model.labels import Labels

TOP = 5


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
    view: Annotated[str, typer.Option(help="raw, gray, norm or blur.")] = "raw",
    overlay: Annotated[
        Path | None, typer.Option(help="Write the image under a heat map here, too.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture.")] = Path("backward.png"),
) -> None:
    """Show what in an image makes a unit respond.

    Sends the unit's activation back down to the image and writes a picture of what arrives.
    """
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.gallery.views import heat, show_diff
    from deepvis_caffe.gallery.views import overlay as lay_over
    from deepvis_caffe.image import write_image
    from deepvis_caffe.model.labels import read_labels

    net = load_net(settings)
    labels = read_labels(settings.labels) if settings.labels else ()
    x = net.preprocessor(_read(image))[None]
    diff, strongest = unit_diff(net, x, layer, unit, mode, position)
    write_image(out, show_diff(diff, net.preprocessor, view))
    if overlay:
        write_image(overlay, lay_over(net.preprocessor.show(x[0]), heat(diff)))
    typer.echo(f"{layer} unit {unit}: activation {strongest:.5g}")
    if not diff.any():
        typer.echo("nothing arrives at the image: the diff is zero everywhere", err=True)
    for line in top_classes(net, x, labels):
        typer.echo(line)
    typer.echo(f"wrote {out}" + (f" and {overlay}" if overlay else ""), err=True)


def unit_diff(
    net: Net, x: Floats, layer: str, unit: int, mode: str, position: str = "all"
) -> tuple[Floats, float]:
    """The diff of the image input for one unit of one image.

    Parameters
    ----------
    x
        (1, C, H, W), preprocessed.
    position
        ``"all"`` starts from the unit's activations, all places of its map at once, as the Deep
        Visualization Toolbox does; ``"center"`` or ``"y,x"`` from 1 at one place.

    Returns
    -------
    diff
        (C, H, W).
    activation
        The largest on the unit's map, or that of the one place.
    """
    import numpy as np

    from deepvis_caffe.optimizer.objective import check_units, resolve_position

    blob = net.model.graph.seed(layer).blob
    values = net.forward(x, blobs=[blob])[blob]
    check_units([unit], values.shape[1:], layer)
    where = resolve_position(parse_position(position), values.shape[1:], layer)
    diff = np.zeros_like(values)
    if where is None:
        diff[0, unit] = values[0, unit]
        activation = float(values[0, unit].max())
    else:
        diff[(0, unit, *where)] = 1
        activation = float(values[(0, unit, *where)])
    return net.backward(layer, diff, mode)[net.image_input()][0], activation


def top_classes(net: Net, x: Floats, labels: Labels) -> list[str]:
    """The net's first output where it is one number a class: a line for each of the largest."""
    from deepvis_caffe.model.labels import label_of

    blob = net.model.graph.outputs[0]
    scores = net.forward(x, blobs=[blob])[blob][0]
    if scores.shape[:1] != (scores.size,):  # maps, or nothing that counts images
        return []
    scores = scores.reshape(-1)
    return [
        f"{scores[unit]:9.4f}  {label_of(labels, unit, scores.size) or f'unit {unit}'}"
        for unit in (-scores).argsort(kind="stable")[:TOP]
    ]


def _read(image: str) -> Picture:
    from deepvis_caffe.image import read_image, sample_image, sample_images

    is_sample = image in sample_images() and not Path(image).exists()
    return sample_image(image) if is_sample else read_image(image)

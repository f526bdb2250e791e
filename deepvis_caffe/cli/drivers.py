"""``deepvis drivers IMAGE``: the units of the layers below that raise and lower a unit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepvis_caffe.cli.flags import UnitLayer, UnitName, UnitPosition, named_image, with_settings
from deepvis_caffe.cli.values import chosen_unit, parse_position
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL

if TYPE_CHECKING:
    from deepvis_caffe.attribution.weight_drivers import Means
    from deepvis_caffe.engines.base import Net


@with_settings(MODEL)
def drivers(
    settings: Settings,
    layer: UnitLayer,
    unit: UnitName,
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="[IMAGE]",
            help="Image file, or the name of a sample photograph: astronaut, chelsea (a cat), "
            "coffee or rocket. Without it, drivers are computed from the weights, and from the "
            "mean activations that `deepvis top-images` measured, if there are any.",
        ),
    ] = None,
    position: UnitPosition = "all",
    below: Annotated[
        str | None,
        typer.Option(help="Layers to look at instead of those that --reach finds: a,b,c."),
    ] = None,
    reach: Annotated[
        str,
        typer.Option(
            help="How far down to look: nearest (the nearest convolutions and inner products) or "
            "stage (the last layers of the stage below, which has a different resolution)."
        ),
    ] = "nearest",
    count: Annotated[int, typer.Option(help="How many units to list.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Also write a figure, .png or .jpg, of the units' maps, and of their optimized "
            "images and top images if the results folder has them.",
        ),
    ] = None,
) -> None:
    """Show which units of the layers below raise and lower a unit most.

    The contribution of a unit is the sum over its map of gradient times activation;
    docs/attribution.md explains when that is exact. With --reach stage, a few calls lead from a
    class down to the edges of the first layer.
    """
    from deepvis_caffe.engines.load import load_net

    if image is None and (out or below or position != "all" or reach != "nearest"):
        raise SettingsError("--out, --below, --reach and --position need an image: give one")
    net = load_net(settings)
    number = chosen_unit(net, layer, unit)
    if image is None:
        _by_weights(net, layer, number, _means(settings), count, as_json)
        return
    from deepvis_caffe.attribution.drivers import check_reach
    from deepvis_caffe.attribution.drivers import drivers as drivers_of
    from deepvis_caffe.figures.drivers import drivers_figure
    from deepvis_caffe.image import write_image

    names = [name.strip() for name in below.split(",")] if below else None
    picture = named_image(image, net.preprocessor.shape[0], settings.max_megapixels)
    at, far = parse_position(position), check_reach(reach)
    found = drivers_of(net, picture, layer, number, at, names, count, far)
    if as_json:
        typer.echo(json.dumps(found.record(), indent=1))
    else:
        typer.echo(f"{layer} unit {number}: activation {found.activation:.5g}")
        rows = [
            (driver.layer, str(driver.unit), f"{driver.contribution:+.4g}", f"{driver.share:+.1%}")
            for driver in found
        ]
        _print_table(("layer", "unit", "adds", "share"), rows)
        listed = sum(driver.contribution for driver in found)
        typer.echo(
            f"these {len(found)}: {listed:.5g}; all units: {found.total:.5g}; biases and the "
            f"like: {found.rest:.5g}; score: {found.score:.5g}"
        )
    if out:
        from deepvis_caffe.results.layout import net_folders
        from deepvis_caffe.results.unit_pictures import read_unit_pictures

        units = [(driver.layer, driver.unit) for driver in found]
        known = read_unit_pictures(settings.results, units, net_folders(net.model.graph))
        write_image(out, drivers_figure(found, known.optimized, known.top))
        typer.echo(f"wrote {out}", err=True)


def _by_weights(net: Net, layer: str, unit: int, means: Means, count: int, as_json: bool) -> None:
    from deepvis_caffe.attribution.weight_drivers import drivers_by_weights

    found = drivers_by_weights(net, layer, unit, means, count)
    if as_json:
        typer.echo(json.dumps(found.record(), indent=1))
        return
    typer.echo(f"{layer} unit {unit}, by weights" + " and mean activations" * found.has_means)
    head = ("layer", "unit", "adds", "weight", "positive", "negative", "mean")
    rows = [
        (
            *(
                driver.layer,
                str(driver.unit),
                f"{driver.contribution:+.4g}",
                f"{driver.weight:+.4g}",
            ),
            *(f"{driver.positive:.4g}", f"{driver.negative:.4g}"),
            *([] if driver.mean is None else [f"{driver.mean:.4g}"]),
        )
        for driver in found
    ]
    _print_table(head if found.has_means else head[:-1], rows)


def _means(settings: Settings) -> Means:
    """The mean activations in the scan of the results folder; empty if there is no scan."""
    from deepvis_caffe.dataset.scan_file import read_scan
    from deepvis_caffe.results.layout import scan_path

    path = scan_path(settings.results)
    return read_scan(path)[0].means if path.is_file() else {}


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns of text, the first left-aligned, the others right-aligned."""
    cells = [head, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        first, *others = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        )
        typer.echo("  ".join([first, *others]).rstrip())

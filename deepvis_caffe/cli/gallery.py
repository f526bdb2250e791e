"""``deepvis gallery DIR``: a static web page for browsing a results folder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL

if TYPE_CHECKING:
    from deepvis_caffe.results.index import Results

MOST_SKIPPED = 5  # lines
USED = ("prototxt", "weights")
UNUSED = tuple(
    name
    for name, field in Settings.model_fields.items()
    if isinstance(field.json_schema_extra, dict)
    and field.json_schema_extra["group"] == MODEL
    and name not in USED
)


@with_settings(MODEL, load=False, leave_out=UNUSED)
def gallery(
    read_settings: Callable[[], Settings],
    settings_file: Path | None,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Results folder. Default: `results` in the settings."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="<file>", help="HTML file to write. Default: DIR/index.html."
        ),
    ] = None,
) -> None:
    """Write a web page for browsing a results folder.

    The page opens from disk, without a server or a network. It shows the results of `deepvis
    optimize` and `deepvis top-images`, and those of the Deep Visualization Toolbox. If the settings
    name the net, it begins with a diagram of the net, and shows which units of the layers below
    drive each unit. It links to the images; run the command again when there are new ones.
    """
    from deepvis_caffe.page.page import write_page
    from deepvis_caffe.results.additions import with_statistics
    from deepvis_caffe.results.index import read_results

    read_settings = functools.cache(read_settings)  # so that warnings appear only once
    folder = folder or read_settings().results
    with progress_bar(f"reading {folder}", "files") as report:
        results = read_results(folder, report)
    results = _with_net(with_statistics(results), read_settings)
    path = write_page(results, out)
    for line in results.skipped[:MOST_SKIPPED]:
        typer.echo(f"left out: {line}", err=True)
    more = len(results.skipped) - MOST_SKIPPED
    if more > 0:
        typer.echo(f"left out: {more:,} more; the page lists them all", err=True)
    units = sum(len(layer.units) for layer in results.layers)
    typer.echo(f"{units:,} units of {len(results.layers):,} layers; open the page:", err=True)
    typer.echo(path)


def _with_net(results: Results, read_settings: Callable[[], Settings]) -> Results:
    """Add the net's structure and weights to the results, if the settings name a readable net."""
    from deepvis_caffe.engines.load import load_layers
    from deepvis_caffe.results.additions import with_drivers, with_net

    try:
        settings = read_settings()
        if settings.prototxt is None:
            return results
        results = with_net(results, load_layers(settings), settings.pictures_from)
    except DeepVisError as error:  # the page works without the net
        typer.echo(f"left out the structure of the net: {error}", err=True)
        return results
    if settings.weights is None:
        return results
    try:
        return with_drivers(results, load_layers(settings, with_weights=True))
    except DeepVisError as error:
        typer.echo(f"left out the drivers of the units: {error}", err=True)
        return results

"""``deepvis stats``: what a pass over a dataset says of each unit, as tables and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.top_images import FOLDER
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL

USED = ("labels", "results")
UNUSED = tuple(
    name
    for name, field in Settings.model_fields.items()
    if isinstance(field.json_schema_extra, dict)
    and field.json_schema_extra["group"] == MODEL
    and name not in USED
)


@with_settings(MODEL, leave_out=UNUSED)
def stats(
    settings: Settings,
    layers: Annotated[str, typer.Option(help="Layers: a,b,c, or all that were looked at.")] = "all",
    plots: Annotated[bool, typer.Option(help="Draw each layer, too.")] = True,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for tables and plots.", show_default="RESULTS"),
    ] = None,
) -> None:
    """Write what `deepvis top-images` found of each unit: a CSV table and a plot a layer.

    Mean and spread, share of zeros, how often it is active, dead units; and where they were kept,
    the unit that it goes with most, and how selective it is for one class.
    """
    from deepvis_caffe.dataset.statistics import unit_rows, write_skipped, write_table
    from deepvis_caffe.figures.plots import plot_layer
    from deepvis_caffe.model.labels import read_labels
    from deepvis_caffe.results.scan_file import read_scan
    from deepvis_caffe.results.store import folder_name

    labels = read_labels(settings.labels) if settings.labels else ()
    scan, _ = read_scan(settings.results / FOLDER / "scan.npz")
    names = list(scan.layers) if layers == "all" else [one.strip() for one in layers.split(",")]
    for name in names:
        if name not in scan.layers:
            raise SettingsError(
                f"--layers: {name!r} was not looked at; there are {', '.join(scan.layers)}"
            )
    folder = out or settings.results / FOLDER
    typer.echo(f"{'layer':24} {'units':>6} {'dead':>5} {'zeros':>6} {'strongest':>10}")
    for name in names:
        rows = unit_rows(scan, name, labels)
        write_table(folder / f"{folder_name(name)}.csv", rows)
        if plots:
            plot_layer(folder / f"{folder_name(name)}.png", scan, name)
        zeros = sum(row.zeros for row in rows) / len(rows)
        strongest = max(row.highest for row in rows)
        dead = sum(row.dead for row in rows)
        typer.echo(f"{name:24} {len(rows):6,} {dead:5,} {zeros:6.1%} {strongest:10.4g}")
    if scan.skipped:
        write_skipped(folder / "skipped.csv", scan)
        typer.echo(
            f"{len(scan.skipped):,} images could not be used: {folder}/skipped.csv", err=True
        )
    typer.echo(f"{scan.images:,} images; tables{' and plots' * plots} in {folder}", err=True)

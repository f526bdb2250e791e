"""``deepvis stats``: statistics of each unit over a dataset, as tables and plots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.errors import DeepVisError, SettingsError
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
    layers: Annotated[str, typer.Option(help="Layers: a,b,c, or all that were scanned.")] = "all",
    plots: Annotated[bool, typer.Option(help="Also plot each layer.")] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the tables and plots. Default: RESULTS/dataset."
        ),
    ] = None,
) -> None:
    """Write the statistics of each unit that `deepvis top-images` collected.

    One CSV table and one plot per layer: mean and standard deviation, fraction of zeros, how often
    a unit is active, dead units. If the scan recorded them: the most correlated unit, and the class
    selectivity.
    """
    from deepvis_caffe.dataset.scan_file import read_scan
    from deepvis_caffe.dataset.statistics import unit_rows, write_skipped, write_table
    from deepvis_caffe.figures.plots import plot_layer
    from deepvis_caffe.model.labels import read_labels
    from deepvis_caffe.results import layout

    labels = read_labels(settings.labels) if settings.labels else ()
    scan, _ = read_scan(layout.scan_path(settings.results))
    names = list(scan.layers) if layers == "all" else [name.strip() for name in layers.split(",")]
    for name in names:
        if name not in scan.layers:
            raise SettingsError(
                f"--layers: {name!r} was not scanned; scanned layers: {', '.join(scan.layers)}"
            )
    may_have = _class_layers(settings)
    folder = out or layout.scan_folder(settings.results)
    folders = layout.folders_apart({name: name for name in scan.layers})
    typer.echo(f"{'layer':24} {'units':>6} {'dead':>5} {'zeros':>6} {'strongest':>10}")
    for name in names:
        rows = unit_rows(scan, name, labels if may_have(name) else ())
        write_table(layout.statistics_table(folder, name, folders), rows)
        if plots:
            plot_layer(layout.statistics_plot(folder, name, folders), scan, name)
        zeros = sum(row.zeros for row in rows) / len(rows)
        strongest = max(row.highest for row in rows)
        dead = sum(row.dead for row in rows)
        typer.echo(f"{name:24} {len(rows):6,} {dead:5,} {zeros:6.1%} {strongest:10.4g}")
    if scan.skipped:
        path = layout.skipped_table(folder)
        write_skipped(path, scan)
        typer.echo(f"{len(scan.skipped):,} images could not be used: {path}", err=True)
    typer.echo(f"{scan.images:,} images; tables{' and plots' * plots} in {folder}", err=True)


def _class_layers(settings: Settings) -> Callable[[str], bool]:
    """A predicate: whether a layer's units may be the classes; True if unknown."""
    from deepvis_caffe.model.labels import class_values
    from deepvis_caffe.model.model import load_model

    if settings.labels is None or settings.prototxt is None:
        return lambda layer: True
    try:
        model = load_model(settings.prototxt, None, need_weights=False)
    except DeepVisError:  # statistics do not need the net
        return lambda layer: True
    graph, classes = model.graph, class_values(model.opaque.running)

    def is_class_layer(layer: str) -> bool:
        try:
            return graph.activation(layer) in classes
        except DeepVisError:  # of another net
            return True

    return is_class_layer

"""``deepvis layer-figure LAYER``: a labelled figure of a layer's units, from results on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.hints import command
from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.settings import Settings

if TYPE_CHECKING:
    from deepvis_caffe.model.labels import Labels
    from deepvis_caffe.results.store import SavedRun


@with_settings()
def layer_figure(
    settings: Settings,
    layer: Annotated[
        str, typer.Argument(metavar="LAYER", help="Layer, as it was named for `deepvis optimize`.")
    ],
    units: Annotated[
        str,
        typer.Option(help="Units: 130,366 or 0-99 or all (that have images), or class names."),
    ] = "all",
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the image to show. Default: the first seed of each unit."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Recipe of the images, by folder name, such as preset3. Default: the best one of "
            "each unit."
        ),
    ] = None,
    columns: Annotated[
        int | None,
        typer.Option(min=1, help="Units per row. Default: chosen to make the figure about 4:3."),
    ] = None,
    cell: Annotated[
        int, typer.Option(min=16, help="Size of an image in the figure, in pixels.")
    ] = 96,
    labels: Annotated[
        bool, typer.Option("--labels/--no-labels", help="Show the number and name of each unit.")
    ] = True,
    results: Annotated[
        Path | None, typer.Option(help="Results folder. Default: the one in the settings.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Figure to write, .png or .jpg. Default: in the results folder."
        ),
    ] = None,
) -> None:
    """Draw one labelled figure of all units of a layer, from results on disk.

    As in the supplement of the paper: one image for each unit that `deepvis optimize` has
    finished. Needs no model; nothing is computed.
    """
    from deepvis_caffe.figures.figure import Cell, grid
    from deepvis_caffe.image import write_image
    from deepvis_caffe.model.labels import unit_of
    from deepvis_caffe.model.unit_text import parse_unit_numbers
    from deepvis_caffe.results import layout
    from deepvis_caffe.results.store import ResultStore

    folder = results or settings.results
    store = ResultStore(folder, layout.existing_folders(folder, layer))
    by_unit: dict[int, list[SavedRun]] = {}
    for run in store.saved_runs(layer, recipe):
        if isinstance(run.unit, int):
            by_unit.setdefault(run.unit, []).append(run)
    if not by_unit:
        if recipe and (known := store.recipes(layer)):
            raise UnknownNameError("recipe", recipe, known, str(store.layer_folder(layer)))
        raise SettingsError(
            f"{store.layer_folder(layer)} holds no results of layer {layer!r}; make them with: "
            f"{command('optimize', layer)}"
        )
    labelled = recorded_labels(by_unit)
    named = partial(unit_of, labelled, layer=layer) if any(labelled) else None
    wanted = list(by_unit) if units == "all" else parse_unit_numbers(units, named=named)
    fitting = {
        unit: [run for run in by_unit.get(unit, ()) if seed in (None, run.seed)] for unit in wanted
    }
    chosen = [runs[0] for runs in fitting.values() if runs]
    if not chosen:
        raise SettingsError(
            f"{store.layer_folder(layer)} holds none of the requested units of layer {layer!r}"
            + ("" if seed is None else f" with seed {seed}")
        )
    cells = [
        Cell(run.store.cell(layer, run.unit, run.seed), caption(run) if labels else ())
        for run in chosen
    ]
    title = f"{layer}: {len(cells)} units" if labels else ""
    path = out or layout.layer_figure(store.folder, layer, store.folders)
    write_image(path, grid(cells, columns or wide(len(cells)), cell, title))
    typer.echo(f"wrote {path}: {len(cells)} units", err=True)
    left_out = len(wanted) - len(chosen)
    if left_out:
        typer.echo(f"left out {left_out} units without images", err=True)


def recorded_labels(runs: Mapping[int, Sequence[SavedRun]]) -> Labels:
    """The labels of a layer's units, from the records of its runs; empty if unknown."""
    labels = [""] * (max(runs) + 1)
    for unit, some in runs.items():
        label = _record(some[0]).get("label")
        labels[unit] = label if isinstance(label, str) else ""
    return tuple(labels)


def _record(run: SavedRun) -> Mapping[str, Any]:
    from deepvis_caffe.results.records import read_record

    return read_record(run.store.record(run.layer, run.unit, run.seed)) or {}


def caption(run: SavedRun) -> tuple[str, ...]:
    """A unit's number, and its label if it has one."""
    from deepvis_caffe.model.labels import short_label

    label = _record(run).get("label")
    return (f"{run.unit} {short_label(label)}" if label else str(run.unit),)


def wide(count: int) -> int:
    """The number of columns that makes a figure about four by three."""
    return max(1, round((count * 4 / 3) ** 0.5))

"""``deepvis layer-figure LAYER``: a labelled figure of a layer's units, from results on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings

if TYPE_CHECKING:
    from deepvis_caffe.model.labels import Labels
    from deepvis_caffe.results.store import ResultStore


@with_settings()
def layer_figure(
    settings: Settings,
    layer: Annotated[
        str, typer.Argument(metavar="LAYER", help="Layer, as it was named for `deepvis optimize`.")
    ],
    units: Annotated[
        str,
        typer.Option(help="Units: 130,366 or 0-99 or all that have images, classes also by name."),
    ] = "all",
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the image to show. Default: the first one of each unit."),
    ] = None,
    columns: Annotated[
        int | None,
        typer.Option(min=1, help="Units per row. Default: such that the figure is about 4:3."),
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
    there = store.runs(layer)
    if not there:
        raise SettingsError(
            f"{store.layer_folder(layer)} holds no results of layer {layer!r}; make them with: "
            f"deepvis optimize {layer}"
        )
    labelled = recorded_labels(store, there, layer)
    named = partial(unit_of, labelled, layer=layer) if any(labelled) else None
    wanted = list(there) if units == "all" else parse_unit_numbers(units, named=named)
    chosen = {
        unit: there[unit][0] if seed is None else seed
        for unit in wanted
        if unit in there and (seed is None or seed in there[unit])
    }
    if not chosen:
        raise SettingsError(
            f"{store.layer_folder(layer)} holds none of these units of layer {layer!r}"
            + ("" if seed is None else f" with seed {seed}")
        )
    cells = [
        Cell(store.cell(layer, unit, one), caption(store, layer, unit, one) if labels else ())
        for unit, one in chosen.items()
    ]
    title = f"{layer}: {len(cells)} units" if labels else ""
    path = out or layout.layer_figure(store.folder, layer, store.folders)
    write_image(path, grid(cells, columns or wide(len(cells)), cell, title))
    typer.echo(f"wrote {path}: {len(cells)} units", err=True)
    left_out = len(wanted) - len(chosen)
    if left_out:
        typer.echo(f"{left_out} units are not there and are left out", err=True)


def recorded_labels(store: ResultStore, runs: Mapping[int, Sequence[int]], layer: str) -> Labels:
    """The names of a layer's units, as the records of its runs have them; empty where unknown."""
    from deepvis_caffe.results.records import read_record

    labels = [""] * (max(runs) + 1)
    for unit, seeds in runs.items():
        label = (read_record(store.record(layer, unit, seeds[0])) or {}).get("label")
        labels[unit] = label if isinstance(label, str) else ""
    return tuple(labels)


def caption(store: ResultStore, layer: str, unit: int, seed: int) -> tuple[str, ...]:
    """A unit's number, and its name where it has one."""
    from deepvis_caffe.model.labels import short_label
    from deepvis_caffe.results.records import read_record

    label = (read_record(store.record(layer, unit, seed)) or {}).get("label")
    return (f"{unit} {short_label(label)}" if label else str(unit),)


def wide(count: int) -> int:
    """Columns that make a page about four by three."""
    return max(1, round((count * 4 / 3) ** 0.5))

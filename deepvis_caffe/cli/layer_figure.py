"""``deepvis layer-figure LAYER``: one labelled picture of a layer's units, from results on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.values import parse_unit_numbers
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings


@with_settings()
def layer_figure(
    settings: Settings,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="As it was given to optimize.")],
    units: Annotated[str, typer.Option(help="130,366 or 0-99 or all that are there.")] = "all",
    seed: Annotated[
        int | None, typer.Option(help="Which picture of each unit; by default its first.")
    ] = None,
    columns: Annotated[
        int | None, typer.Option(min=1, help="Units a row; by default a wide page.")
    ] = None,
    cell: Annotated[int, typer.Option(min=16, help="Size of a picture, pixels.")] = 96,
    labels: Annotated[
        bool, typer.Option("--labels/--no-labels", help="Write each unit's number and name.")
    ] = True,
    results: Annotated[
        Path | None, typer.Option(help="Folder of the results; by default the settings'.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The figure, .png or .jpg; by default in the results."),
    ] = None,
) -> None:
    """Draw all units of a layer, labelled, from results on disk.

    The paper's supplement: one picture for each unit that `deepvis optimize` has made. Nothing is
    computed, and no net is needed.
    """
    from deepvis_caffe.figures.figure import Cell, grid
    from deepvis_caffe.image import write_image
    from deepvis_caffe.results.store import ResultStore, folder_name

    store = ResultStore(results or settings.results)
    there = store.runs(layer)
    if not there:
        raise SettingsError(
            f"{store.layer_folder(layer)} holds no results of layer {layer!r}; make them with: "
            f"deepvis optimize {layer}"
        )
    wanted = list(there) if units == "all" else parse_unit_numbers(units)
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
    path = out or store.folder / "layers" / f"{folder_name(layer)}.png"
    write_image(path, grid(cells, columns or wide(len(cells)), cell, title))
    typer.echo(f"wrote {path}: {len(cells)} units", err=True)
    left_out = len(wanted) - len(chosen)
    if left_out:
        typer.echo(f"{left_out} units are not there and are left out", err=True)


def caption(store: object, layer: str, unit: int, seed: int) -> tuple[str, ...]:
    """A unit's number, and its name where it has one."""
    from deepvis_caffe.results.records import read_record
    from deepvis_caffe.results.store import ResultStore

    assert isinstance(store, ResultStore)
    label = (read_record(store.record(layer, unit, seed)) or {}).get("label")
    return (f"{unit} {label.split(',')[0]}" if label else str(unit),)


def wide(count: int) -> int:
    """Columns that make a page about four by three."""
    return max(1, round((count * 4 / 3) ** 0.5))

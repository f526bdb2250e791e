"""``deepvis sweep LAYER --unit U``: each regularizer alone, from none to too strong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.cli.values import parse_numbers, parse_position
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL, OPTIMIZER

if TYPE_CHECKING:
    from deepvis_caffe.experiments.sweep import SweepRow
    from deepvis_caffe.experiments.variants import Variants
    from deepvis_caffe.figures.figure import Row

VALUES = "Values, in place of an even sweep"


def _values(help_: str) -> Any:
    return typer.Option(help=help_, rich_help_panel=VALUES, show_default=False, metavar="0,V,V,...")


@with_settings(MODEL, OPTIMIZER, leave_out=("preset", "presets_file", "seeds", "batch_size"))
def sweep(
    settings: Settings,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="The unit's layer, or blob.")],
    unit: Annotated[int, typer.Option(help="Channel, from 0.")],
    columns: Annotated[int, typer.Option(help="Pictures a row.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the first image, the same for all.")] = 0,
    position: Annotated[
        str, typer.Option(help="Where on the unit's map: center, y,x or all of it.")
    ] = "center",
    decay: Annotated[str | None, _values("L2 decay.")] = None,
    blur_width: Annotated[str | None, _values("Blur's sigma, pixels; every 4 steps.")] = None,
    norm_percentile: Annotated[str | None, _values("Clipping of small norms.")] = None,
    contribution_percentile: Annotated[
        str | None, _values("Clipping of small contributions.")
    ] = None,
    cell: Annotated[int, typer.Option(min=16, help="Size of a picture, pixels.")] = 160,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The figure, .png or .jpg; by default in the results."),
    ] = None,
) -> None:
    """Draw what each of the four regularizers does alone.

    One row each, from none to too strong: the paper's regularization figure. Under each picture
    stand the regularizer's value and the activation that was reached. A record of all of it is
    written beside the figure. Pictures that are there already are not made again.
    """
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.experiments.sweep import sweep as sweep_rows
    from deepvis_caffe.experiments.variants import Variants
    from deepvis_caffe.figures.figure import figure
    from deepvis_caffe.image import write_image
    from deepvis_caffe.model.labels import read_labels
    from deepvis_caffe.optimizer import ascent_params
    from deepvis_caffe.results.records import write_record
    from deepvis_caffe.results.store import folder_name

    given = {
        "decay": decay,
        "blur_width": blur_width,
        "norm_percentile": norm_percentile,
        "contribution_percentile": contribution_percentile,
    }
    values = {
        name: parse_numbers(text, f"--{name.replace('_', '-')}")
        for name, text in given.items()
        if text is not None
    }
    # Preset 3 for its rate alone: of its regularizers none is kept.
    base = ascent_params(3, settings.rate, settings.iterations)
    rows = sweep_rows(base, columns, values)
    labels = read_labels(settings.labels) if settings.labels else ()
    net = load_net(settings)
    folder = settings.results / "sweep"
    variants = Variants(
        net, settings.results, layer, [unit], [seed], parse_position(position), labels
    )
    with progress_bar(f"{layer} on {net.engine}, {net.device}", "image steps") as report:
        variants.make((params for row in rows for params in row.params), report)
    path = out or folder / f"{folder_name(layer)}_{unit:04d}_{seed}.png"
    write_image(path, figure(figure_rows(variants, rows), cell, title_of(variants, rows)))
    write_record(path.with_suffix(".json"), record_of(variants, rows))
    for row in rows:
        reached = ", ".join(
            f"{row.axis.show(value)}: {_reached(variants, params)}"
            for value, params in zip(row.values, row.params, strict=True)
        )
        typer.echo(f"{row.axis.title}: activation at {reached}")
    typer.echo(f"wrote {path} and {path.with_suffix('.json').name}", err=True)


def title_of(variants: Variants, rows: list[SweepRow]) -> str:
    """The line above the figure."""
    steps = rows[0].params[0].iterations
    (unit,), (seed,) = variants.units, variants.seeds
    return (
        f"{variants.title(unit)}: each regularizer alone; value, and activation a after {steps} "
        f"steps (seed {seed})"
    )


def figure_rows(variants: Variants, rows: list[SweepRow]) -> list[Row]:
    """The figure's rows, from what is on disk."""
    from deepvis_caffe.figures.figure import Cell, Row

    (unit,), (seed,) = variants.units, variants.seeds
    return [
        Row(
            [
                Cell(
                    variants.cell(params, unit, seed),
                    (
                        row.axis.show(value) if value else "none",
                        f"a = {_reached(variants, params)}",
                    ),
                )
                for value, params in zip(row.values, row.params, strict=True)
            ],
            row.axis.title,
        )
        for row in rows
    ]


def record_of(variants: Variants, rows: list[SweepRow]) -> dict[str, Any]:
    """What is written beside the figure: every value with its parameters and activation."""
    (unit,), (seed,) = variants.units, variants.seeds
    return {
        "layer": variants.layer,
        "unit": unit,
        "seed": seed,
        "label": variants.label(unit),
        "rows": [
            {
                "title": row.axis.title,
                "parameter": row.axis.parameter,
                "pictures": [
                    {
                        "value": value,
                        "activation": (record := variants.record(params, unit, seed))["best_value"],
                        "stop": record["stop"],
                        "params": params.record(),
                        "picture": str(
                            variants.store(params)
                            .picture(variants.layer, unit, seed, "best_X")
                            .relative_to(variants.folder)
                        ),
                    }
                    for value, params in zip(row.values, row.params, strict=True)
                ],
            }
            for row in rows
        ],
    }


def _reached(variants: Variants, params: Any) -> str:
    from deepvis_caffe.experiments.variants import activation

    (unit,), (seed,) = variants.units, variants.seeds
    return activation(variants.record(params, unit, seed))

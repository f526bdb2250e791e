"""``deepvis sweep LAYER --unit U``: the effect of each regularizer by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from deepvis_caffe.cli.flags import UnitName, with_settings
from deepvis_caffe.cli.progress import place, progress_bar
from deepvis_caffe.cli.values import chosen_unit, parse_numbers, parse_position
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL, OPTIMIZER, RUNNING

VALUES = "Values to use instead of the defaults"


def _values(help_: str) -> Any:
    return typer.Option(help=help_, rich_help_panel=VALUES, show_default=False, metavar="0,V,V,...")


@with_settings(
    MODEL, OPTIMIZER, RUNNING, leave_out=("preset", "presets_file", "seeds", "batch_size")
)
def sweep(
    settings: Settings,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="Layer (or blob) of the unit.")],
    unit: UnitName,
    columns: Annotated[int, typer.Option(help="Images per row.")] = 8,
    seed: Annotated[
        int, typer.Option(help="Random seed of the starting image, the same for all.")
    ] = 0,
    position: Annotated[
        str, typer.Option(help="Position in the unit's map: center, all (the whole map), or y,x.")
    ] = "center",
    decay: Annotated[str | None, _values("L2 decay.")] = None,
    blur_width: Annotated[str | None, _values("Blur width in pixels, every 4 steps.")] = None,
    norm_percentile: Annotated[
        str | None, _values("Percentile for clipping pixels with small norm.")
    ] = None,
    contribution_percentile: Annotated[
        str | None, _values("Percentile for clipping pixels with small contribution.")
    ] = None,
    cell: Annotated[
        int, typer.Option(min=16, help="Size of an image in the figure, in pixels.")
    ] = 160,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Figure to write, .png or .jpg. Default: in the results folder."
        ),
    ] = None,
) -> None:
    """Show the effect of each of the paper's four regularizers by itself.

    Draws the regularization figure of the paper: one row per regularizer, from none to too strong,
    with its value and the activation reached under each image. Also writes a JSON record. Finished
    images are kept and reused.
    """
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.experiments.sweep import reached, write_sweep
    from deepvis_caffe.experiments.sweep import sweep as sweep_rows
    from deepvis_caffe.experiments.variants import Variants
    from deepvis_caffe.jobs.job import Job
    from deepvis_caffe.optimizer import ascent_params
    from deepvis_caffe.optimizer.target_layer import TargetLayer
    from deepvis_caffe.results.layout import record_of, sweep_figure

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
    # Preset 3 for its rate only: `sweep_rows` ignores its regularizers.
    base = ascent_params(3, settings.rate, settings.iterations)
    rows = sweep_rows(base, columns, values)
    net = load_net(settings)
    job = Job.from_settings(settings, net)
    target = TargetLayer.of(net, layer, parse_position(position))
    number = chosen_unit(net, layer, unit)
    variants = Variants(job, target, [number], [seed])
    with progress_bar(f"{layer} on {place(net, job.where)}", "image steps") as report:
        variants.make((params for row in rows for params in row.params), report)
    path = out or sweep_figure(settings.results, layer, number, seed, job.folders)
    write_sweep(variants, rows, path, cell)
    for row in rows:
        listed = ", ".join(
            f"{row.axis.show(value)}: {reached(variants, params)}"
            for value, params in zip(row.values, row.params, strict=True)
        )
        typer.echo(f"{row.axis.title}: activation at {listed}")
    typer.echo(f"wrote {path} and {record_of(path).name}", err=True)

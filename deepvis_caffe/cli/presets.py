"""``deepvis presets LAYER --unit U``: the presets side by side for one unit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.cli.values import parse_position
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL, OPTIMIZER

if TYPE_CHECKING:
    from deepvis_caffe.experiments.variants import Variants
    from deepvis_caffe.image import Picture
    from deepvis_caffe.optimizer import AscentParams


@with_settings(MODEL, OPTIMIZER, leave_out=("preset", "seeds"))
def presets(
    settings: Settings,
    layer: Annotated[
        str, typer.Argument(metavar="LAYER", help="The layer of the unit, or its blob.")
    ],
    unit: Annotated[int, typer.Option(help="Number of the channel, from 0.")],
    which: Annotated[
        str,
        typer.Option("--presets", help="Numbers and names, in the order in which to show them."),
    ] = "1,2,3,4",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Pictures per preset.")] = 4,
    position: Annotated[
        str, typer.Option(help="Position in the feature map: center, y,x or all.")
    ] = "center",
    columns: Annotated[int, typer.Option(min=1, help="Presets per row.")] = 2,
    cell: Annotated[int, typer.Option(min=16, help="Size of a preset's block, in pixels.")] = 400,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The figure, .png or .jpg; by default in the results."),
    ] = None,
) -> None:
    """Show a unit's pictures by each preset, side by side.

    As in the paper's gorilla figure: some pictures have high frequencies, others low ones; some are
    dense, others sparse. A record is written beside the figure. Pictures that exist already are not
    made again.
    """
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.experiments.variants import Variants
    from deepvis_caffe.figures.figure import Cell, grid
    from deepvis_caffe.image import write_image
    from deepvis_caffe.jobs.job import Job
    from deepvis_caffe.jobs.optimize import TargetLayer
    from deepvis_caffe.model.labels import read_labels
    from deepvis_caffe.optimizer import ascent_params
    from deepvis_caffe.optimizer.params import in_words
    from deepvis_caffe.optimizer.presets import find_preset
    from deepvis_caffe.results.layout import presets_figure, record_of
    from deepvis_caffe.results.records import write_record

    chosen = {
        name: ascent_params(
            find_preset(name, settings.presets_file), settings.rate, settings.iterations
        )
        for name in parse_presets(which)
    }
    labels = read_labels(settings.labels) if settings.labels else ()
    net = load_net(settings)
    job = Job(net, settings.results, labels=labels)
    target = TargetLayer.of(net, layer, parse_position(position))
    variants = Variants(job, target, [unit], range(seeds), settings.batch_size)
    with progress_bar(f"{layer} on {net.engine}, {net.device}", "image steps") as report:
        variants.make(chosen.values(), report)
    cells = [
        Cell(
            block(variants, params),
            (f"preset {name}, a = {reached(variants, params)}", in_words(params)),
        )
        for name, params in chosen.items()
    ]
    path = out or presets_figure(settings.results, layer, unit)
    title = f"{variants.title(unit)}: {seeds} random starts by each preset"
    write_image(path, grid(cells, min(columns, len(cells)), cell, title, text=14))
    write_record(record_of(path), presets_record(variants, chosen))
    for name, params in chosen.items():
        typer.echo(f"preset {name}: activation {reached(variants, params)}; {in_words(params)}")
    typer.echo(f"wrote {path} and {record_of(path).name}", err=True)


def parse_presets(text: str) -> list[int | str]:
    """``1,3,crisp`` as numbers and names, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise SettingsError(f"--presets: got {text!r}, expected numbers and names as in 1,3,crisp")
    return list(dict.fromkeys(int(part) if part.isdecimal() else part for part in parts))


def block(variants: Variants, params: AscentParams) -> Picture:
    """One preset's pictures, in a square."""
    from deepvis_caffe.figures.montage import montage

    (unit,) = variants.units
    cells = [variants.cell(params, unit, seed) for seed in variants.seeds]
    return montage(cells, padding=3, fill=255)


def reached(variants: Variants, params: AscentParams) -> str:
    """The activations of all seeds: their range."""
    (unit,) = variants.units
    records = (variants.record(params, unit, seed) for seed in variants.seeds)
    values = [record["best_value"] for record in records if record["best_value"] is not None]
    if not values:
        return "not finite"
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def presets_record(variants: Variants, chosen: dict[int | str, AscentParams]) -> dict[str, Any]:
    """What is written beside the figure."""
    (unit,) = variants.units
    return {
        "layer": variants.layer,
        "unit": unit,
        "label": variants.label(unit),
        "seeds": list(variants.seeds),
        "presets": [
            {
                "preset": name,
                "params": params.record(),
                "activations": [
                    variants.record(params, unit, seed)["best_value"] for seed in variants.seeds
                ],
            }
            for name, params in chosen.items()
        ],
    }

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
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="The unit's layer, or blob.")],
    unit: Annotated[int, typer.Option(help="Channel, from 0.")],
    which: Annotated[
        str, typer.Option("--presets", help="Numbers and names, in the order to show them.")
    ] = "1,2,3,4",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Pictures of each.")] = 4,
    position: Annotated[
        str, typer.Option(help="Where on the unit's map: center, y,x or all of it.")
    ] = "center",
    columns: Annotated[int, typer.Option(min=1, help="Presets a row.")] = 2,
    cell: Annotated[int, typer.Option(min=16, help="Size of a preset's block, pixels.")] = 400,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The figure, .png or .jpg; by default in the results."),
    ] = None,
) -> None:
    """Draw a unit's pictures by each preset, side by side.

    The paper's gorilla figure: some pictures show high frequencies, others low; some are dense,
    others sparse. A record is written beside it. Pictures that are there already are not made
    again.
    """
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.experiments.variants import Variants
    from deepvis_caffe.figures.figure import Cell, grid
    from deepvis_caffe.image import write_image
    from deepvis_caffe.model.labels import read_labels
    from deepvis_caffe.optimizer import ascent_params
    from deepvis_caffe.optimizer.params import in_words
    from deepvis_caffe.optimizer.presets import find_preset
    from deepvis_caffe.results.records import write_record
    from deepvis_caffe.results.store import folder_name

    chosen = {
        name: ascent_params(
            find_preset(name, settings.presets_file), settings.rate, settings.iterations
        )
        for name in parse_presets(which)
    }
    labels = read_labels(settings.labels) if settings.labels else ()
    net = load_net(settings)
    variants = Variants(
        net,
        settings.results,
        layer,
        [unit],
        range(seeds),
        parse_position(position),
        labels,
        settings.batch_size,
    )
    with progress_bar(f"{layer} on {net.engine}, {net.device}", "image steps") as report:
        variants.make(chosen.values(), report)
    cells = [
        Cell(
            block(variants, params),
            (f"preset {name}, a = {reached(variants, params)}", in_words(params)),
        )
        for name, params in chosen.items()
    ]
    path = out or settings.results / "presets" / f"{folder_name(layer)}_{unit:04d}.png"
    title = f"{variants.title(unit)}: {seeds} random starts by each preset"
    write_image(path, grid(cells, min(columns, len(cells)), cell, title, text=14))
    write_record(path.with_suffix(".json"), record_of(variants, chosen))
    for name, params in chosen.items():
        typer.echo(f"preset {name}: activation {reached(variants, params)}; {in_words(params)}")
    typer.echo(f"wrote {path} and {path.with_suffix('.json').name}", err=True)


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


def record_of(variants: Variants, chosen: dict[int | str, AscentParams]) -> dict[str, Any]:
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

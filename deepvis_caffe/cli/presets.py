"""``deepvis presets LAYER --unit U``: one unit with each preset, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepvis_caffe.cli.flags import UnitName, with_settings
from deepvis_caffe.cli.progress import place, progress_bar
from deepvis_caffe.cli.values import chosen_unit, parse_position
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL, OPTIMIZER, RUNNING


@with_settings(MODEL, OPTIMIZER, RUNNING, leave_out=("preset", "seeds"))
def presets(
    settings: Settings,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="Layer (or blob) of the unit.")],
    unit: UnitName,
    which: Annotated[
        str, typer.Option("--presets", help="Presets by number or name, in the order to show.")
    ] = "1,2,3,4,best",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Images per preset.")] = 4,
    position: Annotated[
        str, typer.Option(help="Position in the unit's map: center, all (the whole map), or y,x.")
    ] = "center",
    columns: Annotated[int, typer.Option(min=1, help="Presets per row.")] = 3,
    cell: Annotated[
        int, typer.Option(min=16, help="Size of the block of each preset, in pixels.")
    ] = 400,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Figure to write, .png or .jpg. Default: in the results folder."
        ),
    ] = None,
) -> None:
    """Compare presets: images of one unit made with each, side by side.

    Draws the gorilla figure of the paper, with the default preset beside its four: some presets
    give high frequencies, others low; some dense images, others sparse ones. Also writes a JSON
    record. Finished images are kept and reused.
    """
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.experiments.presets import reached, write_comparison
    from deepvis_caffe.experiments.variants import Variants
    from deepvis_caffe.jobs.job import Job
    from deepvis_caffe.optimizer import ascent_params
    from deepvis_caffe.optimizer.params import in_words
    from deepvis_caffe.optimizer.presets import find_preset
    from deepvis_caffe.optimizer.target_layer import TargetLayer
    from deepvis_caffe.results.layout import presets_figure, record_of

    chosen = {
        name: ascent_params(
            find_preset(name, settings.presets_file), settings.rate, settings.iterations
        )
        for name in parse_presets(which)
    }
    net = load_net(settings)
    job = Job.from_settings(settings, net)
    target = TargetLayer.of(net, layer, parse_position(position))
    number = chosen_unit(net, layer, unit)
    variants = Variants(job, target, [number], range(seeds), settings.batch_size)
    with progress_bar(f"{layer} on {place(net, job.where)}", "image steps") as report:
        variants.make(chosen.values(), report)
    path = out or presets_figure(settings.results, layer, number, job.folders)
    write_comparison(variants, chosen, path, columns, cell)
    for name, params in chosen.items():
        typer.echo(f"preset {name}: activation {reached(variants, params)}; {in_words(params)}")
    typer.echo(f"wrote {path} and {record_of(path).name}", err=True)


def parse_presets(text: str) -> list[int | str]:
    """``1,3,crisp`` as numbers and names, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise SettingsError(f"--presets: got {text!r}, expected numbers and names as in 1,3,crisp")
    return list(dict.fromkeys(int(part) if part.isdecimal() else part for part in parts))

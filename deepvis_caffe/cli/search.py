"""``deepvis search LAYER --units U``: random regularizations, to choose from by eye."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.cli.values import parse_position, parse_unit_numbers
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL, OPTIMIZER

if TYPE_CHECKING:
    from deepvis_caffe.experiments.search import Judge
    from deepvis_caffe.experiments.variants import Variants
    from deepvis_caffe.optimizer import AscentParams

KEEP = "Keep a trial as a preset"


@with_settings(MODEL, OPTIMIZER, leave_out=("preset", "seeds", "rate"))
def search(
    settings: Settings,
    layer: Annotated[
        str, typer.Argument(metavar="LAYER", help="The layer of the units, or its blob.")
    ],
    units: Annotated[str, typer.Option("--units", "--unit", help="366 or 366,130.")],
    trials: Annotated[int, typer.Option(min=1, help="Number of random combinations.")] = 300,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the random draws and of the first image.")
    ] = 0,
    position: Annotated[
        str, typer.Option(help="Position in the feature map: center, y,x or all.")
    ] = "center",
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="A measure of your own, called with each picture (RGB) and its unit.",
        ),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(help="Number of the trial to keep.", rich_help_panel=KEEP)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the preset.", rich_help_panel=KEEP)
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace a preset of that name, or a page of other steps."
        ),
    ] = False,
) -> None:
    """Try random regularizations, and keep the one that you like.

    Draws combinations of decay, blur, both kinds of clipping and the rate, makes a picture of each
    unit with each of them, and writes a page and a contact sheet to choose from. Choose by eye,
    then run the same command with --keep TRIAL --name NAME: from then on --preset NAME works
    everywhere. To continue after an interruption, run the same command again.
    """
    from deepvis_caffe.experiments.search import kept_params, load_judge
    from deepvis_caffe.optimizer.presets import GRAY_LEVEL_STEPS, save_preset
    from deepvis_caffe.results.layout import search_sheet

    if (keep is None) != (name is None):
        raise SettingsError("--keep TRIAL and --name NAME go together")
    same_seed = f" --seed {seed}" if seed else ""
    results = shlex.quote(str(settings.results))
    again = f"deepvis search {shlex.quote(layer)} --units {units}{same_seed} --results {results}"
    if keep is not None and name is not None:
        record = search_sheet(settings.results, layer, parse_unit_numbers(units), seed, ".json")
        params = kept_params(record, keep, again)
        path = save_preset(settings.presets_file, name, params, overwrite)
        typer.echo(f"trial {keep} is preset {name} in {path}; use it with --preset {name}")
        return
    write_sheet = partial(_write_sheet, judge=load_judge(judge) if judge else None, again=again)
    variants = _variants(settings, layer, units, seed, position)
    steps = settings.iterations or GRAY_LEVEL_STEPS
    _run(variants, trials, steps, overwrite, write_sheet)
    typer.echo(
        f"look, choose, and keep one as a preset: {again} --keep TRIAL --name NAME", err=True
    )


def _variants(settings: Settings, layer: str, units: str, seed: int, position: str) -> Variants:
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.experiments.variants import Variants
    from deepvis_caffe.jobs.job import Job
    from deepvis_caffe.jobs.optimize import TargetLayer
    from deepvis_caffe.model.labels import read_labels

    labels = read_labels(settings.labels) if settings.labels else ()
    net = load_net(settings)
    target = TargetLayer.of(net, layer, parse_position(position))
    chosen = parse_unit_numbers(units, target.count)
    job = Job(net, settings.results, labels=labels)
    return Variants(job, target, chosen, [seed], settings.batch_size)


def _run(
    variants: Variants,
    trials: int,
    steps: int,
    overwrite: bool,
    write_sheet: Callable[[Variants, list[tuple[int, AscentParams]]], None],
) -> None:
    """Run the trials, and write a sheet of those that are finished, also when interrupted."""
    from deepvis_caffe.experiments.search import trial, trials_there

    (seed,), net, layer = variants.seeds, variants.job.net, variants.layer
    there = trials_there(variants, seed, steps, overwrite)
    # Those that are there beyond the ones asked for stay on the page.
    drawn = [trial(seed, number, steps) for number in range(max(trials, there))]
    todo = len(variants.units) * trials * steps
    typer.echo(
        f"{layer}: {trials} trials x {len(variants.units)} units x {steps} steps = {todo:,} image "
        "steps, less what is there already",
        err=True,
    )
    try:
        with progress_bar(f"{layer} on {net.engine}, {net.device}", "image steps") as report:
            variants.make(drawn[:trials], report)
    finally:  # what an interrupted search has is worth looking at, too
        finished = [(n, params) for n, params in enumerate(drawn) if variants.has_all(params)]
        if finished:
            write_sheet(variants, finished)


def _write_sheet(
    variants: Variants,
    finished: list[tuple[int, AscentParams]],
    judge: Judge | None,
    again: str,
) -> None:
    """Write the page, the picture and the record of the trials that are finished."""
    from deepvis_caffe.experiments.search import measure, search_record, sheet_picture, write_page
    from deepvis_caffe.image import write_image
    from deepvis_caffe.results.layout import search_sheet
    from deepvis_caffe.results.records import write_record

    made = [measure(variants, number, params, judge) for number, params in finished]
    names = "; ".join(variants.title(unit) for unit in variants.units)
    (seed,) = variants.seeds
    title = f"{names}: {len(made)} random regularizations, seed {seed}"
    place = partial(search_sheet, variants.folder, variants.layer, variants.units, seed)
    write_record(place(".json"), search_record(variants.layer, variants.units, seed, made))
    write_image(place(".png"), sheet_picture(made, title))
    write_page(place(".html"), made, title, again)
    typer.echo(f"{len(made)} trials: {place('.html')}, and as a picture {place('.png').name}")

"""``deepvis search LAYER --units U``: random regularizations, to choose from by eye."""

from __future__ import annotations

import shlex
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
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="The units' layer, or blob.")],
    units: Annotated[str, typer.Option("--units", "--unit", help="366 or 366,130.")],
    trials: Annotated[int, typer.Option(min=1, help="Random combinations.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws and the first image.")] = 0,
    position: Annotated[
        str, typer.Option(help="Where on the unit's map: center, y,x or all of it.")
    ] = "center",
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Your own measure, called with each picture (RGB) and its unit.",
        ),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(help="Number of the trial to keep.", rich_help_panel=KEEP)
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call it.", rich_help_panel=KEEP)] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Lose a preset of that name, or a page of other steps."),
    ] = False,
) -> None:
    """Try random regularizations, and keep the one that you like.

    Draws combinations of decay, blur, both clippings and the rate, makes a picture of each unit by
    each, and writes a page and a picture to choose from. Choose by eye, then give the same command
    with --keep TRIAL --name NAME: from then on --preset NAME works everywhere. Pictures that are
    there already are not made again, so an interrupted search goes on by the same command.
    """
    from deepvis_caffe.experiments.search import kept_params, load_judge, sheet_path
    from deepvis_caffe.optimizer.presets import save_preset

    if (keep is None) != (name is None):
        raise SettingsError("--keep TRIAL and --name NAME go together")
    same_seed = f" --seed {seed}" if seed else ""
    results = shlex.quote(str(settings.results))
    again = f"deepvis search {shlex.quote(layer)} --units {units}{same_seed} --results {results}"
    if keep is not None and name is not None:
        record = sheet_path(settings.results, layer, parse_unit_numbers(units), seed)
        params = kept_params(record, keep, again)
        path = save_preset(settings.presets_file, name, params, overwrite)
        typer.echo(f"trial {keep} is preset {name} in {path}; use it with --preset {name}")
        return
    judged_by = load_judge(judge) if judge else None
    _run(settings, layer, units, trials, seed, position, judged_by, again, overwrite)


def _run(
    settings: Settings,
    layer: str,
    units: str,
    trials: int,
    seed: int,
    position: str,
    judge: Judge | None,
    again: str,
    overwrite: bool,
) -> None:
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.experiments.search import trial, trials_there
    from deepvis_caffe.experiments.variants import Variants
    from deepvis_caffe.model.labels import read_labels
    from deepvis_caffe.optimizer.presets import GRAY_LEVEL_STEPS
    from deepvis_caffe.optimizer.run import unit_shape

    labels = read_labels(settings.labels) if settings.labels else ()
    net = load_net(settings)
    chosen = parse_unit_numbers(units, (unit_shape(net, layer) or (1,))[0])
    variants = Variants(
        net,
        settings.results,
        layer,
        chosen,
        [seed],
        parse_position(position),
        labels,
        settings.batch_size,
    )
    steps = settings.iterations or GRAY_LEVEL_STEPS
    there = trials_there(variants, seed, steps, overwrite)
    # Those that are there beyond the ones asked for stay on the page.
    drawn = [trial(seed, number, steps) for number in range(max(trials, there))]
    todo = len(chosen) * trials * steps
    typer.echo(
        f"{layer}: {trials} trials x {len(chosen)} units x {steps} steps = {todo:,} image steps, "
        "less what is there already",
        err=True,
    )
    try:
        with progress_bar(f"{layer} on {net.engine}, {net.device}", "image steps") as report:
            variants.make(drawn[:trials], report)
    finally:  # what an interrupted search has is worth looking at, too
        finished = [(n, params) for n, params in enumerate(drawn) if variants.has_all(params)]
        if finished:
            _write_sheet(variants, seed, finished, judge, again)
    typer.echo(
        f"look, choose, and keep one as a preset: {again} --keep TRIAL --name NAME", err=True
    )


def _write_sheet(
    variants: Variants,
    seed: int,
    finished: list[tuple[int, AscentParams]],
    judge: Judge | None,
    again: str,
) -> None:
    """Write the page, the picture and the record of the trials that are finished."""
    from deepvis_caffe.experiments.search import (
        measure,
        search_record,
        sheet_path,
        sheet_picture,
        write_page,
    )
    from deepvis_caffe.image import write_image
    from deepvis_caffe.results.records import write_record

    made = [measure(variants, number, params, judge) for number, params in finished]
    names = "; ".join(variants.title(unit) for unit in variants.units)
    title = f"{names}: {len(made)} random regularizations, seed {seed}"
    place = partial(sheet_path, variants.folder, variants.layer, variants.units, seed)
    write_record(place(".json"), search_record(variants.layer, variants.units, seed, made))
    write_image(place(".png"), sheet_picture(made, title))
    write_page(place(".html"), made, title, again)
    typer.echo(f"{len(made)} trials: {place('.html')}, and as a picture {place('.png').name}")

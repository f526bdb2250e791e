"""``deepvis search LAYER --units U``: random search for regularization parameters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.hints import command
from deepvis_caffe.cli.progress import place, progress_bar
from deepvis_caffe.cli.values import chosen_units, parse_position
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL, OPTIMIZER, RUNNING

if TYPE_CHECKING:
    from deepvis_caffe.experiments.variants import Variants

KEEP = "Save a trial as a preset"


@with_settings(MODEL, OPTIMIZER, RUNNING, leave_out=("preset", "seeds", "rate"))
def search(
    settings: Settings,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="Layer (or blob) of the units.")],
    units: Annotated[str, typer.Option(help="Units: 366 or 366,130, or class names.")],
    trials: Annotated[
        int, typer.Option(min=1, help="Number of random parameter sets to try.")
    ] = 300,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Random seed of the parameter sets and of the starting image."),
    ] = 0,
    position: Annotated[
        str, typer.Option(help="Position in the unit's map: center, all (the whole map), or y,x.")
    ] = "center",
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Your own score: a function called with each image (RGB) and its unit.",
        ),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(help="Number of the trial to save.", rich_help_panel=KEEP)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the preset.", rich_help_panel=KEEP)
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace a preset of that name, or a page made with another number of steps.",
        ),
    ] = False,
) -> None:
    """Try random regularization parameters, and save the best as a preset.

    Samples decay, blur, both kinds of clipping and the learning rate, makes an image of each unit
    with each parameter set, and writes a web page that shows them all. Choose by eye, then run the
    same command with --keep TRIAL --name NAME. After that, optimize and view take --preset NAME,
    and presets takes --presets NAME.
    Finished images are kept: run the same command again to resume after an interruption.
    """
    from deepvis_caffe.experiments.contact_sheet import write_sheet
    from deepvis_caffe.experiments.search import draw_trials, kept_params, load_judge
    from deepvis_caffe.optimizer.presets import GRAY_LEVEL_STEPS, save_preset
    from deepvis_caffe.results.layout import name_apart, search_sheet

    if (keep is None) != (name is None):
        raise SettingsError("--keep TRIAL and --name NAME go together")
    same_seed = ["--seed", str(seed)] if seed else []
    again = command("search", layer, "--units", units, *same_seed, "--results", settings.results)
    if keep is not None and name is not None:
        sheet_at = partial(
            search_sheet, settings.results, layer, _numbers(settings, layer, units), seed, ".json"
        )
        record = sheet_at({layer: name_apart(layer)})
        record = record if record.is_file() else sheet_at()
        params = kept_params(record, keep, again)
        path = save_preset(settings.presets_file, name, params, overwrite)
        typer.echo(f"trial {keep} is preset {name} in {path}; use it with --preset {name}")
        return
    judge_picture = load_judge(judge) if judge else None
    variants = _variants(settings, layer, units, seed, position)
    steps = settings.iterations or GRAY_LEVEL_STEPS
    drawn = draw_trials(variants, trials, steps, overwrite)
    chosen, net = variants.units, variants.job.net
    todo = len(chosen) * trials * steps
    typer.echo(
        f"{layer}: {trials} trials x {len(chosen)} units x {steps} steps = {todo:,} image steps, "
        "minus what is already done",
        err=True,
    )
    try:
        with progress_bar(f"{layer} on {place(net, variants.job.where)}", "image steps") as report:
            variants.make(drawn[:trials], report)
    finally:  # also show the finished trials of an interrupted search
        sheet = write_sheet(variants, drawn, judge_picture, again)
        if sheet:
            typer.echo(
                f"{sheet.trials} trials: {sheet.page}, and as a picture {sheet.picture.name}"
            )
    typer.echo(f"to save one as a preset: {again} --keep TRIAL --name NAME", err=True)


def _numbers(settings: Settings, layer: str, units: str) -> list[int]:
    """The units' numbers, without loading the net."""
    from deepvis_caffe.model.labels import as_labels, unit_of
    from deepvis_caffe.model.unit_text import parse_unit_numbers

    labels = as_labels(settings.labels)
    named = partial(unit_of, labels, layer=layer) if labels else None
    return parse_unit_numbers(units, named=named)


def _variants(settings: Settings, layer: str, units: str, seed: int, position: str) -> Variants:
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.experiments.variants import Variants
    from deepvis_caffe.jobs.job import Job
    from deepvis_caffe.optimizer.target_layer import TargetLayer

    net = load_net(settings)
    target = TargetLayer.of(net, layer, parse_position(position))
    chosen = chosen_units(net, layer, units)
    job = Job.from_settings(settings, net)
    return Variants(job, target, chosen, [seed], settings.batch_size)

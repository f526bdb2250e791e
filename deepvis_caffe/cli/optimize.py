"""``deepvis optimize LAYER``: feature visualization of the units of a layer."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepvis_caffe.cli.flags import ALL_LAYERS, with_settings
from deepvis_caffe.cli.hints import command
from deepvis_caffe.cli.progress import place, progress_bar
from deepvis_caffe.cli.values import chosen_targets, parse_crop, parse_position, parse_push
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL, OPTIMIZER, RUNNING

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.jobs.job import Job
    from deepvis_caffe.jobs.optimize import Ascents, Unit
    from deepvis_caffe.optimizer.target_layer import TargetLayer
    from deepvis_caffe.optimizer.targets import Target

# Fields of `AscentParams` that have a flag: its type, its help, and its names if it has several.
REGULARIZERS: dict[str, tuple[Any, ...]] = {
    "decay": (float, "L2 decay: fraction of the image removed at each step."),
    "blur_width": (float, "Standard deviation of the Gaussian blur, in pixels."),
    "blur_every": (int, "Blur every N steps; 0 for never."),
    "value_percentile": (float, "Set values below this percentile of magnitude to 0."),
    "norm_percentile": (float, "Set pixels below this percentile of norm to 0."),
    "benefit_percentile": (float, "Set pixels below this percentile of signed contribution to 0."),
    "contribution_percentile": (
        float,
        "Set pixels below this percentile of absolute contribution to 0.",
    ),
    "decay_end": (float, "Final decay, approached linearly from --decay."),
    "blur_end": (float, "Final blur width, approached linearly from --blur-width."),
    "total_variation": (float, "Size of the step that reduces total variation, in gray levels."),
    "total_variation_end": (
        float,
        "Final size of that step, approached linearly from --total-variation.",
    ),
    "jitter": (
        float,
        "Random translation by up to this fraction of the image's size.",
        "--jitter",
        "--shift",
    ),
    "scale": (float, "Random scaling by a factor of up to 1 + this."),
    "rotation": (float, "Random rotation by up to this many degrees."),
    "octaves": (int, "Number of stages; in each, the net sees the image larger than before."),
    "octave_scale": (float, "Ratio of the image sizes in two successive octaves."),
    "coarse": (float, "At first, show the net the image at this fraction of its size."),
    "coarse_part": (float, "Fraction of the steps at that size (see --coarse)."),
    "fourier": (float, "Scale the step at spatial frequency f by f**-p, where p is this value."),
    "decorrelate": (
        float,
        "Color decorrelation, 0 (off) to 1 (the color statistics of photographs).",
    ),
    "diversity": (
        float,
        "Size of the step that makes the images of one unit differ, in gray levels.",
    ),
    "naturalness": (
        float,
        "How strongly to make channels of the layers below vary as they do for photographs.",
    ),
}
PANEL = "Regularizers and transforms (override the preset)"


def with_regularizers(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of `REGULARIZERS`; its `changes` receives those that are set."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        flags = {name: given.pop(name) for name in REGULARIZERS}
        changes = {name: value for name, value in flags.items() if value is not None}
        command(**given, changes=changes)

    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        parameters += _regularizer_flags() if name == "changes" else [parameter]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {
        parameter.name: parameter.annotation for parameter in parameters
    }  # Typer reads these
    del run.__wrapped__
    return run


def _regularizer_flags() -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                type_ | None,
                typer.Option(*names, help=help_, rich_help_panel=PANEL, show_default=False),
            ],
        )
        for name, (type_, help_, *names) in REGULARIZERS.items()
    ]


@with_regularizers
@with_settings(MODEL, OPTIMIZER, RUNNING)
def optimize(
    settings: Settings,
    layer: Annotated[
        str | None,
        typer.Argument(
            metavar="LAYER",
            help="Layer (or blob) of the units; or an objective: "
            "'pool10:130 + 0.5*fire5/concat:12 - 0.1*conv1:3@mean'.",
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help=f"Several layers instead of LAYER: a,b,c, or {ALL_LAYERS}."),
    ] = None,
    units: Annotated[
        str,
        typer.Option(
            help="Units: 130,366 or 0-99 or all, or class names: tabby,zebra. 130+366 maximizes "
            "the sum of two units; layer maximizes the whole layer (DeepDream)."
        ),
    ] = "all",
    direction: Annotated[
        Path | None,
        typer.Option(
            help="Maximize a direction in channel space instead of units: a .npy file with one "
            "number per channel, or one row per direction."
        ),
    ] = None,
    position: Annotated[
        str, typer.Option(help="Position in the unit's map: center, all (the whole map), or y,x.")
    ] = "center",
    push: Annotated[
        str, typer.Option(help="up to maximize the activation, down to minimize it.")
    ] = "up",
    start: Annotated[
        str, typer.Option(help="Starting image: noise, uniform, mean, or an image file.")
    ] = "noise",
    crop: Annotated[
        str,
        typer.Option(
            help="auto: optimize only the receptive field of the unit; off: the whole image."
        ),
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Results folder; overrides --results.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace results of another net."),
    ] = False,
    *,
    changes: dict[str, float],
) -> None:
    """Feature visualization: find images that maximize the activation of units.

    Regularized gradient ascent from random starts (activation maximization), --seeds images per
    unit, with a montage for each unit and one for the layer. Finished images are kept: run the same
    command again to resume after an interruption. Images made with other parameters are kept beside
    them; images of another net are replaced only with --overwrite.
    """
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.jobs.job import Job
    from deepvis_caffe.jobs.optimize import Ascents, check_layers
    from deepvis_caffe.optimizer import ascent_params
    from deepvis_caffe.optimizer.objectives import objective_in
    from deepvis_caffe.optimizer.presets import find_preset
    from deepvis_caffe.optimizer.target_layer import TargetLayer

    params = ascent_params(
        find_preset(settings.preset, settings.presets_file),
        settings.rate,
        settings.iterations,
        start=start,
        sign=parse_push(push),
        **changes,
    )
    if direction and units != "all":
        raise SettingsError("--units and --direction cannot be combined; give one of them")
    net = load_net(settings)
    seeds = settings.seeds
    if seeds > 1 and not params.differs_by_seed:
        typer.echo(
            f"every seed gives the same image when starting from {start}; making one per unit",
            err=True,
        )
        seeds = 1
    ascents = Ascents(params, range(seeds), parse_crop(crop), settings.batch_size)
    job = Job.from_settings(settings, net, out, overwrite)
    if layer is not None and (goal := objective_in(net, layer)):
        if units != "all" or direction or position != "center" or layers:
            raise SettingsError(
                f"the objective {str(goal)!r} already says which units it reads, and where: "
                "leave out --layers, --units, --direction and --position"
            )
        work: list[tuple[TargetLayer, Sequence[Target]]] = [TargetLayer.of_objective(net, goal)]
    else:
        at = parse_position(position)
        chosen = [TargetLayer.of(net, name, at) for name in chosen_layers(net, layer, layers)]
        work = [  # all of it before any step
            (target_layer, targets_of(net, target_layer, units, direction))
            for target_layer in chosen
        ]
    check_layers(job, work, ascents)
    for number, (target_layer, targets) in enumerate(work, 1):
        which = f" ({number} of {len(work)})" if len(work) > 1 else ""
        optimize_layer(job, target_layer, targets, ascents, which)


def chosen_layers(net: Net, layer: str | None, layers: str | None) -> list[str]:
    """The layers that the arguments name: one, several, or all of `learned_layers`."""
    from deepvis_caffe.dataset.scan import learned_layers

    if (layer is None) == (layers is None):
        raise SettingsError("name one LAYER, or several with --layers a,b,c or --layers all")
    if layer is not None:
        return [layer]
    assert layers is not None
    if layers.strip().lower() != "all":
        names = [name.strip() for name in layers.split(",")]
        for name in names:
            net.model.graph.activation(name)  # raises for an unknown name, before any work
        return names
    return list(learned_layers(net))


def targets_of(
    net: Net, layer: TargetLayer, units: str, direction: Path | None
) -> Sequence[Target]:
    """The units, sums or directions to maximize in a layer.

    Raises
    ------
    SettingsError
        The layer does not have them; the message names the layer.
    """
    from deepvis_caffe.optimizer.targets import read_directions

    if direction:
        return layer.check(read_directions(direction))
    try:
        return chosen_targets(net, layer.name, units)
    except SettingsError as error:
        raise SettingsError(f"layer {layer.name!r}: {error}") from error


def optimize_layer(
    job: Job, layer: TargetLayer, targets: Sequence[Target], ascents: Ascents, which: str
) -> None:
    """Make one layer's pictures, and print the results."""
    from deepvis_caffe.jobs.optimize import make_layer, store_of
    from deepvis_caffe.model.batch import batch_norms
    from deepvis_caffe.optimizer.relu_inputs import layers_below_relus

    net, seeds = job.net, len(ascents.seeds)
    steps = ascents.params.iterations
    what = str(layer.objective or layer.name)
    typer.echo(plan(what, len(targets), seeds, steps) + which, err=True)
    begun = time.monotonic()
    with progress_bar(f"{what} on {place(net, job.where)}", "image steps") as report:
        made = make_layer(job.reporting(report), layer, targets, ascents)
    for unit in made:
        typer.echo(describe(unit, seeds))
    off = sum(unit.no_gradient for unit in made)
    if off:
        start = net.model.graph.gradient_start(layer.name)
        note = off_note(
            layer.name,
            off,
            len(made) * seeds,
            layers_below_relus(net, layer.name),
            batch_norms(net.model, start),
            net.held_below(layer.name),
        )
        typer.echo(note, err=True)
    new, runs = sum(unit.new for unit in made), len(made) * seeds
    redirected = sum(unit.redirected for unit in made)
    restarted = sum(unit.restarted for unit in made)
    folder = store_of(job, layer, ascents).layer_folder(layer.name)
    rate = f", {new / (time.monotonic() - begun):.3g} images a second" if new else ""
    typer.echo(
        f"{len(made)} units, {seeds} seeds each, in {folder}; "
        f"{new} new runs, {runs - new} already finished{rate}"
        f"{recovery_note(redirected, restarted)}",
        err=True,
    )


def recovery_note(redirected: int, restarted: int) -> str:
    """How runs that started inactive behind a ReLU were recovered; empty if there are none."""
    ways = [
        f"{count} {way}"
        for count, way in (
            (redirected, "recovered by redirected gradients"),
            (restarted, "restarted from top images"),
        )
        if count
    ]
    return f"; {redirected + restarted} started inactive: {', '.join(ways)}" if ways else ""


def plan(layer: str, units: int, seeds: int, steps: int) -> str:
    """One line about the work ahead."""
    return (
        f"{layer}: {units:,} units x {seeds} seeds x {steps} steps = {units * seeds * steps:,} "
        "image steps, minus what is already done"
    )


def off_note(
    layer: str,
    off: int,
    runs: int,
    below: Sequence[str],
    batch_norms: Sequence[str] = (),
    held: Sequence[str] = (),
) -> str:
    """Advice on runs that had no gradient."""
    note = f"{off} of {runs} runs stopped because the gradient was exactly 0: "
    if batch_norms:
        return (
            f"{note}{', '.join(batch_norms)} normalizes with the statistics of the batch, and a "
            "single image minus its own mean may be 0 everywhere; remove use_global_stats: false "
            "from the BatchNorm layer in the prototxt to use the statistics of the training set"
        )
    note += "the unit is inactive"
    if held:
        return (
            f"{note}, or its response to the image is lost because {' and '.join(held)} (give "
            "other values with the setting inputs, --inputs)"
        )
    if not below:
        return note
    find = command("top-images", "--images", "photos/", "--layers", layer)
    return (
        f"{note} behind a ReLU, from every start; optimize the value before the ReLU instead: "
        f"{', '.join(below)}; or find its top images ({find}) and run this again to start from them"
    )


def describe(unit: Unit, seeds: int) -> str:
    """One line about a unit's pictures."""
    from deepvis_caffe.model.labels import short_label

    name = f"{unit.unit:>5}" + (f"  {short_label(unit.label)}" if unit.label else "")
    if unit.value is None:
        return f"{name}: no finite activation; see the records beside {unit.montage}"
    top = f", highest of its layer for {unit.met_top} of {seeds} seeds" if unit.met_top else ""
    return f"{name}: activation {unit.value:.5g}{top}; {unit.montage}"

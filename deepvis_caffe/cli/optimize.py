"""``deepvis optimize LAYER``: images that excite the units of a layer most."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepvis_caffe.cli.flags import labels_for, with_settings
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.cli.values import parse_crop, parse_position, parse_push, parse_units
from deepvis_caffe.cluster import DaskCluster, LocalProcesses, Where
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL, OPTIMIZER

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.jobs.optimize import Unit
    from deepvis_caffe.model.labels import Labels
    from deepvis_caffe.optimizer import AscentParams, Position
    from deepvis_caffe.optimizer.objectives import Target
    from deepvis_caffe.optimizer.run import Crop
    from deepvis_caffe.results.store import ResultStore

# Layers whose units nobody else has: others hand the same ones on, rectified, pooled or joined.
LEARNED = ("Convolution", "Deconvolution", "InnerProduct")
REGULARIZERS = "Regularizers, in place of the preset's"


def _regularizer(help_: str) -> Any:
    return typer.Option(help=help_, rich_help_panel=REGULARIZERS, show_default=False)


@with_settings(MODEL, OPTIMIZER)
def optimize(
    settings: Settings,
    layer: Annotated[
        str | None, typer.Argument(metavar="[LAYER]", help="The units' layer, or blob.")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Several layers, in place of LAYER: a,b,c, or all with weights."),
    ] = None,
    units: Annotated[
        str, typer.Option(help="130,366 or 0-99 or all; 130+366 is their sum; layer, all at once.")
    ] = "all",
    direction: Annotated[
        Path | None,
        typer.Option(help="In place of units: a .npy file, one number a channel, or rows of them."),
    ] = None,
    position: Annotated[
        str, typer.Option(help="Where on the unit's map: center, y,x or all of it.")
    ] = "center",
    push: Annotated[str, typer.Option(help="up, or down for images that inhibit.")] = "up",
    start: Annotated[
        str, typer.Option(help="First image: noise, uniform, mean, or a picture's path.")
    ] = "noise",
    crop: Annotated[
        str, typer.Option(help="auto: only the window that a unit sees; off: whole images.")
    ] = "auto",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Same as --results.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write over what other parameters made.")
    ] = False,
    decay: Annotated[float | None, _regularizer("Part of the image taken away a step.")] = None,
    blur_width: Annotated[float | None, _regularizer("Gaussian blur's sigma, pixels.")] = None,
    blur_every: Annotated[int | None, _regularizer("Steps between blurs, 0 for none.")] = None,
    value_percentile: Annotated[float | None, _regularizer("Clip small values under it.")] = None,
    norm_percentile: Annotated[
        float | None, _regularizer("Clip pixels of small norm under it.")
    ] = None,
    benefit_percentile: Annotated[
        float | None, _regularizer("Clip pixels of small signed contribution under it.")
    ] = None,
    contribution_percentile: Annotated[
        float | None, _regularizer("Clip pixels of small contribution under it.")
    ] = None,
    blur_end: Annotated[
        float | None, _regularizer("Blur's sigma at the end, to which it falls.")
    ] = None,
    total_variation: Annotated[
        float | None, _regularizer("Step against total variation, gray levels.")
    ] = None,
    shift: Annotated[
        float | None, _regularizer("Show the net the image moved by up to this part of it.")
    ] = None,
    scale: Annotated[
        float | None, _regularizer("... magnified or shrunk by a factor of up to 1 + this.")
    ] = None,
    rotation: Annotated[float | None, _regularizer("... turned by up to so many degrees.")] = None,
    octaves: Annotated[
        int | None, _regularizer("Parts of the run; in each the net sees the image larger.")
    ] = None,
    octave_scale: Annotated[float | None, _regularizer("How much larger.")] = None,
    fourier: Annotated[
        float | None, _regularizer("Frequency f moves as f to the power of minus this.")
    ] = None,
    decorrelate: Annotated[
        float | None, _regularizer("How far colors move as in photographs, 0 to 1.")
    ] = None,
    diversity: Annotated[
        float | None, _regularizer("Step away from the unit's other images, gray levels.")
    ] = None,
) -> None:
    """Find images that excite the units of a layer.

    Pictures that are there already, made by the same parameters, are not made again: give the same
    command to go on after an interruption. What other parameters made is kept, unless --overwrite
    says otherwise.
    """
    changes = {
        "decay": decay,
        "blur_width": blur_width,
        "blur_every": blur_every,
        "value_percentile": value_percentile,
        "norm_percentile": norm_percentile,
        "benefit_percentile": benefit_percentile,
        "contribution_percentile": contribution_percentile,
        "blur_end": blur_end,
        "total_variation": total_variation,
        "shift": shift,
        "scale": scale,
        "rotation": rotation,
        "octaves": octaves,
        "octave_scale": octave_scale,
        "fourier": fourier,
        "decorrelate": decorrelate,
        "diversity": diversity,
    }
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.jobs.where import net_maker, where_of
    from deepvis_caffe.optimizer import ascent_params
    from deepvis_caffe.optimizer.presets import find_preset
    from deepvis_caffe.results.store import ResultStore

    params = ascent_params(
        find_preset(settings.preset, settings.presets_file),
        settings.rate,
        settings.iterations,
        start=start,
        push=parse_push(push),
        **{name: value for name, value in changes.items() if value is not None},
    )
    if direction and units != "all":
        raise SettingsError("--units and --direction exclude each other; give one of them")
    net = load_net(settings)
    labels = labels_for(settings, net)
    seeds = settings.seeds
    if seeds > 1 and not params.differs_by_seed:
        typer.echo(f"from {start} every seed gives the same picture: one of each unit", err=True)
        seeds = 1
    work = Work(
        net=net,
        store=ResultStore(out or settings.results),
        seeds=range(seeds),
        params=params,
        position=parse_position(position),
        labels=labels,
        batch_size=settings.batch_size,
        crop=parse_crop(crop),
        overwrite=overwrite,
        where=where_of(settings, net),
        make_net=net_maker(settings, net),
    )
    chosen = chosen_layers(net, layer, layers)
    targets = [targets_of(work, name, units, direction) for name in chosen]  # before any work
    for number, (name, climbed) in enumerate(zip(chosen, targets, strict=True), 1):
        which = f" ({number} of {len(chosen)})" if len(chosen) > 1 else ""
        optimize_layer(work, name, climbed, which)


def chosen_layers(net: Net, layer: str | None, layers: str | None) -> list[str]:
    """The layers that a command names: one, several, or all that have weights."""
    if (layer is None) == (layers is None):
        raise SettingsError("name one LAYER, or several with --layers a,b,c or --layers all")
    if layer is not None:
        return [layer]
    assert layers is not None
    if layers.strip().lower() != "all":
        names = [name.strip() for name in layers.split(",")]
        for name in names:
            net.model.graph.seed(name)  # unknown ones are said before any work
        return names
    return [one.name for one in net.layers if one.weights and one.type in LEARNED]


@dataclass(frozen=True, eq=False)
class Work:
    """What the layers of one command share; see `make_layer`."""

    net: Net
    store: ResultStore
    seeds: Sequence[int]
    params: AscentParams
    position: Position
    labels: Labels
    batch_size: int | None
    crop: Crop
    overwrite: bool
    where: Where
    make_net: Callable[[], Net]


def targets_of(work: Work, layer: str, units: str, direction: Path | None) -> Sequence[Target]:
    """What is climbed in a layer, which has it at the position that is asked for.

    Raises
    ------
    SettingsError
        It has not; with the layer's name.
    """
    from deepvis_caffe.optimizer.batching import unit_shape
    from deepvis_caffe.optimizer.objectives import check_targets, read_directions, resolve_position

    shape = unit_shape(work.net, layer)
    resolve_position(work.position, shape, layer)
    if direction:
        return check_targets(read_directions(direction), shape, layer)
    try:
        return parse_units(units, (shape or (1,))[0])
    except SettingsError as error:
        raise SettingsError(f"layer {layer!r}: {error}") from error


def optimize_layer(work: Work, layer: str, targets: Sequence[Target], which: str) -> None:
    """Make one layer's pictures and say what came of it."""
    from deepvis_caffe.jobs.optimize import make_layer
    from deepvis_caffe.optimizer.dead_relus import below_relus

    net, store, seeds = work.net, work.store, len(work.seeds)
    typer.echo(plan(layer, len(targets), seeds, work.params.iterations) + which, err=True)
    begun = time.monotonic()
    with progress_bar(f"{layer} on {place(net, work.where)}", "image steps") as report:
        made = make_layer(
            net,
            store,
            layer,
            targets,
            work.seeds,
            work.params,
            work.position,
            work.labels,
            work.batch_size,
            work.crop,
            report,
            work.overwrite,
            work.where,
            work.make_net,
        )
    for unit in made:
        typer.echo(describe(unit, seeds))
    off = sum(unit.no_gradient for unit in made)
    if off:
        typer.echo(off_note(off, len(made) * seeds, below_relus(net, layer)), err=True)
    new, runs = sum(unit.new for unit in made), len(made) * seeds
    rate = f", {new / (time.monotonic() - begun):.3g} images a second" if new else ""
    typer.echo(
        f"{len(made)} units, {seeds} seeds each, in {store.layer_folder(layer)}; "
        f"{new} runs made now, {runs - new} were there{rate}",
        err=True,
    )


def place(net: Net, where: Where) -> str:
    """What runs the ascents, in words."""
    if isinstance(where, DaskCluster):
        return f"{net.engine}, workers of {where.address}"
    here = f"{net.engine}, {net.device}"
    return f"{here}, {where.count} processes" if isinstance(where, LocalProcesses) else here


def plan(layer: str, units: int, seeds: int, steps: int) -> str:
    """One line about what is going to be done."""
    return (
        f"{layer}: {units:,} units x {seeds} seeds x {steps} steps = {units * seeds * steps:,} "
        "image steps, less what is there already"
    )


def off_note(off: int, runs: int, below: Sequence[str]) -> str:
    """What to do about runs without a gradient."""
    note = f"{off} of {runs} runs ended at a gradient of exactly 0, as of a unit that is off"
    if not below:
        return note
    return f"{note} behind a ReLU; climb below it instead: {', '.join(below)}"


def describe(unit: Unit, seeds: int) -> str:
    """One line about a unit's pictures."""
    name = f"{unit.unit:>5}" + (f"  {unit.label.split(',')[0]}" if unit.label else "")
    if unit.value is None:
        return f"{name}: no finite activation; see the records beside {unit.montage}"
    top = f", highest of its layer for {unit.met_top} of {seeds} seeds" if unit.met_top else ""
    return f"{name}: activation {unit.value:.5g}{top}; {unit.montage}"

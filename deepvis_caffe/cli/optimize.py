"""``deepvis optimize LAYER``: images that excite the units of a layer most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.cli.values import parse_position, parse_push, parse_units
from deepvis_caffe.cluster import DaskCluster, LocalProcesses, Where
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL, OPTIMIZER

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.gallery.layer import Unit

REGULARIZERS = "Regularizers, in place of the preset's"


def _regularizer(help_: str) -> Any:
    return typer.Option(help=help_, rich_help_panel=REGULARIZERS, show_default=False)


@with_settings(MODEL, OPTIMIZER)
def optimize(
    settings: Settings,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="The units' layer, or blob.")],
    units: Annotated[str, typer.Option(help="130,366 or 0-99 or all.")] = "all",
    position: Annotated[
        str, typer.Option(help="Where on the unit's map: center, y,x or all of it.")
    ] = "center",
    push: Annotated[str, typer.Option(help="up, or down for images that inhibit.")] = "up",
    start: Annotated[str, typer.Option(help="First image: noise, uniform or mean.")] = "noise",
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
    }
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.gallery.elsewhere import net_maker, where_of
    from deepvis_caffe.gallery.layer import make_layer
    from deepvis_caffe.gallery.store import ResultStore
    from deepvis_caffe.model.labels import labels_fit, read_labels
    from deepvis_caffe.optimizer import ascent_params
    from deepvis_caffe.optimizer.relus import below_relus
    from deepvis_caffe.optimizer.run import unit_shape

    params = ascent_params(
        settings.preset,
        settings.rate,
        settings.iterations,
        start=start,
        push=parse_push(push),
        **{name: value for name, value in changes.items() if value is not None},
    )
    labels = read_labels(settings.labels) if settings.labels else ()
    net = load_net(settings)
    if labels and not labels_fit(labels, net.shapes.values()):
        typer.echo(
            f"no layer has as many units as {settings.labels} has names ({len(labels)}): they are "
            "left out",
            err=True,
        )
    store = ResultStore(out or settings.results)
    chosen = parse_units(units, (unit_shape(net, layer) or (1,))[0])
    typer.echo(plan(layer, len(chosen), settings.seeds, params.iterations), err=True)
    where = where_of(settings, net)
    with progress_bar(f"{layer} on {place(net, where)}", "image steps") as report:
        made = make_layer(
            net,
            store,
            layer,
            chosen,
            range(settings.seeds),
            params,
            parse_position(position),
            labels,
            settings.batch_size,
            report,
            overwrite,
            where,
            net_maker(settings, net),
        )
    for unit in made:
        typer.echo(describe(unit, settings.seeds))
    off = sum(unit.no_gradient for unit in made)
    if off:
        typer.echo(off_note(off, len(made) * settings.seeds, below_relus(net, layer)), err=True)
    new, runs = sum(unit.new for unit in made), len(made) * settings.seeds
    typer.echo(
        f"{len(made)} units, {settings.seeds} seeds each, in {store.layer_folder(layer)}; "
        f"{new} runs made now, {runs - new} were there",
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
    name = f"{unit.unit:5d}" + (f"  {unit.label.split(',')[0]}" if unit.label else "")
    if unit.value is None:
        return f"{name}: no finite activation; see the records beside {unit.montage}"
    top = f", highest of its layer for {unit.met_top} of {seeds} seeds" if unit.met_top else ""
    return f"{name}: activation {unit.value:.5g}{top}; {unit.montage}"

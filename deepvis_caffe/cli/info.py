"""``deepvis info``: every layer of the net, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import EngineChoice
    from deepvis_caffe.engines.layer_info import LayerInfo
    from deepvis_caffe.model.model import Model


@with_settings(MODEL)
def info(
    settings: Settings,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the layers: type, output shape, receptive field, number of weights.

    Also prints which engine and device run the net, and why. Without weights, only the structure is
    listed.
    """
    from deepvis_caffe.engines.layer_info import layer_infos
    from deepvis_caffe.engines.load import load_layers, load_net

    if settings.weights is None and (model := load_layers(settings)).weight_shapes:
        record = as_record(model, layer_infos(model, model.shapes))
    else:
        net = load_net(settings, run=False)
        record = as_record(net.model, net.layers, net.choice)
    if as_json:
        typer.echo(json.dumps(record, indent=1))
    else:
        _print_table(record)


def as_record(
    model: Model,
    layers: Sequence[LayerInfo],
    choice: EngineChoice | None = None,
) -> dict[str, Any]:
    """The output of `deepvis info --json`: plain lists, numbers and strings."""
    return {
        "net": model.graph.name,
        "engine": choice and choice.engine,
        "device": choice and choice.device,
        "engine_reason": choice and choice.reason,
        "inputs": {name: list(shape) for name, shape in model.input_shapes.items()},
        "weights": sum(layer.weights for layer in layers),
        "layers": [_layer_record(layer) for layer in layers],
    }


def _layer_record(layer: LayerInfo) -> dict[str, Any]:
    field = layer.receptive_field
    return {
        "name": layer.name,
        "type": layer.type,
        "bottoms": list(layer.bottoms),
        "tops": list(layer.tops),
        "shape": None if layer.shape is None else list(layer.shape),
        "receptive_field": None
        if field is None
        else {
            "size": list(field.size),
            "stride": [float(step) for step in field.stride],
            "offset": [float(start) for start in field.offset],
        },
        "weights": layer.weights,
        "why_not": layer.why_not,
        "finder": layer.finder,
    }


def _print_table(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("layer", "type", "output", "receptive field", "stride"):
        table.add_column(column, no_wrap=True)
    table.add_column("weights", justify="right", no_wrap=True)
    for layer in record["layers"]:
        field = layer["receptive_field"] or {"size": [], "stride": []}
        style = "dim" if layer["why_not"] else None
        table.add_row(
            layer["name"],
            layer["type"] + (", in place" if _in_place(layer) else ""),
            _times(layer["shape"][1:] or [1]) if layer["shape"] else "?",
            _times(field["size"]),
            _times(field["stride"]),
            f"{layer['weights']:,}" if layer["weights"] else "",
            style=style,
        )
    inputs = ", ".join(f"{name} {_times(shape)}" for name, shape in record["inputs"].items())
    runs = "no weights"
    if record["engine"]:
        runs = f"engine {record['engine']} on {record['device']} ({record['engine_reason']})"
    # Wide enough for long names even if stdout is a file or a pipe.
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table, markup=False)
    console.print(
        f"\n{record['net'] or 'net'}: {len(record['layers'])} layers, {record['weights']:,} "
        f"weights; input {inputs}; {runs}",
        markup=False,
        highlight=False,
    )
    for note in (naming_note(record["layers"]), rows_note(record["layers"])):
        if note:
            console.print(note, markup=False, highlight=False)


def naming_note(layers: Sequence[dict[str, Any]]) -> str | None:
    """What names mean in a net with in-place layers, with the first of these as the example."""
    blob = next((layer["tops"][0] for layer in layers if _in_place(layer)), None)
    if blob is None:
        return None
    first, *_, last = (layer["name"] for layer in layers if blob in layer["tops"])
    return (
        f"A layer's name means its activation after the layers that work on it in place: {first} "
        f"is the value after {last}, and {first}:raw the value before all of them"
    )


def rows_note(layers: Sequence[dict[str, Any]]) -> str | None:
    """A note on the layers that have a row for each detection instead of each image."""
    from deepvis_caffe.engines.detections import ROWS

    following: dict[str, int] = {}
    for layer in layers:
        if layer["finder"]:
            following[layer["finder"]] = following.get(layer["finder"], -1) + 1
    if not following:
        return None
    boxes = [layer["name"] for layer in layers if layer["type"] in ROWS]
    named = "; ".join(
        name + (f" and {count} layer(s) after it" if count else "")
        for name, count in following.items()
    )
    return (
        f"One row per detection instead of one per image: {named}. These layers have no units to "
        "maximize or to scan"
        + (f"; the viewer draws the boxes of {', '.join(boxes)}" if boxes else "")
    )


def _in_place(layer: dict[str, Any]) -> bool:
    return bool(set(layer["tops"]) & set(layer["bottoms"]))


def _times(sizes: list[int]) -> str:
    return " x ".join(f"{size:g}" for size in sizes)

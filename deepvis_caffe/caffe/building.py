"""Builds a net from its prototxt: ``(prototxt, phase, level, stages) -> BuiltNet``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from deepvis_caffe.caffe import (  # noqa: F401 (they fill the table of operations)
    losses,
    recurrent,
    training,
)
from deepvis_caffe.caffe.blob import Blob, ByName
from deepvis_caffe.caffe.data_layers import DATA_LAYERS, check_is_read
from deepvis_caffe.caffe.layer import NetLayer
from deepvis_caffe.caffe.memory import Array
from deepvis_caffe.caffe.operations import Operation, operation_for
from deepvis_caffe.caffe.python_layer import BlobLayer, make_layer
from deepvis_caffe.caffe.wiring import Wire, mark_backward, wired
from deepvis_caffe.engines.out_of_memory import in_memory
from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.dialects import translate
from deepvis_caffe.model.prototxt import parse_prototxt, warn_once
from deepvis_caffe.model.schema_pb2 import TEST, LayerParameter, NetParameter, ParamSpec, Phase
from deepvis_caffe.model.upgrade import upgrade

AUTOMATIC = "(automatic)"  # prefix of the names of tops that the prototxt does not name

NetLayers = Sequence[NetLayer | BlobLayer]


@dataclass
class BuiltNet:
    """The layers and blobs of a net.

    Attributes
    ----------
    name
        As in the prototxt.
    layers, blobs
        In order, including splits; blobs by name.
    inputs
        Indices of the blobs that a script fills.
    unread
        Indices of the blobs that no layer reads, by name.
    """

    name: str
    layers: list[NetLayer | BlobLayer] = field(default_factory=list)
    blobs: OrderedDict[str, Blob] = field(default_factory=ByName)
    inputs: list[int] = field(default_factory=list)
    unread: dict[str, int] = field(default_factory=dict)

    @property
    def outputs(self) -> list[int]:
        """Indices of the blobs that no layer reads, in alphabetical order."""
        return [self.unread[name] for name in sorted(self.unread)]


def build(
    path: str,
    phase: Phase,
    level: int,
    stages: Collection[str],
    found: Mapping[str, Sequence[Array]] | None,
    device: torch.device,
) -> BuiltNet:
    """Make the layers and blobs of a net, with weights from its fillers.

    Parameters
    ----------
    path
        A prototxt of any generation.
    phase, level, stages
        Select the layers of the net.
    found
        The weights by layer name, if known: some forks' layers can only be told apart by them.
    device
        Where it computes.

    Raises
    ------
    ModelError
        The prototxt cannot be read, or describes no net that Caffe could build.
    """
    written = parse_prototxt(path)
    if not (written.net.input_shape or written.net.input_dim):
        written.net.ClearField("input")  # Caffe drops inputs without a shape
    faults = dict(written.unreadable)
    net = translate(upgrade(written.net), faults, found, trains=phase != TEST)
    try:
        layers = wired(net, phase, level, stages)
        for layer in layers:
            unknown = written.foreign.get(layer.name, ())
            if layer.name in faults:
                raise ModelError(f"layer {layer.name!r}: {faults[layer.name]}")
            if not layer.type:
                named = f"; unknown field {unknown[0].path!r}, line {unknown[0].line}"
                raise ModelError(f"layer {layer.name!r} has no type{named if unknown else ''}")
            for one in unknown:
                if not one.harmless:
                    note = f"layer {layer.name!r}, line {one.line}: unknown field {one.path!r}"
                    warn_once(Path(path), f"{note}; it has no effect")
        with in_memory(f"the net's blobs on {device}"):
            return _built(net, layers, phase, device)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _built(
    net: NetParameter, layers: Sequence[LayerParameter], phase: Phase, device: torch.device
) -> BuiltNet:
    built = BuiltNet(net.name)
    owners: dict[str, Blob] = {}
    for param in layers:
        kind = operation_for(param) or Operation
        weights = kind.loss_weights(param)
        _name_all_tops(param, len(weights), built.blobs)
        _add_blobs(built, param, device)
        layer = _layer(built, param, phase, device)
        _share_parameters(layer, owners)
        specs = [*param.param, *[ParamSpec()] * len(layer.blobs)][: len(layer.blobs)]
        layer.wire = Wire(
            bottoms=list(param.bottom),
            tops=list(param.top),
            losses=weights,
            learns=[spec.lr_mult != 0 for spec in specs],
            propagate_down=list(param.propagate_down),
            may_be_forced=[kind.may_be_forced(i) for i in range(len(param.bottom))],
        )
        built.layers.append(layer)
    mark_backward([layer.wire for layer in built.layers], net.force_backward)
    return built


def _name_all_tops(param: LayerParameter, count: int, blobs: Mapping[str, Blob]) -> None:
    """A loss need not name its top."""
    while len(param.top) < count:
        others = sum(blob.startswith(AUTOMATIC) for blob in [*blobs, *param.top])
        param.top.append(f"{AUTOMATIC} {others}" if others else AUTOMATIC)


def _add_blobs(built: BuiltNet, param: LayerParameter, device: torch.device) -> None:
    for name in param.bottom:
        built.unread.pop(name, None)
    for name in param.top:
        if name not in built.blobs:
            built.blobs[name] = Blob((0,), device)
        number = list(built.blobs).index(name)
        if not name.startswith(AUTOMATIC):
            built.unread[name] = number
        if param.type == "Input":
            built.inputs.append(number)


def _layer(
    built: BuiltNet, param: LayerParameter, phase: Phase, device: torch.device
) -> NetLayer | BlobLayer:
    """A layer of either kind on its blobs."""
    check_is_read(param)
    bottoms, tops = ([built.blobs[name] for name in names] for names in (param.bottom, param.top))
    phase = param.phase if param.HasField("phase") else phase
    on_blobs = param.type == "Python" or param.type in DATA_LAYERS
    if not on_blobs or any(blob.unknown for blob in bottoms):
        return NetLayer(param, len(built.layers), phase, bottoms, tops, device)
    try:
        made = DATA_LAYERS.get(param.type, make_layer)(param)
        return BlobLayer(param, made, phase, bottoms, tops)
    except ModelError as error:
        raise ModelError(f"layer {param.name!r} ({param.type}): {error}") from error


def _share_parameters(layer: NetLayer | BlobLayer, owners: dict[str, Blob]) -> None:
    """Share parameters that have the same name as another layer's."""
    for index, spec in enumerate(layer.param.param[: len(layer.blobs)]):
        mine = layer.blobs[index]
        if not spec.name:
            continue
        owner = owners.setdefault(spec.name, mine)
        if owner is mine:
            continue
        permissive = spec.share_mode == ParamSpec.PERMISSIVE
        if mine.count != owner.count if permissive else mine.shape != owner.shape:
            raise ModelError(
                f"layer {layer.name!r} shares parameter {spec.name!r} with a layer before it, but "
                f"needs shape {mine.shape}, but that has {owner.shape}"
            )
        layer.share(index, owner)
        layer.borrowed.add(index)

"""Caffe's wiring of a net: ``(net, phase, level, stages) -> layers with splits``.

The layers, their order and their blobs' names are the same as in Caffe, because scripts list them:
a blob with several readers is split, so that each reader has its own diff.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.phases import is_included
from deepvis_caffe.model.schema_pb2 import LayerParameter, NetParameter, NetState, Phase

Place = tuple[int, int]  # index of a layer, and of one of its tops


def wired(
    net: NetParameter, phase: Phase, level: int = 0, stages: Collection[str] = ()
) -> list[LayerParameter]:
    """The layers of a V2 net for a state, with splits between them.

    Raises
    ------
    ModelError
        A layer reads a blob that no earlier layer writes, or two layers write the same blob.
    """
    state = NetState(phase=phase, level=level, stage=[*net.state.stage, *stages])
    layers = []
    for one in net.layer:
        if is_included(one, state):
            layers.append(LayerParameter())
            layers[-1].CopyFrom(one)
    return _with_splits(layers)


def _with_splits(layers: Sequence[LayerParameter]) -> list[LayerParameter]:
    written: dict[str, Place] = {}  # where each blob was written last
    sources: list[list[Place]] = []  # where each layer's bottoms were written
    readers: dict[Place, int] = {}
    weights: dict[Place, float] = {}  # loss weights of tops: a loss counts as a reader
    for i, layer in enumerate(layers):
        for blob in layer.bottom:
            if blob not in written:
                where = f"the bottoms of layer {layer.name!r}"
                raise ModelError(str(UnknownNameError("blob", blob, written, where)))
        sources.append([written[blob] for blob in layer.bottom])
        for source in sources[-1]:
            readers[source] = readers.get(source, 0) + 1
        for j, blob in enumerate(layer.top):
            if blob in written and list(layer.bottom[j : j + 1]) != [blob]:
                raise ModelError(
                    f"layer {layer.name!r} ({layer.type}) writes blob {blob!r}, which an earlier "
                    "layer already writes; only an in-place layer may overwrite its bottom"
                )
            if blob in written and readers[written[blob]] > 1:
                raise ModelError(
                    f"layer {layer.name!r} ({layer.type}) overwrites blob {blob!r} in place, but "
                    "other layers read it; give its top another name"
                )
            written[blob] = i, j
        for j, weight in enumerate(layer.loss_weight[: len(layer.top)]):
            place = written[layer.top[j]]
            weights[place] = weight
            if weight:
                readers[place] = readers.get(place, 0) + 1
    used: dict[Place, int] = {}  # number of used tops of its split
    found: list[LayerParameter] = []
    for i, layer in enumerate(layers):
        found.append(layer)
        for j, source in enumerate(sources[i]):
            if readers[source] > 1:
                blob = layer.bottom[j]
                split = _split_name(layers[source[0]].name, blob, source[1])
                layer.bottom[j] = f"{split}_{used.get(source, 0)}"
                used[source] = used.get(source, 0) + 1
        for j, blob in enumerate(layer.top):
            count = readers.get((i, j), 0)
            if count < 2:
                continue
            name = _split_name(layer.name, blob, j)
            split = LayerParameter(name=name, type="Split", bottom=[blob])
            split.top.extend(f"{name}_{k}" for k in range(count))
            if weight := weights.get((i, j), 0):
                split.loss_weight.extend([weight] + [0] * (count - 1))
                layer.ClearField("loss_weight")
                used[i, j] = 1
            found.append(split)
    return found


def _split_name(layer: str, blob: str, top: int) -> str:
    return f"{blob}_{layer}_{top}_split"


@dataclass
class Wire:
    """The properties of a layer that determine where diffs go.

    Attributes
    ----------
    bottoms, tops
        Names of blobs.
    losses
        The weight of each top in the loss.
    learns
        For each parameter, whether its learning rate is nonzero.
    propagate_down
        The prototxt's setting for each bottom; empty if there is none.
    may_be_forced
        For each bottom, whether `force_backward` applies to it.
    needs_backward, bottoms_need, params_need
        Set by :func:`mark_backward`: whether a backward pass runs the layer, and for which of its
        bottoms and parameters.
    """

    bottoms: Sequence[str]
    tops: Sequence[str]
    losses: Sequence[float]
    learns: Sequence[bool]
    propagate_down: Sequence[bool]
    may_be_forced: Sequence[bool]
    needs_backward: bool = False
    bottoms_need: list[bool] = field(default_factory=list)
    params_need: list[bool] = field(default_factory=list)


def mark_backward(wires: Sequence[Wire], force: bool) -> None:
    """Determine the layers that a backward pass runs, as in Caffe.

    Without `force_backward` these are the layers between a learned parameter and a loss. So in a
    net without a loss there are none, and its diffs are unchanged.
    """
    need: set[str] = set()  # blobs above a learned parameter
    for wire in wires:
        reached = [blob in need for blob in wire.bottoms]
        wire.bottoms_need = list(wire.propagate_down) or reached
        wire.params_need = list(wire.learns)
        wire.needs_backward = any(reached) or any(wire.learns)
        if wire.needs_backward:
            need.update(wire.tops)
    under_loss: set[str] = set()
    skipped: set[str] = set()
    for wire in reversed(wires):
        tops = list(zip(wire.tops, wire.losses, strict=True))
        contributes = any(weight or blob in under_loss for blob, weight in tops)
        if all(blob in skipped for blob, _ in tops):
            if wire.needs_backward:
                wire.bottoms_need = [False] * len(wire.bottoms)
            wire.needs_backward = False
        if contributes:
            under_loss.update(wire.bottoms)
        else:
            wire.needs_backward = False
            wire.bottoms_need = [False] * len(wire.bottoms)
        skipped.update(
            blob for blob, one in zip(wire.bottoms, wire.bottoms_need, strict=True) if not one
        )
    if force:
        for wire in wires:
            wire.needs_backward = True
            pairs = zip(wire.bottoms_need, wire.may_be_forced, strict=True)
            wire.bottoms_need = [one or forced for one, forced in pairs]
            wire.params_need = [True] * len(wire.learns)

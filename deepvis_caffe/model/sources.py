"""Sources of a net: data layers, inputs, constants, and blobs that no layer writes.

The functions change the layers of a net while it is converted to a deploy net; see
`deepvis_caffe.model.deploy`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deepvis_caffe.errors import ModelError, did_you_mean
from deepvis_caffe.model.input_shape import CONVENTIONAL, Hint, Shape, hint_of, image_input
from deepvis_caffe.model.schema_pb2 import TRAIN, LayerParameter
from deepvis_caffe.model.shapes import RULES
from deepvis_caffe.model.training import (
    drop_tops,
    is_data,
    is_label_name,
    is_learned,
    is_loss,
    is_source,
    needed_bottoms,
    target_layers,
)


@dataclass
class Findings:
    """Findings about a net during the conversion.

    Attributes
    ----------
    notes
        Messages, one sentence each.
    unwritten
        Blobs that become inputs because no layer of the file writes them.
    faults
        Layers that cannot run, each with the reason.
    """

    notes: list[str] = field(default_factory=list)
    unwritten: set[str] = field(default_factory=set)
    faults: list[tuple[LayerParameter, str]] = field(default_factory=list)


def filled_blobs(layers: Iterable[LayerParameter], weights: Collection[str]) -> list[str]:
    """The blobs that the user fills: those of inputs and data layers, in order."""
    return [
        blob
        for layer in layers
        if layer.type == "Input" or is_data(layer, weights)
        for blob in layer.top
    ]


# -- normalizing sources ---------------------------------------------------------------------------


def merge_transformations(
    layers: Sequence[LayerParameter], weights: Collection[str], findings: Findings
) -> None:
    """Let a custom layer that transforms images and labels together replace the data layers.

    DIGITS' DetectNetTransformation is such a layer: it reads both data layers, and everything else
    reads its tops.
    """
    filled = {blob: one for one in layers if is_source(one, weights) for blob in one.top}
    targets = target_layers(layers, weights)
    for layer in layers:
        if (
            len(layer.bottom) > 1
            and filled.keys() >= set(layer.bottom)
            and any(map(is_label_name, layer.bottom))
            and layer.type not in RULES
            and not is_learned(layer, weights)
            and not is_loss(layer)
            and not _is_among(layer, targets)
        ):
            before = filled[layer.bottom[0]]
            if before.HasField("transform_param") and not layer.HasField("transform_param"):
                layer.transform_param.CopyFrom(before.transform_param)
            layer.ClearField("bottom")
            findings.notes.append(
                f"layer {layer.name!r} ({layer.type}) transforms images and labels together; its "
                "tops become inputs"
            )


def in_order(
    layers: Sequence[LayerParameter], weights: Collection[str], findings: Findings
) -> list[LayerParameter]:
    """The layers with sources before their readers, and one source for each blob."""
    read: set[str] = set()
    late = []
    for layer in layers:
        if is_source(layer, weights) and not read.isdisjoint(layer.top):
            late.append(layer)
            findings.notes.append(
                f"layer {layer.name!r} comes after layers that read it; it is moved to the front"
            )
        read.update(layer.bottom)
    ordered = late + [one for one in layers if not _is_among(one, late)]
    fillers: dict[str, list[LayerParameter]] = {}
    for layer in ordered:
        if is_source(layer, weights):
            for blob in dict.fromkeys(layer.top):
                fillers.setdefault(blob, []).append(layer)
    for blob, several in fillers.items():
        if len(several) > 1:
            kept = max(several, key=lambda one: bool(_tells_shape(one, blob)))
            for layer in several:
                if layer is not kept:
                    drop_tops(layer, {blob})
            findings.notes.append(f"{len(several)} layers fill blob {blob!r}; using {kept.name!r}")
    return [one for one in ordered if one.top or one.bottom]


def _tells_shape(layer: LayerParameter, blob: str) -> Shape:
    if layer.type == "Input":
        return declared_shapes(layer)[list(layer.top).index(blob)]
    return hint_of(layer).shape if layer.top[0] == blob else ()


# -- blobs that no layer writes --------------------------------------------------------------------


def fill_blobs(
    layers: list[LayerParameter],
    left_out: Sequence[LayerParameter],
    given: Collection[str],
    weights: Collection[str],
    findings: Findings,
) -> list[LayerParameter]:
    """The layers, with an input for each blob that is read but not written before.

    Instead, a layer that reads a blob with a misspelled name has a fault, and so has one that reads
    a blob which only a later layer writes. Blobs that only losses read are skipped.

    Parameters
    ----------
    layers, left_out
        The layers of the net, and those of the file's other phases and stages.
    given
        Blobs for which the user gives a shape.
    weights
        The layers in the weights file.
    findings
        Faults and notes are added here.
    """
    made: list[LayerParameter] = []
    written: set[str] = set()
    sources = sorted((one for one in left_out if is_source(one, weights)), key=_is_for_training)
    for layer in layers:
        for blob in dict.fromkeys(needed_bottoms(layer)):
            if blob in written:
                continue
            source = next((one for one in sources if blob in one.top), None)
            if blob not in given and not source and (why := _why_missing(blob, layers, left_out)):
                findings.faults.append((layer, why))
                layer.bottom[:] = [one for one in layer.bottom if one != blob]
            elif source and blob not in given:
                copy = LayerParameter()
                copy.CopyFrom(source)
                drop_tops(copy, {top for one in (*layers, *made) for top in _new_tops(one)})
                made.append(copy)
                findings.notes.append(
                    f"blob {blob!r} becomes an input; its layer, {source.name!r}, belongs "
                    "to another phase or stage"
                )
            else:
                made.append(LayerParameter(name=blob, type="Input", top=[blob]))
                findings.unwritten.add(blob)
                findings.notes.append(f"no layer writes blob {blob!r}; it becomes an input")
            written.update(top for one in made for top in one.top)
        written.update(layer.top)
    return made + layers


def _new_tops(layer: LayerParameter) -> Sequence[str]:
    """The tops that a layer does not overwrite in place."""
    return [top for top in layer.top if top not in layer.bottom]


def _is_for_training(layer: LayerParameter) -> bool:
    return any(rule.HasField("phase") and rule.phase == TRAIN for rule in layer.include)


def _why_missing(
    blob: str, layers: Sequence[LayerParameter], left_out: Sequence[LayerParameter]
) -> str:
    """Why a blob that nothing writes is a mistake; empty if it is an input."""
    writers = [one for one in layers if blob in one.top and blob not in one.bottom]
    if writers:
        return (
            f"it reads blob {blob!r}, which only the later layer {writers[0].name!r} writes; a "
            "layer must come after the layers whose blobs it reads"
        )
    if blob in CONVENTIONAL or any(blob in one.top for one in left_out):
        return ""
    there = list(dict.fromkeys(top for one in layers for top in one.top if top != blob))
    read = {bottom for one in layers for bottom in one.bottom}
    # A top that nothing reads is more likely meant than one with readers.
    near = difflib.get_close_matches(blob, [top for top in there if top not in read], cutoff=0.7)
    if not near and not blob.startswith("data"):
        near = difflib.get_close_matches(blob, there, cutoff=0.8)
    return f"no layer writes blob {blob!r}{did_you_mean(blob, there)}" if near else ""


# -- constants -------------------------------------------------------------------------------------


def find_image_in_dummies(
    layers: list[LayerParameter], weights: Collection[str], findings: Findings
) -> None:
    """Turn the DummyData that the first layer with weights depends on into an Input.

    In the test nets of some detectors the program overwrites it with the image. If this layer also
    depends on an input, the DummyData stays a constant.
    """
    inputs = filled_blobs(layers, weights)
    learned = (one for one in layers if one.bottom and is_learned(one, weights))
    first = next(learned, None)
    if first:
        below = sources_below(layers, first)
    else:
        below = [] if inputs else [blob for layer in layers for blob in layer.bottom]
    dummies = {blob: one for one in layers if one.type == "DummyData" for blob in one.top}
    shapes = {blob: _dummy_shape(dummies[blob], blob) for blob in below if blob in dummies}
    shapes = {blob: shape for blob, shape in shapes.items() if shape}
    if not shapes or not set(inputs).isdisjoint(below):
        return
    image = image_input(shapes)
    dummy = dummies[image]
    new = LayerParameter(name=dummy.name if len(dummy.top) == 1 else image, type="Input")
    new.top.append(image)
    new.input_param.shape.add(dim=shapes[image])
    position = next(i for i, one in enumerate(layers) if one is dummy)
    layers[position : position + (len(dummy.top) == 1)] = [new]
    drop_tops(dummy, {image})
    findings.notes.append(
        f"the net has no other input for its image, so DummyData {image!r} is used"
    )


def sources_below(layers: Sequence[LayerParameter], layer: LayerParameter) -> list[str]:
    """The blobs of layers without bottoms that a layer depends on, in order."""
    wanted: set[str] = set()
    found: list[str] = []
    for one in reversed(layers):
        if one is layer or not wanted.isdisjoint(one.top):
            found += [] if one.bottom else [blob for blob in reversed(one.top) if blob in wanted]
            wanted.update(one.bottom)
    return found[::-1]


def _dummy_shape(layer: LayerParameter, blob: str) -> Shape:
    """The shape of a DummyData's top; empty if its parameters are invalid."""
    try:
        return RULES["DummyData"](layer, ()).tops[list(layer.top).index(blob)]
    except ModelError:
        return ()


# -- declared shapes -------------------------------------------------------------------------------


def declared_shapes(layer: LayerParameter) -> list[Shape]:
    """The shape that an Input layer declares for each of its tops; empty for none.

    A size of 0 or less is a placeholder and makes the shape unknown.

    Raises
    ------
    ModelError
        It declares neither one shape nor one for each top.
    """
    shapes = [tuple(shape.dim) for shape in layer.input_param.shape] or [()]
    if len(shapes) == 1:
        shapes *= len(layer.top)
    if len(shapes) != len(layer.top):
        raise ModelError(
            f"layer {layer.name!r} (Input) has {len(layer.top)} tops and {len(shapes)} shapes; "
            "give one shape, or one for each top"
        )
    return [shape if min(shape, default=0) > 0 else () for shape in shapes]


def hints_of(
    layers: Sequence[LayerParameter],
    left_out: Sequence[LayerParameter],
    weights: Collection[str],
    prototxt: Path | None,
) -> dict[str, Hint]:
    """What the file tells about data layers' blobs; gaps are filled from the other phase."""
    told: dict[str, list[Hint]] = {}
    for layer in (*layers, *sorted(left_out, key=_is_for_training)):
        if is_data(layer, weights):
            for position, blob in enumerate(layer.top):
                told.setdefault(blob, []).append(Hint() if position else hint_of(layer, prototxt))
    return {
        blob: Hint(
            channels=next((hint.channels for hint in hints if hint.channels), None),
            size=next((hint.size for hint in hints if hint.size), None),
            frames=next((hint.frames for hint in hints if hint.frames), None),
        )
        for blob, hints in told.items()
    }


def _is_among(layer: LayerParameter, layers: Iterable[LayerParameter]) -> bool:
    return any(layer is one for one in layers)

"""Convert the net of any prototxt to a deploy net: ``(net, input shapes, weights) -> Deployed``.

A deploy file stays nearly unchanged. A train_val file loses what only training needs: the layers
of the other phase, data layers (they become inputs), labels, losses and accuracies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ModelError, UnknownNameError, UnknownShapeError
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.input_shape import (
    COLOURS,
    COMMON,
    CONVENTIONAL,
    Fitted,
    Hint,
    Shape,
    fit_inputs,
    image_input,
    is_image,
)
from deepvis_caffe.model.phases import Kind, Questions, select
from deepvis_caffe.model.schema_pb2 import ConvolutionParameter, LayerParameter, NetParameter
from deepvis_caffe.model.sources import (
    Findings,
    declared_shapes,
    fill_blobs,
    filled_blobs,
    find_image_in_dummies,
    hints_of,
    in_order,
    merge_transformations,
    sources_below,
)
from deepvis_caffe.model.training import (
    find_labels,
    is_data,
    is_learned,
    is_loss,
    is_source,
    target_layers,
    without_training,
)

Arrays = Mapping[str, Sequence[NDArray[np.float32]]]
Given = Mapping[str, Sequence[int]] | Sequence[int]

_ENGINES = (
    *("convolution_param", "pooling_param", "lrn_param", "relu_param"),
    *("sigmoid_param", "softmax_param", "spp_param", "tanh_param"),
)
_FILLERS = {
    "local_param": ("weight_filler", "bias_filler"),
    "convolution_param": ("weight_filler", "bias_filler"),
    "inner_product_param": ("weight_filler", "bias_filler"),
    "scale_param": ("filler", "bias_filler"),
    "bias_param": ("filler",),
    "prelu_param": ("filler",),
    "norm_param": ("scale_filler",),
    "parameter_param": ("blob_filler",),
}


@dataclass(frozen=True)
class Deployed:
    """A net with inputs.

    Attributes
    ----------
    net
        In V2 form, without rules. Its Input layers declare the shapes of the net's inputs.
    faults
        Why layers cannot run, by name: one reads a blob that does not exist, or is an input of
        unknown shape.
    notes
        One sentence for each deviation from Caffe, and for each fact that the file does not give.
    renamed
        The old names of layers that may have weights, by new name.
    """

    net: NetParameter
    faults: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)


def deploy(
    net: NetParameter,
    input_shapes: Given | None = None,
    *,
    stages: Sequence[str] = (),
    weights: Arrays | None = None,
    prototxt: Path | None = None,
) -> Deployed:
    """The deploy form of a file's net: the user fills its inputs, and it ends in activations.

    - ``include`` and ``exclude`` rules are applied for phase TEST, level 0, and the stages of the
      file and of `stages`. If that net is incomplete, but the one of another stage or of phase
      TRAIN is complete, that one is used; see `deepvis_caffe.model.phases`.
    - Data layers of any type become ``Input`` layers with batch size 1. Their labels are removed,
      and so is everything that depends on labels. Other blobs that no layer writes also become
      inputs, unless their names look misspelled: then the layers that read them have faults.
    - The shapes of inputs come from the user, the file, conventions or the weights; see
      `deepvis_caffe.model.input_shape`.
    - If a net has no input, the DummyData that its first layer with weights depends on is the
      image.
    - The last SoftmaxWithLoss or SigmoidCrossEntropyLoss becomes a Softmax or Sigmoid named
      ``prob``, unless the net has a ``prob`` already. One with a second top always becomes a layer
      that writes that top. Other losses, accuracies and file outputs are removed.
    - If two layers share a name, the second is renamed. As in Caffe, weights under that name belong
      to the first; the second has only those that it shares with another layer through `param`.
    - A blob that is written again, but not in place, or in place after another layer has read it,
      gets a new name from there on. Caffe refuses such a net.
    - Other parameters for training are removed, too: fillers (they cost Caffe seconds, and weights
      come from a file), loss weights, ``propagate_down``, and ``engine: CUDNN``, which a Caffe
      built without cuDNN refuses.

    Parameters
    ----------
    net
        In V2 form, as `deepvis_caffe.model.prototxt.read_prototxt` returns it. Not changed.
    input_shapes
        Shape by input blob, batch axis first: (N, C, H, W) for images; or one shape, for the image.
        Required if it cannot be determined otherwise; takes precedence over other sources.
    stages
        Stages to set in addition to those in the file's ``state``.
    weights
        Arrays by layer name, from which more about the inputs follows; None without weights.
    prototxt
        The net's file, in whose folder its mean image is looked up; None without a file.

    Raises
    ------
    ModelError
        The net has no input, the shape of the image is unknown, or no layers are left.
    UnknownNameError
        `input_shapes` names a blob that is not an input.
    """
    arrays = weights or {}
    bare: Sequence[int] = ()
    given: dict[str, Shape] = {}
    if isinstance(input_shapes, Mapping):
        given = {name: tuple(map(int, shape)) for name, shape in input_shapes.items()}
    elif input_shapes is not None:
        bare = input_shapes
    findings = Findings()
    chosen = select(net, stages, _questions(net, given, arrays))
    findings.notes += chosen.notes
    layers = list(map(_copy, chosen.layers))
    merge_transformations(layers, arrays, findings)
    hints = hints_of(layers, chosen.left_out, arrays, prototxt)
    layers = in_order(layers, arrays, findings)
    layers = fill_blobs(layers, chosen.left_out, given, arrays, findings)
    layers = _without_labels(layers, any(map(is_loss, net.layer)), given, arrays)
    find_image_in_dummies(layers, arrays, findings)
    _check_inputs(net.name, layers, given, arrays)
    if bare:
        given = {_likely_image(layers, hints, arrays): tuple(map(int, bare))}
    findings.faults += [(layer, "it has no type") for layer in layers if not layer.type]
    _strip(layers)
    renamed = _rename_layers(layers, findings)
    _rename_blobs(layers, findings)
    layers = _with_shapes(net.name, layers, given, hints, weights, findings)
    faults = {
        layer.name: reason
        for layer, reason in reversed(findings.faults)
        if any(layer is one for one in layers)
    }
    deployed = NetParameter(name=net.name, layer=layers)
    return Deployed(deployed, faults, tuple(findings.notes), renamed)


def _questions(net: NetParameter, given: Collection[str], weights: Collection[str]) -> Questions:
    def kind(layer: LayerParameter) -> Kind:
        if is_source(layer, weights):
            return "source"
        return "measures" if is_loss(layer) or not layer.top else "computes"

    sources = [layer for layer in net.layer if is_source(layer, weights)]
    filled = {blob for layer in sources for blob in layer.top}.union(given, CONVENTIONAL)
    computed = {blob for layer in net.layer if layer.bottom for blob in layer.top}
    # A blob that no layer of the file writes is an input or misspelled in either phase.
    return Questions(kind, lambda blob: blob in filled or blob not in computed)


def _copy(layer: LayerParameter) -> LayerParameter:
    copy = LayerParameter()
    copy.CopyFrom(layer)
    return copy


def _strip(layers: Iterable[LayerParameter]) -> None:
    """Remove parameters that only matter for training."""
    for layer in layers:
        for name in ("include", "exclude", "phase", "loss_weight", "propagate_down", "blobs"):
            layer.ClearField(name)
        for member, fillers in _FILLERS.items():
            if layer.HasField(member):
                for name in fillers:
                    getattr(layer, member).ClearField(name)
        for member in _ENGINES:
            if layer.HasField(member):
                options = getattr(layer, member)
                if options.engine == ConvolutionParameter.CUDNN:
                    options.ClearField("engine")


def _without_labels(
    layers: list[LayerParameter], trains: bool, given: Collection[str], weights: Collection[str]
) -> list[LayerParameter]:
    """The layers without losses, labels, and everything that depends on either."""
    targets = target_layers(layers, weights)
    made = {blob for layer in targets for blob in layer.top}
    left = [layer for layer in layers if not any(layer is one for one in targets)]
    for _ in range(2):  # without losses, some blobs of data layers have no reader
        labels = find_labels(left, trains, weights).difference(given)
        left = without_training(left, labels | made, weights)
    return left


def _check_inputs(
    net: str, layers: Sequence[LayerParameter], given: Collection[str], weights: Collection[str]
) -> None:
    inputs = filled_blobs(layers, weights)
    for name in given:
        if name not in inputs:
            raise UnknownNameError("input", name, inputs, f"net {net!r}")
    if all(is_source(layer, weights) for layer in layers):
        raise ModelError(f"net {net!r}: every layer needs labels, so no layer is left")
    if not inputs:
        raise ModelError(
            f"net {net!r} has no input: no Input or data layer, and no blob that no layer writes. "
            'Add one, for example layer { name: "data" type: "Input" top: "data" input_param { '
            "shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }"
        )


# -- shapes of inputs ------------------------------------------------------------------------------


def _likely_image(
    layers: Sequence[LayerParameter], hints: Mapping[str, Hint], weights: Collection[str]
) -> str:
    """The input that an unnamed shape is for."""
    shapes: dict[str, Shape] = {}
    for layer in layers:
        if layer.type == "Input":
            shapes |= zip(layer.top, declared_shapes(layer), strict=True)
        elif is_data(layer, weights):
            shapes |= {blob: hints.get(blob, Hint()).shape for blob in layer.top}
    learned = [layer for layer in layers if is_learned(layer, weights)]
    needed = {blob for layer in learned for blob in sources_below(layers, layer)}
    needed.difference_update(CONVENTIONAL)
    unknown = (1, COLOURS, COMMON, COMMON)
    guesses = {
        blob: unknown if not shape and blob in needed else shape for blob, shape in shapes.items()
    }
    return image_input(guesses)


def _with_shapes(
    net: str,
    layers: Sequence[LayerParameter],
    given: Mapping[str, Shape],
    hints: Mapping[str, Hint],
    weights: Arrays | None,
    findings: Findings,
) -> list[LayerParameter]:
    """The layers, with each Input and data layer replaced by an Input layer with shapes.

    An input of unknown shape becomes a separate Input layer that cannot run, unless it is the
    image.
    """
    known: dict[str, Shape] = dict(given)
    unknown: dict[str, Hint] = {}
    for layer in layers:
        if layer.type == "Input":
            for blob, shape in zip(layer.top, declared_shapes(layer), strict=True):
                _check_axes(blob, shape, given)
                if blob not in given and shape:
                    known[blob] = shape
                elif blob not in given:
                    unknown[blob] = Hint()
        elif is_data(layer, weights or {}):
            for blob in layer.top:
                hint = hints.get(blob, Hint())
                if len(given.get(blob, ())) <= 4:  # hints are for images; these may be volumes
                    _check_axes(blob, hint.shape, given)
                if blob not in given:
                    unknown[blob] = hint
    for blob, shape in known.items():
        if min(shape, default=1) < 1:
            raise ModelError(f"net {net!r}: input {blob!r} has shape {shape}; sizes are 1 or more")
    fitted = Fitted()
    if unknown or any(len(shape) == 3 for shape in known.values()):
        bare = (_to_input(layer, {}, weights or {}) for layer in layers)
        graph = Graph.from_layers(net, chain.from_iterable(bare))
        fitted = fit_inputs(graph, known, unknown, weights)
    findings.notes += fitted.notes
    shapes = {**known, **fitted.shapes}
    missing = [blob for blob in unknown if blob not in shapes]
    likely = _likely_image(layers, hints, weights or {}) if missing else ""
    if likely in missing and not any(map(is_image, shapes.values())):
        _ask(net, likely, fitted.channels.get(likely), unknown[likely], weights)
    made: list[LayerParameter] = []
    for layer in layers:
        for one in _to_input(layer, shapes, weights or {}):
            if one.type == "Input" and not one.input_param.shape:
                blob = one.top[0]
                who = f"no layer writes blob {blob!r}, and " if blob in findings.unwritten else ""
                why = f"{who}the file does not give its shape; pass --input-shape {blob}:1,..."
                findings.faults.append((one, why))
            made.append(one)
    return made


def _check_axes(blob: str, declared: Shape, given: Mapping[str, Shape]) -> None:
    shape = given.get(blob, declared)
    if declared and len(shape) != len(declared):
        raise ModelError(
            f"input {blob!r} has {len(declared)} axes in the file, {declared}, but {len(shape)} in "
            f"the given shape {shape}; the first one is the batch, 1 for one image"
        )


def _ask(net: str, blob: str, channels: int | None, hint: Hint, weights: Arrays | None) -> None:
    """Raise `UnknownShapeError` that tells how to give the image's shape."""
    shape = hint.shape_of(channels or hint.channels or COLOURS, COMMON, COMMON)
    axes = "batch, channels, frames" if hint.frames else "batch, channels"
    as_flag = f"{blob}:{','.join(map(str, shape))}"
    tell = "" if weights else "; the weights would determine it, too"
    raise UnknownShapeError(
        blob,
        f"net {net!r}: the file does not give the shape of input {blob}; set it ({axes}, "
        f"height, width), for example with the setting input_shape = {{{blob!r}: {shape}}}, the "
        f"flag --input-shape '{as_flag}', or in Python as input_shapes{tell}",
    )


def _to_input(
    layer: LayerParameter, shapes: Mapping[str, Shape], weights: Collection[str]
) -> list[LayerParameter]:
    """The ``Input`` layers that replace an Input or data layer; other layers unchanged.

    Tops without a shape get layers of their own. A data layer's ``transform_param`` is kept,
    because it describes the preprocessing.
    """
    if layer.type != "Input" and not is_data(layer, weights):
        return [layer]
    told = [blob for blob in layer.top if blob in shapes]
    made = []
    for blobs in ([told] if told else []) + [[blob] for blob in layer.top if blob not in shapes]:
        name = layer.name if len(blobs) == len(layer.top) or blobs is told else blobs[0]
        new = LayerParameter(name=name, type="Input", top=blobs)
        if layer.HasField("transform_param"):
            new.transform_param.CopyFrom(layer.transform_param)
        images = layer.image_data_param
        if images.new_height and images.new_width and layer.transform_param.crop_size:
            new.image_data_param.new_height = images.new_height  # the size before the crop
            new.image_data_param.new_width = images.new_width
        for blob in blobs:
            if blob in shapes:
                new.input_param.shape.add(dim=shapes[blob])
        made.append(new)
    return made


# -- names -----------------------------------------------------------------------------------------


def _rename_layers(layers: Iterable[LayerParameter], findings: Findings) -> dict[str, str]:
    """Rename layers whose name is taken.

    Returns
    -------
    dict
        The old names of layers that may have weights, by new name.
    """
    names = _Names()
    renamed: dict[str, str] = {}
    for layer in layers:
        name = layer.name
        layer.name = names.free(name)
        if layer.name != name:
            findings.notes.append(
                f"two layers are named {name!r}; the later one is renamed {layer.name!r}"
            )
            if is_learned(layer):
                renamed[layer.name] = name
    return renamed


def _rename_blobs(layers: Sequence[LayerParameter], findings: Findings) -> None:
    """Rename a blob where it is written again and Caffe would not overwrite it in place.

    Caffe overwrites a blob in place if it is the bottom at the same position and no other layer has
    read it: it copies a blob that has several readers.
    """
    now: dict[str, str] = {}  # current names, by name in the file
    names = _Names(blob for layer in layers for blob in layer.top)
    readers: Counter[str] = Counter()
    for layer in layers:
        layer.bottom[:] = [now.get(blob, blob) for blob in layer.bottom]
        readers.update(layer.bottom)
        for position, blob in enumerate(layer.top):
            written = now.get(blob, blob)
            in_place = list(layer.bottom[position : position + 1]) == [written]
            if blob not in now or (in_place and readers[written] == 1):
                now[blob] = written
            else:
                now[blob] = names.free(blob)
                findings.notes.append(
                    f"layer {layer.name!r} writes blob {blob!r} again, which Caffe rejects; "
                    f"its top is renamed {now[blob]!r}, here and for the layers that read it"
                )
            layer.top[position] = now[blob]
            readers[now[blob]] = 0


class _Names:
    """Taken names, from which free ones are derived."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}  # so that many variants of a name take linear time

    def free(self, name: str) -> str:
        """Reserve the name, with a number appended if it is taken already."""
        found = name
        while found in self._taken:
            number = self._next[name] = self._next.get(name, 1) + 1
            found = f"{name}#{number}"
        self._taken.add(found)
        return found

"""Fork layers expressed as several stock layers: ``(layer, its blobs) -> stock layers``.

The last stock layer has the fork layer's name, so that this name means the same as in the fork. The
others' names start with it.

- BN, by Y. Xiong (caffe, PSPNet, ICNet, caffe-windows, mini-caffe): blobs slope, bias, mean and
  variance; ``y = slope (x - mean) / sqrt(variance + eps) + bias``. A BatchNorm and a Scale.
- BN, by H. Noh (DeconvNet, SegNet, ENet): blobs scale and shift. In mode INFERENCE a Scale; in
  LEARN, the default, also a BatchNorm with batch statistics before it, in every phase.
- Axpy, by J. Hu (SENet): ``y = a x + b`` with a factor per channel of each image. A Reshape, a
  Scale with two bottoms, and an Eltwise.
- CReLU, of Cambricon (Shang et al. 2016, "Understanding and Improving Convolutional Neural
  Networks via Concatenated Rectified Linear Units"): ``y = (max(x, 0), max(-x, 0))``. A Power, a
  Concat and a ReLU.
- Gather without indices, by Y. Xiong, joins blobs of several processes. In a single process each
  top is the corresponding bottom: a Split for each, so that labels stay apart from images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.model.schema_pb2 import BNParameter, LayerParameter

Blobs = Sequence[NDArray[np.float32]]

NORMALIZED = "/norm"  # suffix of the BatchNorm inside a BN
NOH_EPS = 1e-9  # fixed there; a parameter in W. Liu's BN, which is otherwise the same

# Fields of bn_param that only one of the two BNs has.
XIONG = ("slope_filler", "bias_filler", "momentum", "eps", "frozen", "icnet")
NOH = ("scale_filler", "shift_filler", "bn_mode", "var_eps")


def parts(layer: LayerParameter, blobs: Blobs, faults: dict[str, str]) -> list[LayerParameter]:
    """The stock layers equivalent to a layer; the layer itself if it is not a composite.

    Parameters
    ----------
    layer
        In V2 form. Not changed.
    blobs
        Its weights; empty if unknown.
    faults
        If it cannot be expressed so, the reason is added here under its name.
    """
    split = PARTS.get(layer.type)
    if split is None:
        return [layer]
    try:
        return split(layer, blobs)
    except ValueError as error:
        faults[layer.name] = str(error)
        return [layer]


def part_weights(name: str, blobs: Blobs, types: Mapping[str, str]) -> dict[str, Blobs]:
    """The blobs of a BN, distributed to its parts by name; ``{}`` for all other layers.

    Parameters
    ----------
    name, blobs
        The fork's layer.
    types
        The type of every layer of the translated net, by name.
    """
    norm = f"{name}{NORMALIZED}"
    if types.get(name) != "Scale" or types.get(norm) != "BatchNorm":
        return {}
    one = np.ones(1, np.float32)
    if len(blobs) == 4:
        slope, bias, mean, variance = blobs
        return {norm: (mean, variance, one), name: (slope, bias)}
    if len(blobs) == 2:  # batch statistics: those stored in the BatchNorm are not read
        nothing = np.zeros(blobs[0].size, np.float32)
        return {norm: (nothing, nothing, one), name: blobs}
    return {}


def _bn(layer: LayerParameter, blobs: Blobs) -> list[LayerParameter]:
    if len(layer.top) > 1:
        raise ValueError(
            "its second and third top, the batch's mean and variance, are not supported; "
            "remove them, and the layers that read them, from the prototxt"
        )
    bn = layer.bn_param
    scale = _copy(layer, "Scale")
    scale.scale_param.bias_term = True
    stored = _is_xiongs(layer, blobs)
    if bn.bn_mode == BNParameter.INFERENCE and not stored:
        return [scale]
    norm = _copy(layer, "BatchNorm", NORMALIZED)
    if stored:
        norm.batch_norm_param.eps = bn.eps
        norm.param.extend(scale.param[2:4])
        del scale.param[2:]
    else:
        norm.batch_norm_param.eps = bn.var_eps if bn.HasField("var_eps") else NOH_EPS
        norm.batch_norm_param.use_global_stats = False
    scale.bottom[:] = norm.top
    return [norm, scale]


def _is_xiongs(layer: LayerParameter, blobs: Blobs) -> bool:
    """Whether a BN has four blobs; so does, presumably, one without any parameters."""
    if len(blobs) in (2, 4):
        return len(blobs) == 4
    if any(layer.bn_param.HasField(name) for name in XIONG) or len(layer.param) > 2:
        return True
    return not any(layer.bn_param.HasField(name) for name in NOH)


def _axpy(layer: LayerParameter, blobs: Blobs) -> list[LayerParameter]:
    if len(layer.bottom) != 3:
        raise ValueError(f"takes 3 bottom blob(s), got {len(layer.bottom)}")
    a, x, b = layer.bottom
    factor, scaled = _copy(layer, "Reshape", "/factor"), _copy(layer, "Scale", "/scaled")
    total = _copy(layer, "Eltwise")
    factor.reshape_param.shape.dim.extend([0, 0])  # (N, C, 1, 1) -> (N, C)
    factor.bottom[:], factor.top[:] = [a], [factor.name]
    scaled.scale_param.axis = 0
    scaled.bottom[:], scaled.top[:] = [x, factor.name], [scaled.name]
    total.bottom[:] = [scaled.name, b]
    return [factor, scaled, total]


def _crelu(layer: LayerParameter, blobs: Blobs) -> list[LayerParameter]:
    if len(layer.bottom) != 1 or list(layer.top) == list(layer.bottom):
        raise ValueError("takes 1 bottom blob, and cannot work in place")
    negative, both = _copy(layer, "Power", "/negative"), _copy(layer, "Concat", "/both")
    rectified = _copy(layer, "ReLU")
    negative.power_param.scale = -1
    negative.top[:] = [negative.name]
    both.concat_param.axis = layer.crelu_param.concat_axis
    both.bottom[:], both.top[:] = [*layer.bottom, negative.name], [both.name]
    rectified.relu_param.negative_slope = layer.crelu_param.negative_slope
    rectified.bottom[:] = [both.name]
    for part in (negative, both, rectified):
        part.ClearField("crelu_param")
    return [negative, both, rectified]


def _gather(layer: LayerParameter, blobs: Blobs) -> list[LayerParameter]:
    if layer.gather_param.indices:
        return [layer]
    if len(layer.bottom) != len(layer.top):
        raise ValueError("without indices it needs one top for each bottom")
    splits: list[LayerParameter] = []
    for bottom, top in zip(layer.bottom, layer.top, strict=True):
        split = _copy(layer, "Split", f"/{top}" if splits else "")
        split.bottom[:], split.top[:] = [bottom], [top]
        splits.append(split)
    return splits[::-1]


# The types that are expressed as others.
PARTS: dict[str, Callable[[LayerParameter, Blobs], list[LayerParameter]]] = {
    "Axpy": _axpy,
    "BN": _bn,
    "CReLU": _crelu,
    "Gather": _gather,
}


def _copy(layer: LayerParameter, kind: str, ending: str = "") -> LayerParameter:
    """A layer of another type in its place, with its bottoms, tops and rules."""
    new = LayerParameter()
    new.CopyFrom(layer)
    new.name, new.type = f"{layer.name}{ending}", kind
    if ending:
        del new.param[:]
        new.ClearField("bn_param")
    for name in (*XIONG, *NOH, "engine"):
        if new.HasField("bn_param"):
            new.bn_param.ClearField(name)
    if not new.bn_param.ListFields():
        new.ClearField("bn_param")
    return new

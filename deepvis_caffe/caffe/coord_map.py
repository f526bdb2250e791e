"""``caffe.coord_map``: maps between the coordinates of blobs, for cropping one to another.

A coordinate map is ``(axis, scale, shift)``: position ``i`` of a blob's spatial axes is position
``scale * i + shift`` of the other blob's. The first of these axes is ``axis + 1``; ``scale`` and
``shift`` have one number per axis, or a single one for all. ``(None, 1, 0)`` is the identity, for
pointwise layers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from deepvis_caffe.caffe.net_spec import Function, Top, layers
from deepvis_caffe.errors import DeepVisError

CoordMap = tuple[int | None, Any, Any]

PASS_THROUGH_LAYERS = [
    *("AbsVal", "BatchNorm", "Bias", "BNLL", "Dropout", "Eltwise", "ELU", "Log", "LRN", "Exp"),
    *("MVN", "Power", "ReLU", "PReLU", "Scale", "Sigmoid", "Split", "TanH", "Threshold"),
]
LEGACY = {"kernel_h", "kernel_w", "pad_h", "pad_w", "stride_h", "stride_w"}


class UndefinedMapException(DeepVisError):
    """A layer has no coordinate map."""


class AxisMismatchException(DeepVisError):
    """Two coordinate maps have different axes."""


class UnconnectedTopsError(DeepVisError, RuntimeError):
    """Two blobs have no common ancestor through layers with coordinate maps."""


class CropError(DeepVisError, AssertionError):
    """A Crop layer cannot do this: it takes a part of one blob, at integer positions."""


def _own(fn: Function, field: str) -> dict[str, Any]:
    """A layer's own parameters, whether given directly or as a message."""
    return fn.params.get(field, fn.params)


def conv_params(fn: Function) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Axis, stride, size and padding of the windows of Convolution, Deconvolution, Im2col, Pooling.

    The size is that of the dilated kernel. The arrays have shape ``(spatial axes,)`` or ``(1,)``.
    """
    params = _own(fn, "pooling_param" if fn.type_name == "Pooling" else "convolution_param")
    if used := sorted(LEGACY & params.keys()):
        raise CropError(
            f"cropping does not support {', '.join(used)} ({fn.type_name}): give kernel_size, "
            "stride and pad, as lists of one value for each axis"
        )
    if "kernel_size" not in params:  # global pooling
        raise UndefinedMapException(f"{fn.type_name} without a kernel_size has no coordinate map")
    size, stride, pad, dilation = (
        np.array(params.get(name, default), ndmin=1)
        for name, default in (("kernel_size", 1), ("stride", 1), ("pad", 0), ("dilation", 1))
    )
    return params.get("axis", 1), stride, (size - 1) * dilation + 1, pad


def crop_params(fn: Function) -> tuple[int, np.ndarray]:
    """First cropped axis of a Crop, and its offsets: shape ``(cropped axes,)`` or ``(1,)``."""
    params = _own(fn, "crop_param")
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> CoordMap:
    """A layer's map, from coordinates of its bottoms to those of its tops.

    Raises
    ------
    UndefinedMapException
        If the layer has none, because of its type, for example InnerProduct.
    CropError
        If the layer's window is written as ``kernel_h`` and ``kernel_w``.
    """
    if fn.type_name in PASS_THROUGH_LAYERS:
        return None, 1, 0
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, size, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (size - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, size, pad = conv_params(fn)
        return axis, stride, (size - 1) / 2 - pad
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset
    raise UndefinedMapException(f"{fn.type_name} has no coordinate map")


def compose(base_map: CoordMap, next_map: CoordMap) -> CoordMap:
    """The map that applies ``next_map`` first, and ``base_map`` to the result.

    Raises
    ------
    AxisMismatchException
        If both have an axis, and not the same.
    """
    (axis, scale, shift), (next_axis, next_scale, next_shift) = base_map, next_map
    if axis is None:
        axis = next_axis
    elif next_axis not in (None, axis):
        raise AxisMismatchException(
            f"coordinate maps of axis {axis} and axis {next_axis} cannot be composed"
        )
    return axis, scale * next_scale, scale * next_shift + shift


def inverse(coord_map: CoordMap) -> CoordMap:
    """The map in the other direction."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def _below(top: Top) -> Iterator[tuple[Top, CoordMap]]:
    """A blob and its ancestors, nearest first, with their maps to its coordinates.

    Paths end at layers without a coordinate map.
    """
    maps: dict[Top, CoordMap] = {top: (None, 1, 0)}
    waiting = deque([top])
    while waiting:
        top = waiting.popleft()
        yield top, maps[top]
        # The second bottom of a Crop only gives the size of the top.
        bottoms = top.fn.inputs[:1] if top.fn.type_name == "Crop" else top.fn.inputs
        try:
            layer_map = coord_map(top.fn)
        except UndefinedMapException:
            continue
        for bottom in bottoms:
            if bottom not in maps:
                maps[bottom] = compose(maps[top], layer_map)
                waiting.append(bottom)


def coord_map_from_to(top_from: Top, top_to: Top) -> CoordMap:
    """The map from one blob's coordinates to another's, through a common ancestor.

    Returns
    -------
    axis, scale, shift
        Arrays of shape ``(spatial axes,)`` or ``(1,)``, or plain numbers; axis may be None.

    Raises
    ------
    UnconnectedTopsError
        If there is no common ancestor; it is a ``RuntimeError`` too.
    AxisMismatchException, CropError
        See `compose` and `coord_map`.
    """
    from_maps = dict(_below(top_from))
    for top, to_map in _below(top_to):
        if top in from_maps:
            return compose(to_map, inverse(from_maps[top]))
    raise UnconnectedTopsError(
        f"no coordinate map between a top of {top_from.fn.type_name} and one of "
        f"{top_to.fn.type_name}: layers with coordinate maps connect them to no common blob"
    )


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop layer that crops a blob to the size and place of another.

    Parameters
    ----------
    top_from
        The blob to crop.
    top_to
        The blob whose size and place the crop has.

    Raises
    ------
    CropError
        If the two have different scales, or the offset is negative or not an integer; it is an
        ``AssertionError`` too.
    UnconnectedTopsError, AxisMismatchException
        See `coord_map_from_to`.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    offset = -np.atleast_1d(shift)
    if not np.all(scale == 1):
        raise CropError(f"scale mismatch on crop: {scale}, must be 1")
    if not np.all(offset >= 0):
        raise CropError(f"cannot crop at the negative offset {offset}: what is cropped is smaller")
    if not np.all(offset == np.round(offset)):
        raise CropError(f"cannot crop at the noninteger offset {offset}")
    first = 2 if axis is None else axis + 1
    where = {"axis": first, "offset": offset.astype(int).tolist()}
    return layers.Crop(top_from, top_to, crop_param=where)

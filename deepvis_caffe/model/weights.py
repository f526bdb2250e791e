"""Match weights to layers and check their shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import WeightsError
from deepvis_caffe.model.graph import Graph, Layer
from deepvis_caffe.model.schema_pb2 import ParamSpec
from deepvis_caffe.model.shapes import Shapes

Array = NDArray[np.float32]


def match_weights(
    graph: Graph,
    shapes: Shapes,
    found: Mapping[str, Sequence[Array]],
    source: str,
    faults: dict[str, str] | None = None,
) -> dict[str, tuple[Array, ...]]:
    """Match weights to layers by name, as Caffe does, and check them.

    Parameters
    ----------
    graph, shapes
        The net.
    found
        Arrays by layer name, as read. Legacy shapes with leading ones, such as ``(1, 1, 1, N)``,
        are converted to current ones.
    source
        Where the arrays come from, for messages.
    faults
        If given, weights whose shapes do not fit the net at this input size are not an error, as
        long as some layer's fit: the reason is added here under the layer's name.

    Returns
    -------
    dict
        float32 arrays of the expected shapes for every layer with weights. Layers that share a
        parameter by name share the array. Layers that the net does not have are left out.

    Raises
    ------
    WeightsError
        The file has none of the net's layers, lacks some, or has a wrong number of blobs, a wrong
        shape, or values that are NaN or infinite.
    """
    needed = [layer for layer in graph if layer.name in shapes.weights]
    present = [layer for layer in graph if layer.name in found]
    if needed and not present:
        raise WeightsError(
            f"{source} does not belong to net {graph.name!r}: no layer name in common. The net's "
            f"layers with weights: {_listed([layer.name for layer in needed])}; the file's: "
            f"{_listed(list(found))}"
        )
    matched: dict[str, list[Array | None]] = {}
    misfits: list[WeightsError] = []
    for layer in present:
        try:
            matched[layer.name] = _checked(
                layer, shapes.weights.get(layer.name), found[layer.name], source
            )
        except _Misfit as error:
            misfits.append(error)
            if faults is None:
                raise
            faults[layer.name] = error.reason
    if misfits and not any(layer.name in matched for layer in needed):
        raise misfits[0]
    needed = [layer for layer in needed if not faults or layer.name not in faults]
    for layer in needed:
        matched.setdefault(layer.name, [None] * len(shapes.weights[layer.name]))
    _share(graph, shapes, matched, source)
    missing = [name for name, blobs in matched.items() if any(blob is None for blob in blobs)]
    if missing:
        raise WeightsError(
            f"{source} lacks weights of {len(missing)} of the net's {len(needed)} layers with "
            f"weights: {_listed(missing)}. Layers are matched by name; the file also has: "
            f"{_listed([name for name in found if name not in graph.by_name]) or 'nothing'}"
        )
    return {
        layer.name: tuple(blob for blob in matched[layer.name] if blob is not None)
        for layer in graph
        if layer.name in matched
    }


def without_weights(graph: Graph, shapes: Shapes, renamed: Mapping[str, str]) -> dict[str, str]:
    """Why layers get no weights: those under their name belong to another layer.

    Caffe copies them to the first layer with a name, and leaves later ones as filled by their
    fillers. A layer that shares every parameter with another one needs none.

    Parameters
    ----------
    graph, shapes
        The net.
    renamed
        The old names of layers whose name was taken, by new name.

    Returns
    -------
    dict
        The reasons, by new name.
    """
    found = {}
    for new, old in renamed.items():
        count = len(shapes.weights.get(new, ()))
        shared = [spec for spec in graph.layer(new).param.param[:count] if spec.name]
        if len(shared) < count:
            found[new] = (
                f"an earlier layer is also named {old!r}, and gets the weights of that name; give "
                "each layer the name of its weights"
            )
    return found


class _Misfit(WeightsError):
    """Weights whose shape differs from the prototxt's."""

    def __init__(self, where: str, need: tuple[int, ...], have: tuple[int, ...]) -> None:
        super().__init__(
            f"{where}: expected shape {need} from the prototxt, got {have}; the prototxt and the "
            "weights belong to different nets, or the input size or num_output was changed"
        )
        self.reason = (
            f"at this input size it needs weights of shape {need}, but has {have}; give the net "
            "the input size that it was trained with"
        )


def _checked(
    layer: Layer,
    expected: tuple[tuple[int, ...], ...] | None,
    blobs: Sequence[Array],
    source: str,
) -> list[Array | None]:
    where = f"layer {layer.name!r} ({layer.type}) in {source}"
    arrays: list[Array | None] = [np.asarray(blob, np.float32, order="C") for blob in blobs]
    if expected is not None:
        # A file may omit blobs that the layer shares with another.
        if len(arrays) > len(expected) or (
            len(arrays) < len(expected) and not any(p.name for p in layer.param.param)
        ):
            raise WeightsError(
                f"{where}: expected {len(expected)} weight blobs "
                f"({', '.join(map(str, expected)) or 'none'}), got {len(arrays)} "
                f"({', '.join(str(np.shape(blob)) for blob in blobs)})"
            )
        arrays = [
            _fitted(blob, shape, f"{where}: {blob_name(layer.type, i)}")
            for i, (blob, shape) in enumerate(zip(arrays, expected, strict=False))
        ] + [None] * (len(expected) - len(arrays))
    for i, blob in enumerate(arrays):
        if blob is not None and not np.isfinite(blob.sum(dtype=np.float64)):
            bad = int((~np.isfinite(blob)).sum())
            raise WeightsError(
                f"{where}: {bad} of the {blob.size} values of {blob_name(layer.type, i)} are NaN "
                "or infinite; the training diverged, or the file is damaged"
            )
    return arrays


def _fitted(blob: Array | None, shape: tuple[int, ...], where: str) -> Array | None:
    """`blob` in the expected shape; an error if it differs by more than axes of size 1.

    Legacy blobs have leading ones, (1, 1, 1, N) for a bias; NVIDIA's statistics are (1, C, 1, 1).
    """
    if blob is None or blob.shape == shape:
        return blob
    if _without_ones(blob.shape) == _without_ones(shape):
        return blob.reshape(shape)
    raise _Misfit(where, shape, blob.shape)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _share(
    graph: Graph, shapes: Shapes, matched: dict[str, list[Array | None]], source: str
) -> None:
    """Share arrays of parameters with the same name: as in Caffe, the last one in the file."""
    members: dict[str, list[tuple[Layer, int]]] = {}
    for layer in graph:
        if layer.name in matched:
            for i, spec in enumerate(layer.param.param[: len(matched[layer.name])]):
                if spec.name:
                    members.setdefault(spec.name, []).append((layer, i))
    for name, places in members.items():
        arrays = [matched[layer.name][i] for layer, i in places]
        shared = next((array for array in reversed(arrays) if array is not None), None)
        owner, first = places[0]
        theirs = _shape(shapes, owner, first)
        for layer, i in places:
            mine = _shape(shapes, layer, i)
            permissive = layer.param.param[i].share_mode == ParamSpec.PERMISSIVE
            if mine is None or theirs is None:
                fits = True
            else:
                fits = math.prod(mine) == math.prod(theirs) if permissive else mine == theirs
            if not fits:
                raise WeightsError(
                    f"layers {owner.name!r} and {layer.name!r} share parameter {name!r}, but need "
                    f"shapes {theirs} and {mine} ({source})"
                )
            if shared is not None:
                reshape = mine is not None and mine != shared.shape
                matched[layer.name][i] = shared.reshape(mine) if reshape else shared


def _shape(shapes: Shapes, layer: Layer, index: int) -> tuple[int, ...] | None:
    known = shapes.weights.get(layer.name)
    return known[index] if known else None


def blob_name(kind: str, index: int) -> str:
    """A descriptive name for a layer's weight blob, for messages and lists."""
    names = {
        "BatchNorm": ("mean", "variance", "scale factor"),
        "Scale": ("scale", "bias"),
        "Bias": ("bias",),
        "PReLU": ("slope",),
        "Parameter": ("values",),
        "Normalize": ("scale",),
        "ChannelScale": ("scale",),
    }.get(kind, ("weights", "bias"))
    return names[index] if index < len(names) else f"blob {index}"


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

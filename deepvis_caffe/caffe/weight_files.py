"""Loads and saves a net's parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from deepvis_caffe.caffe.blob import Blob
from deepvis_caffe.caffe.building import AUTOMATIC, NetLayers
from deepvis_caffe.caffe.layer import NetLayer
from deepvis_caffe.caffe.memory import Array
from deepvis_caffe.caffe.python_layer import BlobLayer
from deepvis_caffe.errors import WeightsError
from deepvis_caffe.files import whole_file
from deepvis_caffe.model import graph
from deepvis_caffe.model.caffemodel import write_caffemodel
from deepvis_caffe.model.dialects import split_weights
from deepvis_caffe.model.schema_pb2 import LayerParameter, Phase


def load_weights(layers: NetLayers, found: Mapping[str, Sequence[Array]], source: str) -> None:
    """Set the parameters of layers, by layer name.

    A layer that cannot run gets all arrays of the file, so that scripts can read, change and save
    them.

    Parameters
    ----------
    layers
        The net's layers; those that `found` lacks are unchanged.
    found
        Arrays by layer name.
    source
        Where they come from, for messages.

    Raises
    ------
    WeightsError
        There are none, or a layer's do not fit.
    """
    if not found and any(layer.blobs for layer in layers):
        raise WeightsError(f"{source} holds no weights, but the net has layers that need them")
    known = [graph.Layer(i, one.name, one.type, (), (), one.param) for i, one in enumerate(layers)]
    found = split_weights(known, found)
    for layer in layers:
        if layer.name not in found:
            continue
        arrays = [np.asarray(one, np.float32) for one in found[layer.name]]
        if layer.fault:
            layer.blobs[:] = [Blob(array.shape) for array in arrays]
        blobs: list[Blob] = list(layer.blobs)
        if len(arrays) < len(blobs):  # an HDF5 file stores a shared parameter once
            blobs = list(_owned(layer).values())
        check_shapes(layer, blobs, [one.shape for one in arrays], source)
        for blob, array in zip(blobs, arrays, strict=True):
            blob.data_memory.set(torch.as_tensor(array).reshape(blob.shape))


def check_shapes(
    layer: NetLayer | BlobLayer,
    blobs: Sequence[Blob],
    shapes: Sequence[tuple[int, ...]],
    source: str,
) -> None:
    """Raise `WeightsError` if arrays of these shapes do not fit a layer's blobs."""
    mine = [blob.shape for blob in blobs]
    fits = len(mine) == len(shapes) and all(
        _without_ones(a) == _without_ones(b) for a, b in zip(mine, shapes, strict=True)
    )
    if not fits:
        raise WeightsError(
            f"layer {layer.name!r} ({layer.type}): the net needs blobs of shapes {mine}, but "
            f"{source} has {list(shapes)}; to leave these out, rename the layer"
        )


def save_weights(path: str, name: str, layers: NetLayers, phase: Phase) -> None:
    """Write layers and their parameters to a ``.caffemodel``."""
    blobs = {layer.name: (layer.type, [blob.data for blob in layer.blobs]) for layer in layers}
    described = {layer.name: _described(layer, phase).SerializeToString() for layer in layers}
    write_caffemodel(path, name, blobs, described)


def save_weights_hdf5(path: str, layers: NetLayers) -> None:
    """Write parameters to an HDF5 file in Caffe's layout."""
    with whole_file(Path(path)) as partial, h5py.File(partial, "w") as file:
        root = file.create_group("data")
        for layer in layers:
            group = root.create_group(layer.name)
            for index, blob in _owned(layer).items():
                group.create_dataset(str(index), data=blob.data)


def _owned(layer: NetLayer | BlobLayer) -> dict[int, Blob]:
    """The parameters of a layer that do not belong to another one, by index."""
    return {i: blob for i, blob in enumerate(layer.blobs) if i not in layer.borrowed}


def _described(layer: NetLayer | BlobLayer, phase: Phase) -> LayerParameter:
    """A layer's description as Caffe saves it with its blobs; some scripts read the net from it."""
    found = LayerParameter()
    found.CopyFrom(layer.param)
    found.ClearField("blobs")
    if not found.HasField("phase"):
        found.phase = phase
    if any(layer.wire.losses) and not found.loss_weight:
        found.loss_weight.append(1)
    tops = [blob for blob in found.top if not blob.startswith(AUTOMATIC)]
    found.ClearField("top")
    found.top.extend(tops)
    return found


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)

"""A Python layer without a net: ``arrays -> arrays``. The embedded engine calls it."""

from __future__ import annotations

import traceback
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from deepvis_caffe.caffe.blob import Blob
from deepvis_caffe.caffe.memory import Array, Shape
from deepvis_caffe.caffe.python_layer import BlobLayer, Layer, import_layers, make_layer
from deepvis_caffe.caffe.wiring import Wire
from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.schema_pb2 import TEST, LayerParameter


class LayerAlone:
    """A Python layer and its blobs.

    Parameters
    ----------
    param
        The layer.
    shapes
        Shapes of the bottoms during its setup.

    Raises
    ------
    ModelError
        Its module or class is missing, or its own code raises an exception; tells what and where.
    """

    def __init__(self, param: LayerParameter, shapes: Sequence[Shape]) -> None:
        self._param = param
        self._bottoms = [Blob(shape) for shape in shapes]
        by_name = dict(zip(param.bottom, self._bottoms, strict=True))
        # An in-place top is the bottom's own blob.
        self._tops = [by_name.get(name) or Blob((0,)) for name in param.top]
        with self._in_words("the import"):
            layer = make_layer(param)
        with self._in_words("setup", layer):
            self._runs = BlobLayer(param, layer, TEST, self._bottoms, self._tops)
        need = [True] * len(shapes)
        self._runs.wire = Wire([], [], [], [], [], [], bottoms_need=need)

    @property
    def weights(self) -> list[Array]:
        """The learned blobs; writable."""
        return [blob.data for blob in self._runs.blobs]

    @property
    def has_backward(self) -> bool:
        """Whether it has a backward pass."""
        return hasattr(self._runs.shown, "backward")

    def top_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Shapes of the tops for bottoms of these shapes."""
        for blob, shape in zip(self._bottoms, shapes, strict=True):
            blob.reshape(*shape)
        with self._in_words("reshape", self._runs.shown):
            self._runs.reshape()
        return [top.shape for top in self._tops]

    def forward(self, arrays: Sequence[Array]) -> list[Array]:
        """The tops."""
        for blob, array in zip(self._bottoms, arrays, strict=True):
            blob.reshape(*array.shape)
            blob.data[...] = array
        with self._in_words("forward", self._runs.shown):
            self._runs.forward()
        return [top.data.copy() for top in self._tops]

    def backward(self, diffs: Sequence[Array]) -> list[Array]:
        """The bottoms' diffs for the last forward pass, given the tops'."""
        for blob in self._bottoms:
            blob.diff[...] = 0
        for blob, diff in zip(self._tops, diffs, strict=True):
            blob.diff[...] = diff
        with self._in_words("backward", self._runs.shown):
            self._runs.backward("gradient")
        return [blob.diff.copy() for blob in self._bottoms]

    @contextmanager
    def _in_words(self, what: str, layer: Layer | None = None) -> Iterator[None]:
        try:
            yield
        except ModelError:
            raise
        except Exception as error:  # a user's code may raise anything
            code = self._param.python_param
            whose = f"{code.module}.{code.layer}" if layer is not None else code.module
            places = traceback.extract_tb(error.__traceback__)
            file = import_layers(code.module).__file__ if layer is not None else None
            place = [one for one in places if one.filename == file] or places
            raise ModelError(
                f"{what} of {whose} raised {type(error).__name__}: {error} "
                f"({place[-1].filename}, line {place[-1].lineno})"
            ) from error


KEPT = 64
_asked: OrderedDict[bytes, LayerAlone] = OrderedDict()


def shapes(param: LayerParameter, bottoms: Sequence[Shape]) -> tuple[list[Shape], list[Shape]]:
    """Shapes of a Python layer's tops and learned blobs, which only its own code knows."""
    key = param.SerializeToString(deterministic=True)
    layer = _asked.get(key) or LayerAlone(param, bottoms)
    found = layer.top_shapes(bottoms)
    _asked[key] = layer
    while len(_asked) > KEPT:
        _asked.popitem(last=False)
    return found, [np.shape(blob) for blob in layer.weights]

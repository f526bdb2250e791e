"""Data layers: from fillers, from a script's arrays, or from HDF5 files.

They are written like Python layers, because they work on blobs directly. Layers that read databases
or image lists are not implemented: a script fills an Input layer instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepvis_caffe.caffe.blob import Blob
from deepvis_caffe.caffe.fillers import drawn, random
from deepvis_caffe.caffe.memory import Array
from deepvis_caffe.caffe.python_layer import Layer
from deepvis_caffe.errors import DeepVisError, EngineError, ModelError, boundary
from deepvis_caffe.files import decode_text, read_file
from deepvis_caffe.hdf5 import check_dataset, open_hdf5
from deepvis_caffe.limits import IMAGE_LIST
from deepvis_caffe.model.schema_pb2 import FillerParameter, LayerParameter
from deepvis_caffe.model.shapes import RULES
from deepvis_caffe.model.training import is_data

Blobs = Sequence[Blob]


class InputArrayError(DeepVisError, RuntimeError):
    """Arrays that a MemoryData layer cannot take; pycaffe raises a RuntimeError."""


class DataLayer(Layer):
    """A layer without bottoms, whose tops keep the shapes that a script gives them.

    Parameters
    ----------
    param
        The layer's parameters.
    """

    def __init__(self, param: LayerParameter) -> None:
        super().__init__(param)
        self.param, self.type = param, param.type

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Nothing."""


class DummyData(DataLayer):
    """Constants, which are set once, and random values, drawn for each forward pass."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Fill the constant tops."""
        shapes = RULES["DummyData"](self.param, []).tops
        fillers = list(self.param.dummy_data_param.data_filler) or [FillerParameter()]
        if len(fillers) == 1:  # one for all tops
            fillers *= len(top)
        self._random = [filler if filler.type != "constant" else None for filler in fillers]
        for blob, shape, filler in zip(top, shapes, fillers, strict=True):
            blob.reshape(*shape)
            if filler.type == "constant":
                blob.data[...] = filler.value

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Draw the random tops."""
        for blob, filler in zip(top, self._random, strict=True):
            if filler is not None:
                blob.data[...] = drawn(filler, blob.shape, self.param.name)


class MemoryData(DataLayer):
    """Batches of the arrays given to `Net.set_input_arrays`, repeated endlessly."""

    _arrays: tuple[Array, Array] | None = None

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Set the tops' shapes."""
        said = self.param.memory_data_param
        self.shape = said.batch_size, said.channels, said.height, said.width
        if not all(self.shape):
            raise ModelError(
                "needs batch_size, channels, height and width in memory_data_param, got "
                + " x ".join(map(str, self.shape))
            )
        if len(top) != 2:
            raise ModelError(f"takes 2 top blob(s), for data and labels, got {len(top)}")
        top[0].reshape(*self.shape)
        top[1].reshape(self.shape[0])

    def take(self, data: Any, labels: Any) -> None:
        """Start with the first examples of these arrays.

        Raises
        ------
        InputArrayError
            They do not fit.
        """
        self._check("data", data, self.shape[1:])
        self._check("labels", labels, (1, 1, 1))
        if len(data) != len(labels):
            raise InputArrayError(
                "data and labels must have the same first dimension, got "
                f"{len(data)} and {len(labels)}"
            )
        if not len(data) or len(data) % self.shape[0]:
            raise InputArrayError(
                "first dimensions of input arrays must be a multiple of batch size, which is "
                f"{self.shape[0]}, got {len(data)}"
            )
        self._arrays, self._position = (data, labels), 0

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """The next batch."""
        if self._arrays is None:
            raise EngineError(
                f"layer {self.param.name!r} (MemoryData) has no data; call net.set_input_arrays("
                "data, labels) first"
            )
        size = self.shape[0]
        batch = slice(self._position, self._position + size)
        for blob, shape, array in zip(
            top, (self.shape, (size, 1, 1, 1)), self._arrays, strict=True
        ):
            blob.reshape(*shape)
            blob.data[...] = array[batch]
        self._position = batch.stop % len(self._arrays[0])

    @staticmethod
    def _check(name: str, array: Any, shape: tuple[int, ...]) -> None:
        if not isinstance(array, np.ndarray):
            raise InputArrayError(f"{name} must be a numpy array, got {type(array).__name__}")
        wrong = ""
        if not array.flags.c_contiguous:
            wrong = "C contiguous; numpy.ascontiguousarray makes a copy that is"
        elif array.ndim != 4:
            wrong = f"4-d, got shape {array.shape}"
        elif array.dtype != np.float32:
            wrong = f"float32, got {array.dtype}"
        elif array.shape[1:] != shape:
            wrong = f"of shape (N, {', '.join(map(str, shape))}), got {array.shape}"
        if wrong:
            raise InputArrayError(f"{name} array must be {wrong}")


class HDF5Data(DataLayer):
    """Batches of rows of HDF5 files, whose datasets are named after the tops.

    After the last file it starts again with the first. With `shuffle`, files and rows are in random
    order.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Read the list of files, and the first file."""
        said = self.param.hdf5_data_param
        if self.param.HasField("transform_param"):
            raise ModelError("does not transform data; remove its transform_param")
        with boundary(ModelError, f"cannot read its list of files, {said.source!r}"):
            self._files = decode_text(read_file(said.source, IMAGE_LIST)).split()
        if not self._files:
            raise ModelError(f"its list of files, {said.source!r}, is empty")
        if not said.batch_size:
            raise ModelError("needs a batch_size in hdf5_data_param")
        self._names = list(self.param.top)
        self._file, self._row = 0, 0
        self._order = self._ordered(len(self._files))
        self._read()
        for blob, rows in zip(top, self._rows, strict=True):
            blob.reshape(said.batch_size, *rows.shape[1:])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """The next batch."""
        data = [blob.data for blob in top]
        for i in range(self.param.hdf5_data_param.batch_size):
            if self._row == len(self._rows[0]):
                self._to_next_file()
            for array, rows in zip(data, self._rows, strict=True):
                array[i] = rows[self._permutation[self._row]]
            self._row += 1

    def _to_next_file(self) -> None:
        self._row = 0
        if len(self._files) == 1:
            self._permutation = self._ordered(len(self._rows[0]))
            return
        self._file += 1
        if self._file == len(self._files):
            self._file, self._order = 0, self._ordered(len(self._files))
        self._read()

    def _read(self) -> None:
        path = self._files[self._order[self._file]]
        where = f"cannot read {path!r}, of its list of files"
        with boundary(ModelError, where), open_hdf5(Path(path)) as file:
            missing = [name for name in self._names if name not in file]
            if missing:
                raise ModelError(
                    f"{path} has no dataset {missing[0]!r}, the name of its top; it has "
                    + ", ".join(map(str, file))
                )
            for name in self._names:
                check_dataset(file[name], Path(path))
            self._rows = [np.asarray(file[name], np.float32) for name in self._names]
        sizes = {len(rows) if rows.ndim else 0 for rows in self._rows}
        if len(sizes) > 1 or 0 in sizes:
            shapes = ", ".join(str(rows.shape) for rows in self._rows)
            raise ModelError(f"the datasets of {path} must have equally many rows, got {shapes}")
        self._permutation = self._ordered(len(self._rows[0]))

    def _ordered(self, count: int) -> Sequence[int]:
        if not self.param.hdf5_data_param.shuffle:
            return range(count)
        order: list[int] = random.generator.permutation(count).tolist()
        return order


DATA_LAYERS: dict[str, type[DataLayer]] = {
    "DummyData": DummyData,
    "HDF5Data": HDF5Data,
    "MemoryData": MemoryData,
}


def check_is_read(param: LayerParameter) -> None:
    """Raise `ModelError` for a data layer that is not implemented."""
    if param.type in (*DATA_LAYERS, "Python") or not is_data(param):
        return
    top = param.top[0] if param.top else "data"
    raise ModelError(
        f"layer {param.name!r} ({param.type}) reads data by itself; here only Input, MemoryData, "
        "HDF5Data, DummyData and Python layers bring data into a net. Write instead: layer { "
        f'name: "{param.name}" type: "Input" top: "{top}" input_param {{ shape {{ dim: ... }} }} }}'
        f", and fill net.blobs[{top!r}].data"
    )

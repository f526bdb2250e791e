"""Weights files: ``path -> {layer name: (array, ...)}``, and back.

Reads ``.caffemodel`` files of generations V0, V1 and V2, in single or double precision, with legacy
4-D shapes or current ones, or in NVIDIA's packed format (including half precision); and Caffe's
HDF5 format, ``.caffemodel.h5``.

A ``.caffemodel`` is a protobuf message with hundreds of megabytes of packed floats. A message class
would copy all of them into an object and back. Instead this module parses the wire format, so that
numpy reads them in place; see https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import WeightsError, boundary, shortened
from deepvis_caffe.files import decode_names, open_file, whole_file
from deepvis_caffe.hdf5 import check_dataset, datasets, open_hdf5
from deepvis_caffe.limits import BLOB_AXES, LARGEST_SIZE
from deepvis_caffe.model.sniff import sniff

Blobs = tuple[NDArray[np.float32], ...]

# Field numbers in the schema: a NetParameter's layers, and their names and blobs.
_LAYERS = {2: "V1", 100: "V2"}
_NAME = {"V0": 1, "V1": 4, "V2": 1}
_BLOBS = {"V0": 50, "V1": 6, "V2": 7}
_V0_LAYER = 1
_NUM, _CHANNELS, _HEIGHT, _WIDTH, _DATA, _SHAPE, _DOUBLE_DATA = 1, 2, 3, 4, 5, 7, 8
# In C3D's version 1.0: num, channels, length, height, width, and the numbers.
_C3D_SIZES, _C3D_DATA = (1, 2, 3, 4, 5), 6
_RAW_TYPE, _RAW_DATA = 10, 12  # of NVIDIA's Caffe
_RAW_TYPES = ("<f8", "<f4", "<f2", "<i4", "<u4", "?")


def read_caffemodel(path: str | Path, may_be_empty: bool = False) -> dict[str, Blobs]:
    """Read the weights of all layers that have any.

    Parameters
    ----------
    path
        A ``.caffemodel``, or its HDF5 form.
    may_be_empty
        Whether a file may hold no weights at all, as for a net without learned layers.

    Returns
    -------
    dict
        float32 arrays by layer name, in Caffe's order (weights, then bias). Shapes are those of the
        file; old files have 4 axes, ``(1, 1, 1, N)`` for a bias. If two layers share a name, the
        later one counts, as in Caffe. Names are in the file's own encoding, see `decode_names`.

    Raises
    ------
    WeightsError
        The file is missing, is truncated, or is not a weights file.
    """
    path = Path(path)
    with boundary(WeightsError, f"cannot read the caffemodel {path}"), open_file(path) as file:
        head = file.read(4096)
        if head.startswith(b"\x89HDF"):
            return _read_hdf5(path, may_be_empty)
        found = sniff(head)
        if found:
            raise WeightsError(f"{path} is not a caffemodel: it is {found}")
        return _read_binary(
            path, memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), may_be_empty
        )


def write_caffemodel(
    path: str | Path,
    name: str,
    layers: Mapping[str, tuple[str, Sequence[NDArray[np.float32]]]],
    described: Mapping[str, bytes] | None = None,
) -> None:
    """Write a ``.caffemodel`` of generation V2 atomically.

    Parameters
    ----------
    path
        The file to write or replace.
    name
        The net's name.
    layers
        By layer name, in order: type and blobs. Arrays are written as float32.
    described
        By layer name: a serialized ``LayerParameter`` without blobs, for layers with more to write
        than name and type.
    """
    path, described = Path(path), described or {}
    with whole_file(path) as partial, partial.open("wb") as file:
        _write_field(file, 1, [name.encode()])
        for layer, (kind, blobs) in layers.items():
            parts: list[bytes | memoryview] = []
            if layer in described:
                parts.append(described[layer])
            else:
                _add_field(parts, 1, [layer.encode()])
                _add_field(parts, 2, [kind.encode()])
            for blob in blobs:
                _add_field(parts, 7, _encode_blob(np.asarray(blob)))
            _write_field(file, 100, parts)


# -- reading ---------------------------------------------------------------------------------------


def _read_binary(path: Path, buffer: memoryview, may_be_empty: bool) -> dict[str, Blobs]:
    layers: dict[bytes, Blobs] = {}
    count = 0
    try:
        for number, value, _ in _fields(buffer):
            if number in _LAYERS and isinstance(value, memoryview):
                count += 1
                name, blobs = _read_layer(path, value, _LAYERS[number])
                if blobs:
                    layers[name] = blobs
    except _WireError as error:
        if not count:
            raise WeightsError(
                f"{path} is not a caffemodel, or its download broke off at once: {error}"
            ) from None
        last = f", the last one {decode_names(layers)[-1]!r}" if layers else ""
        raise WeightsError(
            f"{path} is truncated or damaged: {error}. Of its {len(buffer)} bytes, "
            f"{len(layers)} layers with weights could be read{last}; get the file again"
        ) from None
    if not layers and not may_be_empty:
        raise WeightsError(f"{path} holds no weights: it has {count} layers, none with blobs")
    return dict(zip(decode_names(layers), layers.values(), strict=True))


def _read_layer(path: Path, buffer: memoryview, generation: str) -> tuple[bytes, Blobs]:
    name, blobs = b"", []
    for number, value, _ in _fields(buffer):
        if not isinstance(value, memoryview):
            continue
        if number == _NAME[generation]:
            name = bytes(value)
        elif number == _BLOBS[generation]:
            blobs.append(value)
        elif generation == "V1" and number == _V0_LAYER:
            return _read_layer(path, value, "V0")
    shown = shortened(decode_names([name])[0])
    return name, tuple(
        read_blob(buffer, f"{path}: layer {shown!r}, blob {i}") for i, buffer in enumerate(blobs)
    )


def read_blob(buffer: memoryview, where: str) -> NDArray[np.float32]:
    """The array in a ``BlobProto``.

    Parameters
    ----------
    where
        Name of the blob, for messages.

    Raises
    ------
    WeightsError
        Its shape does not fit the number of values, or is not valid in Caffe.
    ValueError
        The bytes are not such a message.
    """
    legacy = {_NUM: 0, _CHANNELS: 0, _HEIGHT: 0, _WIDTH: 0}
    is_legacy, shape = False, None
    data = _Numbers(where)
    raw, raw_type = memoryview(b""), 0
    for number, value, _ in _fields(buffer):
        if isinstance(value, int):
            if number == _DATA:  # data never has this wire type: it is a width
                return _read_c3d_blob(buffer, where)
            if number in legacy:
                is_legacy, legacy[number] = True, _signed(value)
            elif number == _RAW_TYPE:
                raw_type = value
        elif number == _RAW_DATA:
            raw = value
        elif number in (_DATA, _DOUBLE_DATA):
            # Packed, or one number per field, as in the first versions of Caffe.
            data.add(value, "<f4" if number == _DATA else "<f8")
        elif number == _SHAPE:
            shape = _read_shape(value)
    if raw:
        if raw_type >= len(_RAW_TYPES):
            raise WeightsError(f"{where}: its numbers have unknown type {raw_type}")
        data.add(raw, _RAW_TYPES[raw_type])
    if is_legacy:
        shape = tuple(legacy.values())
    return _shaped(data.values(), shape, where)


def _read_c3d_blob(buffer: memoryview, where: str) -> NDArray[np.float32]:
    """A blob of C3D 1.0, which has one more axis and other field numbers."""
    sizes, data = dict.fromkeys(_C3D_SIZES, 0), _Numbers(where)
    for number, value, _ in _fields(buffer):
        if isinstance(value, int):
            sizes[number] = _signed(value)
        elif number == _C3D_DATA:
            data.add(value, "<f4")
    return _shaped(data.values(), tuple(sizes[number] for number in _C3D_SIZES), where)


def _shaped(
    values: NDArray[np.float32], shape: tuple[int, ...] | None, where: str
) -> NDArray[np.float32]:
    if shape is None:
        shape = () if values.size == 1 else (values.size,)  # Caffe writes no shape for a scalar
    if len(shape) > BLOB_AXES:
        raise WeightsError(f"{where}: its shape has {len(shape)} axes, more than {BLOB_AXES}")
    if shape and not 0 <= min(shape) <= max(shape) <= LARGEST_SIZE:
        raise WeightsError(f"{where}: its shape {shape} has an axis outside 0 to {LARGEST_SIZE:,}")
    if math.prod(shape) != values.size:
        raise WeightsError(
            f"{where}: its shape {shape} needs {math.prod(shape)} values, but it has {values.size}"
        )
    return values.reshape(shape)


class _Numbers:
    """The numbers of a blob: a view of the file, or joined if each is a separate field."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._parts: list[tuple[str, memoryview | bytearray]] = []

    def add(self, data: memoryview, kind: str) -> None:
        if len(data) % np.dtype(kind).itemsize:
            raise _WireError(f"{self._where} ends inside a number", 0)
        if len(data) > 8:
            self._parts.append((kind, data))
            return
        last = self._parts[-1] if self._parts else None
        if last is None or last[0] != kind or not isinstance(last[1], bytearray):
            last = kind, bytearray()
            self._parts.append(last)
        last[1].extend(data)  # type: ignore[union-attr]

    def values(self) -> NDArray[np.float32]:
        if not self._parts:
            return np.empty(0, np.float32)
        parts = [np.frombuffer(data, kind) for kind, data in self._parts]
        with np.errstate(over="ignore"):  # too large a double becomes infinite, which is reported
            return np.concatenate(parts, dtype=np.float32, casting="same_kind")


def _read_shape(buffer: memoryview) -> tuple[int, ...]:
    dims: list[int] = []
    for number, value, _ in _fields(buffer):
        if number == 1 and isinstance(value, int):
            dims.append(value)
        elif number == 1 and isinstance(value, memoryview):
            position = 0
            while position < len(value):
                dim, position = _varint(value, position)
                dims.append(dim)
    return tuple(dims)


def _read_hdf5(path: Path, may_be_empty: bool) -> dict[str, Blobs]:
    layers: dict[bytes, dict[int, NDArray[np.float32]]] = {}
    with open_hdf5(path) as file:
        data = file.get("data")
        if not hasattr(data, "visititems"):  # a dataset, or missing
            raise WeightsError(f"{path} is not a caffemodel: it is {_hdf5_noun(file)}")
        for name, dataset in datasets(data).items():
            name = name.encode() if isinstance(name, str) else name
            layer, _, index = name.rpartition(b"/")  # layer names may contain slashes
            if re.fullmatch(rb"[0-9]{1,9}", index):
                check_dataset(dataset, path)
                layers.setdefault(layer, {})[int(index)] = np.asarray(dataset, np.float32)
    if not layers and not may_be_empty:
        raise WeightsError(f"{path} holds no weights: no datasets `data/<layer>/<number>`")
    arrays = [tuple(blobs[i] for i in sorted(blobs)) for blobs in layers.values()]
    return dict(zip(decode_names(layers), arrays, strict=True))


def _hdf5_noun(file: Any) -> str:
    """A description of an HDF5 file without a group ``data``, by the names in it."""
    names = list(file)
    if "learned_net" in names:
        net = file["learned_net"]
        net = net[()] if getattr(net, "shape", None) == () else b""
        shown = shortened(net.decode(errors="replace") if isinstance(net, bytes) else str(net))
        return (
            "a solver's state (.solverstate.h5), which holds no weights; give the caffemodel of "
            f"the same iteration: {shown}"
        )
    if "model_weights" in names or "layer_names" in file.attrs:
        return "a Keras file"
    kind = "a set of data and labels" if {"data", "label"} & {*names} else "an HDF5 file"
    return f"{kind} without a group `data` of weights; it has {_listed(names) or 'nothing'}"


def _listed(names: Sequence[str | bytes], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shortened(str(name)) for name in names[:most]) + more


# -- writing ---------------------------------------------------------------------------------------


def _encode_blob(blob: NDArray[np.float32]) -> list[bytes | memoryview]:
    shape: list[bytes | memoryview] = []
    _add_field(shape, 1, [b"".join(_encode_varint(dim) for dim in blob.shape)])
    parts: list[bytes | memoryview] = []
    _add_field(parts, _SHAPE, shape)
    data = np.ascontiguousarray(blob, "<f4").reshape(-1)
    _add_field(parts, _DATA, [data.data.cast("B")] if data.size else [])
    return parts


def _add_field(
    parts: list[bytes | memoryview], number: int, content: Sequence[bytes | memoryview]
) -> None:
    parts.append(_header(number, sum(len(part) for part in content)))
    parts.extend(content)


def _write_field(file: BinaryIO, number: int, content: Iterable[bytes | memoryview]) -> None:
    parts: list[bytes | memoryview] = []
    _add_field(parts, number, list(content))
    file.writelines(parts)


# -- protobuf's wire format ------------------------------------------------------------------------

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # 3 and 4 were groups, which Caffe never used


class _WireError(ValueError):
    """The bytes are not a message; `position` is the offset in the buffer where this shows."""

    def __init__(self, what: str, position: int) -> None:
        super().__init__(what)
        self.position = position


def _fields(buffer: memoryview) -> Iterator[tuple[int, int | memoryview, int]]:
    """The fields of one message, in file order.

    Parameters
    ----------
    buffer
        One message.

    Yields
    ------
    number, value, position
        The field's number; its value, an int for a varint and a memoryview for bytes, sub-messages
        and fixed-size numbers; and the position after it.

    Raises
    ------
    _WireError
        The buffer ends inside a field, or holds something that no writer produces.
    """
    position = 0
    while position < len(buffer):
        start = position
        tag, position = _varint(buffer, position)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise _WireError("field number 0", start)
        value: int | memoryview
        if kind == VARINT:
            value, position = _varint(buffer, position)
        elif kind in (BYTES, FIXED32, FIXED64):
            size = {FIXED32: 4, FIXED64: 8}.get(kind)
            if size is None:
                size, position = _varint(buffer, position)
            if position + size > len(buffer):
                missing = position + size - len(buffer)
                raise _WireError(f"{missing} bytes are missing", len(buffer))
            value = buffer[position : position + size]
            position += size
        else:
            raise _WireError(f"wire type {kind}", start)
        yield number, value, position


def _varint(buffer: memoryview, position: int) -> tuple[int, int]:
    """The integer at `position`, and the position after it."""
    value = shift = 0
    while position < len(buffer):
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise _WireError("an integer of more than 64 bits", position)
    raise _WireError("it ends inside an integer", position)


def _encode_varint(value: int) -> bytes:
    """An unsigned integer as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _header(number: int, size: int) -> bytes:
    """The header of a field that holds `size` bytes, text or a message."""
    return _encode_varint(number << 3 | BYTES) + _encode_varint(size)


def _signed(value: int) -> int:
    """A varint's value as the int32 or int64 that was written."""
    value &= 2**64 - 1  # a varint may have 70 bits
    return value - 2**64 if value >= 2**63 else value

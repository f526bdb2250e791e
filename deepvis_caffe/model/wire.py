"""The wire format of protocol buffers, read in place: ``buffer -> (field number, value)``.

Weights files hold hundreds of megabytes of packed floats. A message class would copy each of them
into an object and back; numpy reads them where they lie.
Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT, FIXED64, BYTES, START_GROUP, END_GROUP, FIXED32 = range(6)


class WireError(ValueError):
    """The bytes are no message; `position` says where in the buffer that shows."""

    def __init__(self, what: str, position: int) -> None:
        super().__init__(what)
        self.position = position


def fields(buffer: memoryview) -> Iterator[tuple[int, int | memoryview, int]]:
    """The fields of a message, in file order.

    Parameters
    ----------
    buffer
        One message.

    Yields
    ------
    number, value, position
        Field number; int for varints, memoryview for bytes, sub-messages and fixed-size numbers;
        the position behind the field.

    Raises
    ------
    WireError
        The buffer ends inside a field, or holds what no writer writes.
    """
    position = 0
    while position < len(buffer):
        start = position
        tag, position = varint(buffer, position)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError("field number 0", start)
        value: int | memoryview
        if kind == VARINT:
            value, position = varint(buffer, position)
        elif kind in (BYTES, FIXED32, FIXED64):
            size = {FIXED32: 4, FIXED64: 8}.get(kind)
            if size is None:
                size, position = varint(buffer, position)
            if position + size > len(buffer):
                missing = position + size - len(buffer)
                raise WireError(f"{missing} bytes are missing", len(buffer))
            value = buffer[position : position + size]
            position += size
        else:
            raise WireError(f"wire type {kind}", start)
        yield number, value, position


def varint(buffer: memoryview, position: int) -> tuple[int, int]:
    """The integer at `position`, and the position behind it."""
    value = shift = 0
    while position < len(buffer):
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise WireError("an integer of more than 64 bits", position)
    raise WireError("it ends inside an integer", position)


def encode_varint(value: int) -> bytes:
    """An unsigned integer as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def header(number: int, size: int) -> bytes:
    """What precedes `size` bytes of a field of type bytes, text or message."""
    return encode_varint(number << 3 | BYTES) + encode_varint(size)


def signed(value: int) -> int:
    """A varint's value as the int32 or int64 that was written."""
    return int(struct.unpack("<q", struct.pack("<Q", value))[0])

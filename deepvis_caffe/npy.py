"""numpy's ``.npy`` and ``.npz`` files, whose headers are checked before anything is allocated.

`numpy.load` allocates what a header claims, and passes on whatever Python's own parser raises on a
damaged one.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.files import open_file, read_file
from deepvis_caffe.limits import ARRAY_FILE, COMPRESSION

MAGIC = b"\x93NUMPY"


class ArrayFileError(ValueError):
    """The bytes are not an array, or fewer than their header claims."""


def read_npy(data: bytes) -> NDArray[np.generic]:
    """The array in the bytes of a ``.npy`` file.

    Raises
    ------
    ArrayFileError
        It is damaged, holds objects, or claims more values than there are.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ArrayFileError(f"it is of version {version} of the format; save it again")
        shape, in_columns, kind = read(file)
    except ArrayFileError:
        raise
    except Exception as error:  # numpy runs Python's parser on the header
        raise ArrayFileError("its header is damaged") from error
    if kind.hasobject:
        raise ArrayFileError("it holds Python objects, which are not read: only numbers are")
    values = math.prod(shape)
    claimed, there = values * kind.itemsize, len(data) - file.tell()
    if min(shape, default=0) < 0 or not kind.itemsize or claimed > there:
        raise ArrayFileError(
            f"its header claims {shape} values of {kind}, {claimed:,} bytes, and {there:,} follow"
        )
    try:
        flat = np.frombuffer(data, kind, values, file.tell())
        return flat.reshape(shape, order="F" if in_columns else "C").copy(order="K")
    except ValueError as error:  # more axes than numpy has
        raise ArrayFileError(str(error)) from error


def read_npy_file(path: Path) -> NDArray[np.generic]:
    """The array in a ``.npy`` file.

    Raises
    ------
    OSError
        It cannot be read, or is longer than `limits.ARRAY_FILE`.
    ArrayFileError
        As `read_npy`.
    """
    return read_npy(read_file(path, ARRAY_FILE))


class Npz(Mapping[str, NDArray[np.generic]]):
    """The arrays of a ``.npz`` file by name, each read on access; close it after use.

    Parameters
    ----------
    source
        Its path or its bytes.
    most
        The most bytes that all arrays together may have.

    Raises
    ------
    OSError
        It cannot be read.
    ArrayFileError
        It is not a ``.npz``, or its arrays claim more bytes than such a file can hold or than
        `most`.
    """

    def __init__(self, source: Path | bytes, most: int = ARRAY_FILE) -> None:
        self._file: BinaryIO = (
            io.BytesIO(source) if isinstance(source, bytes) else open_file(source)
        )
        try:
            self._zip = zipfile.ZipFile(self._file)
            parts = [one for one in self._zip.infolist() if one.filename.endswith(".npy")]
        except OSError:
            self._file.close()
            raise
        except Exception as error:  # whatever zipfile raises at a damaged file
            self._file.close()
            raise ArrayFileError(f"it is not a .npz file, or is damaged: {error}") from error
        self._parts = {part.filename.removesuffix(".npy"): part for part in parts}
        claimed = sum(part.file_size for part in self._parts.values())
        length = self._file.seek(0, io.SEEK_END)
        if claimed > min(most, length * COMPRESSION):
            self.close()
            raise ArrayFileError(
                f"its arrays claim {claimed:,} bytes; a file of {length:,} bytes can hold "
                f"{length * COMPRESSION:,}, but at most {most:,} are read"
            )

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        part = self._parts[name]
        try:
            with self._zip.open(part) as file:
                return read_npy(file.read(part.file_size + 1))
        except (ArrayFileError, MemoryError) as error:
            raise ArrayFileError(f"its array {name!r}: {error}") from error
        except Exception as error:  # whatever zipfile raises at a damaged file
            raise ArrayFileError(f"its array {name!r} is damaged: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

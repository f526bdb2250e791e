"""Images in Caffe's databases: ``Lmdb``, an LMDB of Datum records, and ``Hdf5``."""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe import limits
from deepvis_caffe.dataset.image_files import decode
from deepvis_caffe.dataset.image_lists import find_start
from deepvis_caffe.dataset.lmdb_file import lmdb_file, read_entries, read_value
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.errors import ImageError, boundary, shortened
from deepvis_caffe.files import open_file
from deepvis_caffe.hdf5 import check_dataset, datasets, open_hdf5
from deepvis_caffe.image_size import check_pixels
from deepvis_caffe.limits import MEGAPIXELS
from deepvis_caffe.model.schema_pb2 import Datum

log = logging.getLogger(__name__)

MOST_LISTED = 20  # datasets of a file listed in a message
LABEL_NAMES = ("label", "labels", "y", "target", "targets")


class Lmdb(Source):
    """Datum records in an LMDB, raw or encoded. An image's name is its key.

    Parameters
    ----------
    path
        The folder that holds ``data.mdb``, or the file of a database without a folder.
    channels
        Channels of the net's input, which determine how an encoded image is read.
    megapixels
        Maximum image size, in millions of pixels.

    Raises
    ------
    ImageError
        It cannot be read, is damaged, or is empty.
    """

    kind = "lmdb"

    def __init__(self, path: Path, channels: int = 3, megapixels: float = MEGAPIXELS) -> None:
        self.path, self.channels, self.megapixels = path.absolute(), channels, megapixels
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()
        entries = read_entries(lmdb_file(self.path))
        if not entries:
            raise ImageError(f"the LMDB {path} is empty")
        named = sorted((one.key.decode("utf-8", "backslashreplace"), one) for one in entries)
        self.names = [name for name, _ in named]
        self._places = [(entry.offset, entry.size) for _, entry in named]

    def read(self, index: int) -> NDArray[Any]:
        """RGB, (H, W, C): uint8, or float in [0, 1] if the record holds floats."""
        return picture_from_datum(self._datum(index), self.channels, self.megapixels)

    def label(self, index: int) -> int | None:
        """The label of the record."""
        datum = self._datum(index)
        return datum.label if datum.HasField("label") else None

    def content(self, index: int) -> bytes:
        """The record without its label."""
        datum = self._datum(index)
        datum.ClearField("label")
        return bytes(datum.SerializeToString(deterministic=True))

    def signature(self) -> str:
        """A digest of the keys, with the size of the file."""
        return f"{super().signature()}-{lmdb_file(self.path).stat().st_size}"

    def _known_label(self, index: int) -> int | None:
        return None

    def _datum(self, index: int) -> Any:
        offset, size = self._places[index]
        if size > limits.IMAGE_FILE:
            raise ImageError(
                f"too large: the record has {size:,} bytes, more than {limits.IMAGE_FILE:,}"
            )
        with boundary(ImageError, "the record cannot be read"), self._lock:
            if self._file is None:
                self._file = open_file(lmdb_file(self.path))
            record = read_value(self._file, offset, size)
        with boundary(ImageError, "the record is not a Datum"):
            return Datum.FromString(record)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"} | {
            "_file": None
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def picture_from_datum(
    datum: Any, channels: int = 3, megapixels: float = MEGAPIXELS
) -> NDArray[Any]:
    """The picture in a Datum, RGB, (H, W, C); Caffe stores it as BGR, (C, H, W).

    Parameters
    ----------
    channels
        Channels of the net's input, which determine how an encoded image is read; see
        `read_channels`.
    megapixels
        Maximum image size, in millions of pixels.

    Raises
    ------
    ImageError
        It is damaged, too large, or holds numbers that are not pixels.
    """
    if datum.encoded:
        return decode(datum.data, channels=channels, megapixels=megapixels)
    shape = (datum.channels, datum.height, datum.width)
    floats = len(datum.float_data) > 0
    values: NDArray[Any] = (
        np.array(datum.float_data, np.float32) if floats else np.frombuffer(datum.data, np.uint8)
    )
    if values.size != math.prod(shape) or min(shape) < 1:
        raise ImageError(f"the Datum's shape is {shape}, but it holds {values.size:,} values")
    check_pixels(*shape[1:], values.nbytes, megapixels)
    if floats:
        if not (values.min() >= 0 and values.max() <= 255):
            raise ImageError("the Datum's floats are not pixels: some are outside 0 to 255")
        values = values / np.float32(255)
    picture = values.reshape(shape).transpose(1, 2, 0)
    return picture[..., ::-1] if datum.channels == 3 else picture


class Hdf5(Source):
    """``data`` and ``label`` in HDF5 files, as Caffe's ``HDF5Data`` layer reads them.

    That layer does not preprocess: the files hold the net's input. An image's name is its file name
    and row.

    Parameters
    ----------
    paths
        The files.
    dataset
        The name of the images' dataset in each file. By default ``data``, or otherwise the first by
        name with four axes, with a warning.
    megapixels
        Size limit: an image may have as many values as a picture with this many millions of pixels
        has bytes.

    Raises
    ------
    ImageError
        A file cannot be read, or has no images of shape (N, C, H, W).
    """

    kind = "hdf5"
    prepared = True

    def __init__(
        self, paths: Sequence[Path], dataset: str | None = None, megapixels: float = MEGAPIXELS
    ) -> None:
        self.megapixels = megapixels
        self._files: dict[Path, Any] = {}
        self._names: dict[Path, _Datasets] = {}
        rows: list[tuple[str, Path, int]] = []
        for path in paths:
            own = path.absolute()
            with boundary(ImageError, f"cannot read {path}"):
                self._names[own] = _datasets(path, self._open(own), dataset, megapixels)
                count = len(self._open(own)[self._names[own].images])
            rows += [(f"{path.name}/{row:08d}", own, row) for row in range(count)]
        others = {names.images for names in self._names.values()} - {"data", dataset}
        if others:
            log.warning(
                "%s has no dataset `data`: the images are %s; --hdf5-dataset (setting "
                "hdf5_dataset) names another one",
                paths[0],
                ", ".join(map(repr, sorted(others))),
            )
        if not rows or len({name for name, _, _ in rows}) < len(rows):
            raise ImageError(
                "the HDF5 files hold no images"
                if not rows
                else "two of the HDF5 files have the same name; rename one"
            )
        rows.sort()
        self.names = [name for name, _, _ in rows]
        self._rows = [(path, row) for _, path, row in rows]

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of the first image."""
        path, _ = self._rows[0]
        return tuple(self._images(path).shape[1:])

    def read(self, index: int) -> NDArray[Any]:
        """The net's input, (C, H, W), float32."""
        path, row = self._rows[index]
        with boundary(ImageError, "the row cannot be read"):
            return np.asarray(self._images(path)[row], np.float32)

    def label(self, index: int) -> int | None:
        """The label of the row, if each row of its file has a single whole number."""
        path, row = self._rows[index]
        name = self._names[path].labels
        if name is None:
            return None
        with boundary(ImageError, "the label of the row cannot be read"):
            return int(np.asarray(self._open(path)[name][row]).reshape(-1)[0])

    def signature(self) -> str:
        """A digest of the names, with the names of the datasets if they are not the default."""
        others = sorted({names.images for names in self._names.values()} - {"data"})
        return "-".join([super().signature(), *others])

    def content(self, index: int) -> bytes:
        """The bytes of the row."""
        return self.read(index).tobytes()

    def _known_label(self, index: int) -> int | None:
        return None

    def _images(self, path: Path) -> Any:
        return self._open(path)[self._names[path].images]

    def _open(self, path: Path) -> Any:
        if path not in self._files:
            with boundary(ImageError, f"cannot read {path}"):
                self._files[path] = open_hdf5(path)
        return self._files[path]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}


class _Datasets(NamedTuple):
    """The names of the datasets that hold a file's images and their classes."""

    images: str
    labels: str | None


def _datasets(path: Path, file: Any, wanted: str | None, megapixels: float) -> _Datasets:
    """Find the images and their classes in an HDF5 file."""
    found = {name: item for name, item in datasets(file).items() if isinstance(name, str)}
    several = list(found.items())
    listed = ", ".join(f"{shortened(name)} {item.shape}" for name, item in several[:MOST_LISTED])
    listed += f" and {len(several) - MOST_LISTED} more" if len(several) > MOST_LISTED else ""
    listed = listed or "no datasets"
    name = wanted or ("data" if "data" in found else None)
    if name is None:
        name = min((one for one, item in found.items() if item.ndim == 4), default=None)
    if name not in found or found[name].ndim != 4 or found[name].dtype.kind not in "buif":
        what = f"dataset `{name or 'data'}` of shape (N, C, H, W)"
        raise ImageError(f"{path} needs a {what}; it has {listed}")
    check_dataset(found[name], path)
    most = int(megapixels * 1e6 * limits.BYTES_PER_PIXEL)
    if 4 * math.prod(found[name].shape[1:]) > most:
        raise ImageError(
            f"{path}: its images {name} {found[name].shape} are too large: at most {most:,} bytes "
            "each are read (setting max_megapixels)"
        )
    count = len(found[name])
    for label in LABEL_NAMES:
        label = f"{name.rpartition('/')[0]}/{label}".lstrip("/")
        values = found.get(label)
        if values is None or not values.ndim or values.size != count or len(values) != count:
            continue
        is_numeric = values.dtype.kind in "buif"
        if is_numeric:
            check_dataset(values, path)
            numbers = np.asarray(values)
        if is_numeric and np.isfinite(numbers).all() and np.array_equal(numbers, np.rint(numbers)):
            return _Datasets(name, label)
        log.warning("%s: %r has values that are not whole numbers, so no classes", path, label)
    return _Datasets(name, None)


def read_hdf5_list(
    path: Path,
    names: Sequence[str],
    root: Path | None = None,
    dataset: str | None = None,
    megapixels: float = MEGAPIXELS,
) -> Hdf5:
    """The HDF5 files that a list names; `root` as in `parse_list`, the rest as in `Hdf5`."""
    names = [name.replace("\\", "/") for name in names]
    place = find_start(path, names, root)
    return Hdf5([place(name) for name in names], dataset, megapixels)


def is_hdf5(name: str) -> bool:
    """Whether this is the name of an HDF5 file."""
    return re.search(r"\.(h5|hdf5)$", name.strip(), re.IGNORECASE) is not None

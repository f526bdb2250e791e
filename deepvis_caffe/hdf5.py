"""Untrusted HDF5 files: open, list, and check each dataset before reading it.

h5py allocates whatever a dataset's shape claims, and fills with zeros what the file lacks.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from deepvis_caffe.files import open_file
from deepvis_caffe.limits import COMPRESSION


def open_hdf5(path: Path) -> Any:
    """Open an HDF5 file for reading.

    Raises
    ------
    OSError
        It cannot be opened, or is not an HDF5 file.
    """
    import h5py  # only when such a file is read

    open_file(path).close()  # raises unless it is a regular file
    return h5py.File(path, "r")


def datasets(group: Any) -> dict[str | bytes, Any]:
    """The datasets below a group by name; a name that is not UTF-8 is bytes."""
    import h5py

    found: dict[str | bytes, Any] = {}

    def visit(name: str | bytes, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    group.visititems(visit)
    return found


def check_dataset(dataset: Any, path: Path) -> None:
    """Check that a dataset holds numbers, and no more than its file can contain.

    Raises
    ------
    ValueError
        It does not, or its values are in other files.
    """
    where = f"dataset {dataset.name!r}"
    if dataset.shape is None:
        raise ValueError(f"{where} is empty")
    if dataset.dtype.kind not in "buif":
        raise ValueError(f"{where} holds {dataset.dtype} values, not numbers")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"the values of {where} are in other files, which are not read")
    # h5py reads whole chunks, even where the dataset is smaller than one.
    claimed = max(math.prod(dataset.shape), math.prod(dataset.chunks or (0,)))
    claimed *= dataset.dtype.itemsize
    stored, length = dataset.id.get_storage_size(), path.stat().st_size
    possible = min(stored, length) * (COMPRESSION if dataset.chunks else 1)
    if claimed > possible:
        raise ValueError(
            f"{where} claims {dataset.shape} values of {dataset.dtype}, {claimed:,} bytes, and "
            f"{min(stored, length):,} are in the file"
        )

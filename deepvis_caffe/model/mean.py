"""The mean that Caffe subtracts: ``(values | file, input shape) -> (C, 1, 1) or (C, H, W)``.

Channels are in the net's own order (BGR for most), as Caffe's users write them. A mean image is
often larger than the input, because training uses random crops: then its center is used, at offset
``(size - crop) // 2``, as in Caffe at test time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ImageError, WeightsError, boundary
from deepvis_caffe.files import read_file
from deepvis_caffe.limits import ARRAY_FILE
from deepvis_caffe.model.caffemodel import read_blob
from deepvis_caffe.model.sniff import sniff
from deepvis_caffe.npy import MAGIC, read_npy

Mean = NDArray[np.float32]
MeanSpec = float | Sequence[float] | NDArray[Any] | str | os.PathLike[str] | None


def load_mean(spec: MeanSpec, channels: int) -> Mean:
    """The mean at its own size.

    Parameters
    ----------
    spec
        None (no mean), one value, one value per channel, an array, or the path of a ``.npy`` or
        ``.binaryproto`` file with shape (C,), (C, H', W') or (1, C, H', W').
    channels
        Channels of the net's input.

    Returns
    -------
    ndarray
        float32, (C, 1, 1) or (C, H', W'); `crop_mean` fits it to the input.

    Raises
    ------
    ImageError
        The file cannot be read, has another channel count, or holds values that are not finite.
    """
    if spec is None:
        return np.zeros((channels, 1, 1), np.float32)
    if isinstance(spec, str | os.PathLike):
        where, mean = f"the mean file {spec}", _read_file(Path(spec))
    else:
        where, mean = "the mean", np.asarray(spec)
    if mean.dtype.kind not in "fiu":
        raise ImageError(f"{where}: expected numbers, got {mean.dtype} values")
    mean = mean.astype(np.float32)
    bad = int((~np.isfinite(mean)).sum())
    if bad:
        raise ImageError(f"{where} holds {bad} values that are NaN or infinite")
    got = mean.shape
    if mean.ndim == 4 and got[0] == 1:
        mean = mean[0]  # a binaryproto is a blob with batch size 1
    if mean.ndim == 2 and channels == 1:
        mean = mean[np.newaxis]
    if mean.ndim == 0 or mean.shape == (1,):
        return np.full((channels, 1, 1), mean.item(), np.float32)
    if mean.ndim == 1:
        mean = mean[:, np.newaxis, np.newaxis]
    if mean.ndim != 3 or mean.shape[0] != channels:
        swapped = len(got) == 3 and got[2] == channels
        raise ImageError(
            f"{where} has shape {got}; the net's input has {channels} channels, so expected "
            f"({channels},) or ({channels}, height, width)"
            + ("; channels come first: mean.transpose(2, 0, 1) puts them there" if swapped else "")
        )
    return mean


def find_mean_file(prototxt: Path | None, written: str) -> Path | None:
    """The mean file that a prototxt names: that path from its folder, or that name in it."""
    folder = prototxt.parent if prototxt else Path()
    places = (folder / written, folder / Path(written).name)
    return next((path for path in places if path.is_file()), None)


def mean_image_shape(path: Path) -> tuple[int, int, int] | None:
    """(C, H, W) of a mean image; None if the file holds none or cannot be read."""
    try:
        shape = _read_file(path).shape
    except ImageError:
        return None
    if len(shape) == 4 and shape[0] == 1:
        shape = shape[1:]
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else None


def crop_mean(mean: Mean, height: int, width: int) -> Mean:
    """The center of a mean image; a mean with one value per channel is returned unchanged."""
    rows, columns = mean.shape[1:]
    if (rows, columns) == (1, 1):
        return mean
    if rows < height or columns < width:
        raise ImageError(
            f"the mean image is {rows} x {columns} pixels (height x width), smaller than the net's "
            f"input of {height} x {width}; give a larger mean image, or its per-channel values: "
            f"({', '.join(f'{value:.4g}' for value in mean.mean(axis=(1, 2)))})"
        )
    top, left = (rows - height) // 2, (columns - width) // 2
    return mean[:, top : top + height, left : left + width]


def _read_file(path: Path) -> NDArray[Any]:
    """Read a mean file of either kind, recognized by its first bytes, not by its name."""
    try:
        data = read_file(path, ARRAY_FILE)
    except FileNotFoundError:
        raise ImageError(f"no mean file at {path}: there is no such file") from None
    except OSError as error:
        raise ImageError(f"cannot read the mean file {path}: {error.strerror}") from error
    if (found := sniff(data[:4096])) and not data.startswith(MAGIC) and "mean" not in found:
        raise ImageError(
            f"the mean file {path} is neither a .npy nor a .binaryproto file: it is {found}"
        )
    with boundary(
        ImageError, f"the mean file {path} is damaged, or neither a .npy nor a .binaryproto file"
    ):
        if data.startswith(MAGIC):
            return read_npy(data)
        try:
            mean = read_blob(memoryview(data), "the mean")
        except WeightsError as error:
            raise ValueError(str(error)) from error
        if not mean.size:
            raise ValueError("it holds no values")
        return mean

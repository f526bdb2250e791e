"""Read images with any number of channels: ``(file, channels) -> (H, W, C)``.

For nets whose input is not gray or RGB: PNG with alpha, TIFF with several bands or pages, and
numpy's ``.npy`` and ``.npz``. `deepvis_caffe.image` reads RGB pictures.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import (
    Picture,
    check_image_size,
    decode_other,
    image_content,
    is_array,
    is_tiff,
    read_array,
    read_image,
)
from deepvis_caffe.image_size import tiff_pages
from deepvis_caffe.limits import MEGAPIXELS

RGB = (1, 3)  # numbers of channels that every picture can be converted to


def read_channels(
    source: str | os.PathLike[str] | bytes,
    channels: int,
    shrink: Literal[1, 2, 4] = 1,
    megapixels: float = MEGAPIXELS,
) -> NDArray[Any]:
    """Read an image for an input of `channels` channels, in the form that `Preprocessor` takes.

    Parameters
    ----------
    source
        A path, or the bytes of an image file.
    channels
        Channels of the net's input. For 1 and 3, pictures are read as RGB and alpha is dropped.
    shrink
        As for `read_image`; only for pictures that are read as RGB.
    megapixels
        The largest image to read, in millions of pixels of `limits.BYTES_PER_PIXEL` bytes.

    Returns
    -------
    ndarray
        (H, W, C). Pictures and integers up to 255 are uint8, 16-bit ones uint16, all others
        float32; values are not scaled. C is the file's number of channels; it equals `channels`
        where the file can be read that way: an array may be (H, W, C) or (C, H, W), and the pages
        of a TIFF are channels.

    Raises
    ------
    ImageError
        There is no such file, it cannot be read, it is larger, or its array has the wrong shape.
    """
    where, content = image_content(source)
    if is_array(content):
        return channels_last(read_array(content, where, megapixels), channels, where)
    if channels in RGB:
        given = source if isinstance(source, bytes) else Path(source)
        return read_image(given, shrink, megapixels)
    check_image_size(content, where, megapixels)
    pages = _tiff(content) if is_tiff(content) else None
    array = decode_unchanged(content, channels, where) if pages is None else pages
    return channels_last(array, channels, where)


def channels_last(array: NDArray[Any], channels: int, where: str) -> NDArray[Any]:
    """An image array as (H, W, C).

    Parameters
    ----------
    array
        (H, W), (H, W, C), (C, H, W), or pages of one of those; leading axes of size 1 are dropped.
    channels
        The number of channels wanted, which determines their axis. For an input of 1 or 3
        channels an array may have 1, 3 or 4, like a picture.
    where
        What the array is, for messages.

    Raises
    ------
    ImageError
        It has other axes, or no pixels.
    """
    shape = array.shape
    if not array.size:
        raise ImageError(f"{where} has shape {shape}: no pixels")
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 4 and array.shape[0] * array.shape[3] == channels:  # pages of several bands
        array = array.transpose(1, 2, 0, 3).reshape(*array.shape[1:3], channels)
    if array.ndim == 2:
        return array[..., np.newaxis]
    fitting = {channels, 1, 3, 4} if channels in RGB else {channels}
    if array.ndim == 3:
        for count in (channels, *sorted(fitting)):
            if array.shape[2] == count:
                return array
            if array.shape[0] == count:
                return array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] in (1, 2, 3, 4):  # a picture; the caller checks channels
        return array
    raise ImageError(
        f"{where} has shape {shape}; the net's input has {channels} channels, so expected (height, "
        f"width, {channels}) or ({channels}, height, width)"
    )


def as_rgb(image: NDArray[Any]) -> Picture:
    """An image of any type and number of channels as a picture for display: its first three."""
    if image.ndim == 2:
        image = image[..., np.newaxis]
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    elif image.dtype != np.uint8:
        largest = max(float(np.nan_to_num(image).max(initial=0)), 1.0)
        image = np.rint(np.clip(np.nan_to_num(image) / largest, 0, 1) * 255).astype(np.uint8)
    return image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)


def decode_unchanged(content: bytes, channels: int, where: str) -> NDArray[Any]:
    """Decode a picture with the channels and the depth of its file, as gray, RGB or RGBA.

    Parameters
    ----------
    channels
        The number of channels wanted; only for 2, gray with alpha stays two channels.
    where
        What the picture is, for messages.

    Returns
    -------
    ndarray
        (H, W) or (H, W, C). The EXIF orientation is not applied where OpenCV decodes it.

    Raises
    ------
    ImageError
        Neither OpenCV nor Pillow can read it.
    """
    import cv2

    found = None
    if channels != 2:  # OpenCV turns gray with alpha into four channels
        with suppress(cv2.error):  # raised for some damaged files
            found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        return decode_other(content, where, rgb=False)
    if found.ndim == 3 and found.shape[2] in (3, 4):
        order = [2, 1, 0, 3][: found.shape[2]]
        found = np.ascontiguousarray(found[..., order])
    return np.asarray(found)


def _tiff(content: bytes) -> NDArray[Any] | None:
    """All bands and pages of a TIFF; None if it has to be read as a picture.

    Pages whose shape or type differs from the first one, such as thumbnails, are left out.
    """
    import tifffile

    count = sum(1 for _ in tiff_pages(content))
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            pages = [file.pages[number] for number in range(count)]
            first = pages[0]
            alike = [p for p in pages if (p.shape, p.dtype) == (first.shape, first.dtype)]
            return np.stack([page.asarray() for page in alike])
    except Exception:  # an unsupported compression, or whatever it raises on a damaged file
        return _opencv_pages(content)


def _opencv_pages(content: bytes) -> NDArray[Any] | None:
    import cv2

    try:
        found, pages = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if not found or len(pages) < 2 or len({page.shape for page in pages}) > 1:
        return None
    return np.stack([page[..., ::-1] if page.ndim == 3 else page for page in pages])

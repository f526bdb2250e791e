"""Montages, and how a run's picture becomes a cell of one: ``[picture, ...] -> picture``.

Pictures are (H, W, 3), RGB, uint8, and those of one montage have the same size. These are pure
functions; nothing here reads or writes files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Picture, resize_image

GRAY = 128
CAPTION_HEIGHT = 22  # pixels
SMALLEST_CELL = 96  # pixels; smaller pictures are enlarged


def square_side(count: int) -> int:
    """The side of the smallest square grid with `count` cells."""
    return math.isqrt(max(count, 1) - 1) + 1


def montage(
    pictures: Sequence[Picture], columns: int | None = None, padding: int = 1, fill: int = 0
) -> Picture:
    """Lay out pictures row by row.

    Parameters
    ----------
    pictures
        At least one.
    columns
        Cells per row; by default as many as make the grid square.
    padding
        Pixels around and between cells.
    fill
        Gray level of the padding and of empty cells.

    Returns
    -------
    ndarray
        (rows * (H + padding) + padding, columns * (W + padding) + padding, 3). Without `columns`
        the grid is square, and its last rows may be empty, as in DVT's montages.
    """
    if not pictures:
        raise ImageError("a montage needs at least one picture")
    side = square_side(len(pictures))
    rows = side if columns is None else math.ceil(len(pictures) / columns)
    cells = dict(enumerate(pictures))
    return _grid(cells, rows, columns or side, pictures[0].shape[:2], padding, fill)


def sprite(pictures: Mapping[int, Picture], count: int) -> Picture:
    """A square grid with a cell for each unit of a layer, as in DVT's ``whole_layer.jpg``.

    DVT expects unit k in row k // side, column k % side. So there is no padding, and the cells of
    units without a picture are gray.

    Parameters
    ----------
    pictures
        By unit, at least one.
    count
        Number of units in the layer.
    """
    side = square_side(count)
    return _grid(pictures, side, side, next(iter(pictures.values())).shape[:2], 0, GRAY)


def cell_of(
    picture: Picture, sees: Sequence[int] | None = None, window: Sequence[int] | None = None
) -> Picture:
    """A run's ``best_X`` as a cell: cropped to the receptive field, in full contrast, enlarged.

    Parameters
    ----------
    picture
        (H, W, 3) RGB uint8, zero is mid-gray.
    sees
        The unit's receptive field in the net's input, (top, left, bottom, right) in pixels; None if
        it is all of it or unknown.
    window
        The part that the picture shows, in the same form.
    """
    if sees is not None:
        top, left, bottom, right = sees
        rows, columns = (window or (0, 0))[:2]
        seen = picture[top - rows : bottom - rows, left - columns : right - columns]
        picture = seen if seen.size else picture  # a unit may see nothing but padding
    grow = max(1, math.ceil(SMALLEST_CELL / max(picture.shape[:2])))
    height, width = picture.shape[0] * grow, picture.shape[1] * grow
    return resize_image(vivid(picture), height, width)


def shrunk(picture: Picture, most: int) -> Picture:
    """A picture whose longer side is at most `most` pixels."""
    height, width = picture.shape[:2]
    factor = min(1.0, most / max(height, width))
    return resize_image(picture, max(1, round(height * factor)), max(1, round(width * factor)))


def vivid(picture: Picture, percentile: float = 99.5) -> Picture:
    """Stretch the contrast around mid-gray, and clip the most extreme values.

    In a picture scaled by its largest value, a few extreme pixels take up most of the range and the
    rest is nearly gray.

    Parameters
    ----------
    picture
        (H, W, 3), zero is mid-gray, as in ``best_X``.
    percentile
        The percentile of the distances from gray that becomes black or white.
    """
    centered = picture.astype(np.float32) - 127.5
    reach = max(float(np.percentile(np.abs(centered), percentile)), 0.5)
    return np.rint(np.clip(127.5 + centered * (127.5 / reach), 0, 255)).astype(np.uint8)


def captioned(picture: Picture, text: str, fill: int = 255) -> Picture:
    """A picture above a strip with one line of text, cut to fit."""
    import cv2

    width = picture.shape[1]
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.45
    text = text.encode("ascii", "replace").decode()  # OpenCV's fonts have nothing else
    while text and cv2.getTextSize(text, font, scale, 1)[0][0] > width - 4:
        text = text[:-1]
    strip = np.full((CAPTION_HEIGHT, width, 3), fill, np.uint8)
    ink = 0 if fill > 127 else 255
    cv2.putText(strip, text, (2, CAPTION_HEIGHT - 7), font, scale, (ink,) * 3, 1, cv2.LINE_AA)
    return np.concatenate([picture, strip])


def _grid(
    cells: Mapping[int, Picture],
    rows: int,
    columns: int,
    cell: tuple[int, ...],
    padding: int,
    fill: int,
) -> Picture:
    height, width = cell
    step_y, step_x = height + padding, width + padding
    shape = (rows * step_y + padding, columns * step_x + padding, 3)
    out = np.full(shape, fill, np.uint8)
    for index, picture in cells.items():
        if picture.shape != (height, width, 3):
            raise ImageError(
                f"the pictures of a montage must have one size: number {index} has shape "
                f"{picture.shape}, expected {(height, width, 3)}"
            )
        top, left = padding + index // columns * step_y, padding + index % columns * step_x
        out[top : top + height, left : left + width] = picture
    return out

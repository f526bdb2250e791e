"""Where in a picture a unit looks: from positions of a map to pixels of the input, and of the file.

All boxes are (top, left, bottom, right), ends excluded, and may reach beyond what they are of.
"""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.scan import value_of
from deepvis_caffe.engines.base import Net
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.receptive import ReceptiveField

Box = tuple[int, int, int, int]


def place_of(shape: tuple[int, ...], position: int) -> tuple[int, ...]:
    """One index an axis for a position of a unit's map, of a layer of that shape, (C, ...)."""
    return tuple(int(index) for index in np.unravel_index(position, shape[1:] or (1,)))[
        : len(shape) - 1
    ]


def field_of(net: Net, layer: str) -> ReceptiveField | None:
    """The receptive field of the value that is read for a layer; None where it is not known."""
    return net.model.receptive_fields.get(value_of(net, layer))


def seen_box(
    preprocessor: Preprocessor, field: ReceptiveField | None, place: tuple[int, ...]
) -> Box:
    """What one position sees of the net's input, padding included.

    An axis along which it could see all of the input is all of the input: what it misses of that,
    or sees of the padding, says little. So is the whole input where the layer has no map, or none
    whose receptive field is known.
    """
    _, height, width = preprocessor.shape
    if field is None or len(place) != 2:
        return 0, 0, height, width
    top, left, bottom, right = field.box(*place)
    if field.size[0] >= height:
        top, bottom = 0, height
    if field.size[1] >= width:
        left, right = 0, width
    return top, left, bottom, right


def picture_box(preprocessor: Preprocessor, box: Box, height: int, width: int) -> Box:
    """The pixels of a picture of that size from which a box of the input is computed.

    They are exactly those that `Preprocessor` averages, or interpolates between, for the box; one
    in the padding stands for as many pixels as one inside.
    """
    rows, columns = preprocessor.region(height, width)
    _, own_height, own_width = preprocessor.shape
    top, bottom = _span(box[0], box[2], rows.stop - rows.start, own_height)
    left, right = _span(box[1], box[3], columns.stop - columns.start, own_width)
    return top + rows.start, left + columns.start, bottom + rows.start, right + columns.start


def _span(first: int, end: int, pixels: int, size: int) -> tuple[int, int]:
    """Where `first` to `end` of an axis of `size` come from, of an axis of `pixels`."""
    if pixels >= size:  # averaged over areas; whole numbers, so that nothing is rounded away
        return first * pixels // size, -(-end * pixels // size)
    step = pixels / size  # interpolated between the centres of pixels
    return floor((first + 0.5) * step - 0.5), ceil((end - 0.5) * step - 0.5) + 1


def cut(
    picture: NDArray[Any], box: Box, inside: Box | None = None, fill: int = 128
) -> NDArray[Any]:
    """A box of a picture, (H, W, 3); what lies outside of it is gray.

    Parameters
    ----------
    inside
        What counts as the picture, where that is not all of it.
    """
    top, left, bottom, right = box
    a, b, c, d = inside or (0, 0, *picture.shape[:2])
    out = np.full((bottom - top, right - left, *picture.shape[2:]), fill, picture.dtype)
    rows = slice(max(top, a), max(min(bottom, c), top, a))
    columns = slice(max(left, b), max(min(right, d), left, b))
    found = picture[rows, columns]
    y, x = rows.start - top, columns.start - left
    if found.size:
        out[y : y + found.shape[0], x : x + found.shape[1]] = found
    return out

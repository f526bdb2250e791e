"""Drawing primitives: fills, rounded boxes, frames, text, pictures fitted into a rectangle.

They draw in place and clip to the canvas, so that no pane is too small to draw in.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.image import Picture, resize_image
from deepvis_caffe.text import cut, line_height, line_ink, text_width
from deepvis_caffe.viewer.cache import LruCache
from deepvis_caffe.viewer.panes.colors import TEXT, Color

Align = Literal["left", "center", "right"]


class Rect(NamedTuple):
    """A rectangle of pixels: its top left corner and its size."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """The first row below."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The first column to the right."""
        return self.left + self.width

    def has(self, y: int, x: int) -> bool:
        """Whether a pixel lies in it."""
        return self.top <= y < self.bottom and self.left <= x < self.right

    def inset(self, by: int) -> Rect:
        """The rectangle without a border of `by` pixels; at least one pixel in size."""
        return Rect(
            self.top + by, self.left + by, max(1, self.height - 2 * by), max(1, self.width - 2 * by)
        )


class Premultiplied(NamedTuple):
    """A color multiplied by its alpha, ready to be blended: both (h, w, 3) uint16.

    Attributes
    ----------
    color
        Color times alpha, 0 to 255 * 255, plus 127 so that a division by 255 rounds.
    background
        255 minus alpha, the weight of the background.
    """

    color: NDArray[np.uint16]
    background: NDArray[np.uint16]


def blank(height: int, width: int, color: Color) -> Picture:
    """A picture filled with one color."""
    made = np.empty((height, width, 3), np.uint8)
    _paint(made, color)
    return made


def fill(canvas: Picture, rect: Rect, color: Color, radius: int = 0) -> None:
    """Fill a rectangle, with rounded corners if `radius` is above 0."""
    radius = min(radius, rect.height // 2, rect.width // 2)
    if radius < 1:
        part = canvas[
            max(rect.top, 0) : max(rect.bottom, 0), max(rect.left, 0) : max(rect.right, 0)
        ]
        _paint(part, color)
        return
    top, left, height, width = rect
    fill(canvas, Rect(top, left + radius, height, width - 2 * radius), color)
    for x, across in ((left, 1), (rect.right - radius, -1)):
        _blend(canvas, top, x, _side_mark(height, radius, across, color))


def frame(canvas: Picture, rect: Rect, color: Color, thick: int = 1) -> None:
    """Draw a border `thick` pixels wide just outside a rectangle."""
    top, left, bottom, right = rect.top, rect.left, rect.bottom, rect.right
    wide = rect.width + 2 * thick
    fill(canvas, Rect(top - thick, left - thick, thick, wide), color)
    fill(canvas, Rect(bottom, left - thick, thick, wide), color)
    fill(canvas, Rect(top, left - thick, rect.height, thick), color)
    fill(canvas, Rect(top, right, rect.height, thick), color)


def write(
    canvas: Picture,
    line: str,
    top: int,
    left: int,
    size: int,
    color: Color = TEXT,
    width: int | None = None,
    align: Align = "left",
    bold: bool = False,
) -> int:
    """Write one line of text.

    Parameters
    ----------
    top, left
        Top left corner of the line's area.
    size
        Font size, pixels.
    width
        Width of the area; a longer line is cut. None extends it to the edge of the canvas.

    Returns
    -------
    int
        Width of the text, pixels.
    """
    room = canvas.shape[1] - left if width is None else width
    line = cut(line, size, room) if line else line
    if not line or room < 1:
        return 0
    taken = text_width(line, size)
    if width is not None and align != "left":
        left += (width - taken) // (2 if align == "center" else 1)
    _blend(canvas, top, left, _text_mark(line, size, bold, color))
    return taken


def write_middle(
    canvas: Picture,
    line: str,
    rect: Rect,
    size: int,
    color: Color,
    align: Align = "center",
    bold: bool = False,
) -> int:
    """Write one line, vertically centered in a rectangle."""
    # Letters sit slightly below the middle of the line's ink.
    top = rect.top + (rect.height - line_height(size)) // 2 + round(size * 0.02)
    return write(canvas, line, top, rect.left, size, color, rect.width, align, bold)


def fitted(height: int, width: int, rect: Rect) -> Rect:
    """The largest rectangle with aspect ratio height : width, centered in a rectangle."""
    factor = min(rect.height / max(height, 1), rect.width / max(width, 1))
    rows = min(rect.height, max(1, round(height * factor)))
    columns = min(rect.width, max(1, round(width * factor)))
    top, left = (rect.height - rows) // 2, (rect.width - columns) // 2
    return Rect(rect.top + top, rect.left + left, rows, columns)


def paste(canvas: Picture, picture: Picture, rect: Rect) -> Rect:
    """Fit a picture into a rectangle, centered; return the rectangle that it covers."""
    place = fitted(picture.shape[0], picture.shape[1], rect)
    put(canvas, resize_image(picture, place.height, place.width), place.top, place.left)
    return place


def put(canvas: Picture, picture: Picture, top: int, left: int) -> None:
    """Copy a picture to a position, clipped to the canvas."""
    part, its = _overlap(canvas, top, left, picture.shape[0], picture.shape[1])
    part[:] = picture[its]


def _paint(part: Picture, color: Color) -> None:
    if part.size:  # row by row: numpy is slow if the innermost axis is short
        part[0] = color
        part[1:] = part[0].copy()


def _premultiplied(alpha: NDArray[np.uint8], color: Color) -> Premultiplied:
    share = np.repeat(alpha[..., np.newaxis], 3, axis=2).astype(np.uint16)
    return Premultiplied(share * np.asarray(color, np.uint16) + 127, 255 - share)


@lru_cache(maxsize=1024)
def _text_mark(line: str, size: int, bold: bool, color: Color) -> Premultiplied:
    return _premultiplied(line_ink(line, size, bold), color)


@lru_cache(maxsize=256)
def _side_mark(height: int, radius: int, across: int, color: Color) -> Premultiplied:
    """The left (across 1) or right (-1) end of a rectangle with rounded corners."""
    ink = np.full((height, radius), 255, np.uint8)
    ink[:radius] = _corner(radius)
    ink[height - radius :] = _corner(radius)[::-1]
    return _premultiplied(ink[:, ::across], color)


def _blend(canvas: Picture, top: int, left: int, mark: Premultiplied) -> None:
    """Blend a mark over the canvas."""
    part, its = _overlap(canvas, top, left, *mark.color.shape[:2])
    mixed = part * mark.background[its]
    mixed += mark.color[its]
    mixed //= 255
    part[:] = mixed


def _overlap(
    canvas: Picture, top: int, left: int, height: int, width: int
) -> tuple[Picture, tuple[slice, slice]]:
    """Clip a rectangle to the canvas: that part of the canvas, and its slices of the rectangle."""
    first_y, first_x = max(top, 0), max(left, 0)
    last_y = max(first_y, min(top + height, canvas.shape[0]))
    last_x = max(first_x, min(left + width, canvas.shape[1]))
    its = (slice(first_y - top, last_y - top), slice(first_x - left, last_x - left))
    return canvas[first_y:last_y, first_x:last_x], its


def _corner(radius: int) -> NDArray[np.uint8]:
    """How much of each pixel a rounded top left corner covers, 0 to 255."""
    away = radius - np.arange(radius) - 0.5
    beyond = np.hypot(away[:, np.newaxis], away) - radius
    return np.rint(np.clip(0.5 - beyond, 0, 1) * 255).astype(np.uint8)


MOST_BYTES = 128 << 20  # a page of a large layer's optimized images, originals and thumbnails

# Keeps each original alive, so that no other picture can have its id.
_made: LruCache[tuple[int, int, int], tuple[Picture, Picture]] = LruCache(MOST_BYTES)


def thumb(picture: Picture, height: int, width: int) -> Picture:
    """A picture resized to fit into (height, width), cached.

    The cache is keyed by identity, so a picture that was passed here must not be written to.
    """
    key = id(picture), height, width
    found = _made.get(key)
    if found is None:
        place = fitted(picture.shape[0], picture.shape[1], Rect(0, 0, height, width))
        found = picture, resize_image(picture, place.height, place.width)
        _made.put(key, found, sum(one.nbytes for one in found))
    return found[1]

"""Marks on a picture: fills, rounded boxes, frames, text, pictures in a room. All write in place.

Whatever lies outside of the picture is left out, so that no room is too small to draw in.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.image import Picture, resize_image
from deepvis_caffe.text import cut, line_height, line_ink, text_width
from deepvis_caffe.viewer.cache import Recent
from deepvis_caffe.viewer.panes.colors import TEXT, Color

Align = Literal["left", "centre", "right"]


class Rect(NamedTuple):
    """A rectangle of pixels: its top left corner and its extent."""

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
        """The rectangle without a border of `by` pixels; never of less than one pixel."""
        return Rect(
            self.top + by, self.left + by, max(1, self.height - 2 * by), max(1, self.width - 2 * by)
        )


class Coat(NamedTuple):
    """Paint ready to be laid over a picture: both (h, w, 3) uint16.

    Attributes
    ----------
    paint
        Colour times ink, 0 to 255 * 255, and 127 so that a division by 255 rounds.
    kept
        How much of what is below stays, 255 is all.
    """

    paint: NDArray[np.uint16]
    kept: NDArray[np.uint16]


def blank(height: int, width: int, color: Color) -> Picture:
    """A picture of one colour."""
    made = np.empty((height, width, 3), np.uint8)
    _paint(made, color)
    return made


def fill(canvas: Picture, rect: Rect, color: Color, radius: int = 0) -> None:
    """Fill a rectangle, with rounded corners where `radius` is above 0."""
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
        _lay(canvas, top, x, _side_coat(height, radius, across, color))


def frame(canvas: Picture, rect: Rect, color: Color, thick: int = 1) -> None:
    """Draw the border of a rectangle, `thick` pixels, just outside of it."""
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
        Corner of the line's place.
    size
        Of the letters, pixels.
    width
        Of its place: a longer line is cut. None is what there is room for.

    Returns
    -------
    int
        The pixels it took.
    """
    room = canvas.shape[1] - left if width is None else width
    line = cut(line, size, room) if line else line
    if not line or room < 1:
        return 0
    taken = text_width(line, size)
    if width is not None and align != "left":
        left += (width - taken) // (2 if align == "centre" else 1)
    _lay(canvas, top, left, _line_coat(line, size, bold, color))
    return taken


def write_middle(
    canvas: Picture,
    line: str,
    rect: Rect,
    size: int,
    color: Color,
    align: Align = "centre",
    bold: bool = False,
) -> int:
    """Write one line in the middle of a rectangle's height."""
    # A line's letters stand a little below the middle of its ink.
    top = rect.top + (rect.height - line_height(size)) // 2 + round(size * 0.02)
    return write(canvas, line, top, rect.left, size, color, rect.width, align, bold)


def fitted(height: int, width: int, rect: Rect) -> Rect:
    """The largest rectangle of the shape height : width in the middle of a rectangle."""
    factor = min(rect.height / max(height, 1), rect.width / max(width, 1))
    rows = min(rect.height, max(1, round(height * factor)))
    columns = min(rect.width, max(1, round(width * factor)))
    top, left = (rect.height - rows) // 2, (rect.width - columns) // 2
    return Rect(rect.top + top, rect.left + left, rows, columns)


def paste(canvas: Picture, picture: Picture, rect: Rect) -> Rect:
    """Put a picture, as large as it goes, in the middle of a rectangle; where it came to lie."""
    place = fitted(picture.shape[0], picture.shape[1], rect)
    put(canvas, resize_image(picture, place.height, place.width), place.top, place.left)
    return place


def put(canvas: Picture, picture: Picture, top: int, left: int) -> None:
    """Copy a picture to a place, as far as it lies inside."""
    part, its = _overlap(canvas, top, left, picture.shape[0], picture.shape[1])
    part[:] = picture[its]


def _paint(part: Picture, color: Color) -> None:
    if part.size:  # a row at a time: numpy is slow where the innermost axis is short
        part[0] = color
        part[1:] = part[0].copy()


def _coat(ink: NDArray[np.uint8], color: Color) -> Coat:
    share = np.repeat(ink[..., np.newaxis], 3, axis=2).astype(np.uint16)
    return Coat(share * np.asarray(color, np.uint16) + 127, 255 - share)


@lru_cache(maxsize=1024)
def _line_coat(line: str, size: int, bold: bool, color: Color) -> Coat:
    return _coat(line_ink(line, size, bold), color)


@lru_cache(maxsize=256)
def _side_coat(height: int, radius: int, across: int, color: Color) -> Coat:
    """The left (across 1) or right (-1) end of a rectangle with rounded corners."""
    ink = np.full((height, radius), 255, np.uint8)
    ink[:radius] = _corner(radius)
    ink[height - radius :] = _corner(radius)[::-1]
    return _coat(ink[:, ::across], color)


def _lay(canvas: Picture, top: int, left: int, coat: Coat) -> None:
    """Blend paint over what is there."""
    part, its = _overlap(canvas, top, left, *coat.paint.shape[:2])
    mixed = part * coat.kept[its]
    mixed += coat.paint[its]
    mixed //= 255
    part[:] = mixed


def _overlap(
    canvas: Picture, top: int, left: int, height: int, width: int
) -> tuple[Picture, tuple[slice, slice]]:
    """The part of a canvas that a thing covers, and which part of the thing that is."""
    first_y, first_x = max(top, 0), max(left, 0)
    last_y = max(first_y, min(top + height, canvas.shape[0]))
    last_x = max(first_x, min(left + width, canvas.shape[1]))
    its = (slice(first_y - top, last_y - top), slice(first_x - left, last_x - left))
    return canvas[first_y:last_y, first_x:last_x], its


def _corner(radius: int) -> NDArray[np.uint8]:
    """How much of each pixel a rounded corner at the top left covers."""
    away = radius - np.arange(radius) - 0.5
    beyond = np.hypot(away[:, np.newaxis], away) - radius
    return np.rint(np.clip(0.5 - beyond, 0, 1) * 255).astype(np.uint8)


MOST_BYTES = 128 << 20  # a page of a large layer's optimised images, small and as they were

# With each the picture that it is of: while that lives, nobody else has its id.
_made: Recent[tuple[int, int, int], tuple[Picture, Picture]] = Recent(MOST_BYTES)


def thumb(picture: Picture, height: int, width: int) -> Picture:
    """A picture as large as fits into (height, width), from memory where it was made before.

    Pictures are told apart by identity: nobody may write into one that was given here.
    """
    key = id(picture), height, width
    found = _made.get(key)
    if found is None:
        place = fitted(picture.shape[0], picture.shape[1], Rect(0, 0, height, width))
        found = picture, resize_image(picture, place.height, place.width)
        _made.put(key, found, sum(one.nbytes for one in found))
    return found[1]

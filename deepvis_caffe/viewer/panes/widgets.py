"""Shared by panes: titled panels, font sizes, notes in empty areas, rows of chips."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width, wrapped
from deepvis_caffe.viewer.panes.colors import (
    ACCENT,
    FAINT,
    GROUND,
    LINE,
    PANEL,
    RAISED,
    SOFT,
    TEXT,
    Color,
)
from deepvis_caffe.viewer.panes.draw import Rect, blank, fill, write_middle

PAD = 8  # pixels between a panel's edge and its content
RADIUS = 6


def row_height(size: int) -> int:
    """Pixels from one line of text to the next."""
    return round(size * 1.5)


def letters(width: int) -> int:
    """Font size, pixels, for a pane in a side column `width` pixels wide."""
    return max(11, min(26, round(8.5 + width / 52)))


def wide_letters(width: int) -> int:
    """Font size, pixels, for the pane in the middle."""
    return letters(round(width / 2.9))


def title_height(size: int) -> int:
    """Height of a title at a font size."""
    return round(size * 1.9)


def inside(height: int, width: int, size: int) -> Rect:
    """The rectangle for a pane's content, below the title."""
    top = title_height(size)
    return Rect(top, PAD, max(1, height - top - PAD), max(1, width - 2 * PAD))


def panel(height: int, width: int) -> Picture:
    """An empty pane."""
    return _panel(height, width).copy()


@lru_cache(maxsize=32)
def _panel(height: int, width: int) -> Picture:
    made = blank(height, width, GROUND)
    fill(made, Rect(0, 0, height, width), PANEL, RADIUS)
    return made


def titled(
    height: int,
    width: int,
    size: int,
    title: str,
    more: str = "",
    right: str = "",
    color: Color = TEXT,
) -> tuple[Picture, Rect]:
    """An empty pane with its title, and the rectangle for its content.

    Parameters
    ----------
    title, more, right
        The title, text that follows it in a dimmer color, and text at the right end.
    """
    made = panel(height, width)
    line = Rect(0, PAD, title_height(size), max(1, width - 2 * PAD))
    taken = write_middle(made, title, line, size, color, "left", bold=True) + size // 2
    if more:
        rest = Rect(line.top, line.left + taken, line.height, max(1, line.width - taken))
        taken += write_middle(made, more, rest, size, SOFT, "left") + size
    # If space is short, the text at the right is dropped first.
    if right and text_width(right, size) <= line.width - taken:
        write_middle(made, right, line, size, FAINT, "right")
    return made, inside(height, width, size)


def with_words(room: Rect, lines: int, step: int) -> tuple[Rect, Rect]:
    """Split an area into a picture and lines of text: beside it if the area is wide, else below."""
    if room.width > 1.6 * room.height:
        left = room.left + room.height + PAD
        top = room.top + max(0, (room.height - lines * step) // 2)
        return room._replace(width=room.height), Rect(
            top, left, lines * step, max(1, room.right - left)
        )
    area = room._replace(height=max(1, room.height - lines * step - PAD))
    return area, Rect(area.bottom + PAD - 2, room.left, lines * step, room.width)


def first_fitting(lines: Sequence[str], size: int, width: int) -> str:
    """The first line that fits into a width without a cut; the last one if none does."""
    return next((line for line in lines if text_width(line, size) <= width), lines[-1])


def write_note(canvas: Picture, rect: Rect, line: str, size: int, color: Color = FAINT) -> None:
    """Write a note, wrapped and centered, that says why a rectangle is empty."""
    step = row_height(size)
    lines = wrapped(line, size, rect.width)
    last = max(1, rect.height // step) - 1
    lines[last:] = [" ".join(lines[last:])] if lines[last:] else []
    first = rect.top + max(0, (rect.height - step * len(lines)) // 2)
    for place, one in enumerate(lines):
        row = Rect(first + place * step, rect.left, step, rect.width)
        write_middle(canvas, one, row, size, color)


GAP = 4


class Chip(NamedTuple):
    """A button in a row of buttons: its caption, and its rectangle."""

    name: str
    rect: Rect


def chip_height(size: int) -> int:
    """Height of a chip."""
    return round(size * 1.55)


def flow(names: Sequence[str], size: int, top: int, left: int, width: int) -> list[Chip]:
    """Lay out chips in one row, narrowed if necessary, or in several rows if that is not enough."""
    for padding in (size, round(size * 0.75), round(size * 0.5)):
        chips = _flow(names, size, top, left, width, padding)
        if chips[-1].rect.top == top:
            return chips
    return _flow(names, size, top, left, width, round(size * 0.75))


def _flow(
    names: Sequence[str], size: int, top: int, left: int, width: int, padding: int
) -> list[Chip]:
    chips: list[Chip] = []
    x, y, high = left, top, chip_height(size)
    for name in names:
        wide = min(width, text_width(name, size) + padding)
        if x > left and x + wide > left + width:
            x, y = left, y + high + GAP
        chips.append(Chip(name, Rect(y, x, high, wide)))
        x += wide + GAP
    return chips


def draw_chip(canvas: Picture, chip: Chip, size: int, on: bool, accent: Color = ACCENT) -> None:
    """Draw a chip, on or off."""
    fill(canvas, chip.rect, accent if on else RAISED, chip.rect.height // 4)
    ink = SOFT if not on else TEXT if accent == LINE else GROUND
    write_middle(canvas, chip.name, chip.rect, size, ink, bold=on)

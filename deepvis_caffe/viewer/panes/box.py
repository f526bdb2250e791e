"""What panes have in common: a panel with a line of title, and the size of its letters."""

from __future__ import annotations

from functools import lru_cache

from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width, wrapped
from deepvis_caffe.viewer.panes.colors import FAINT, GROUND, PANEL, SOFT, TEXT, Color
from deepvis_caffe.viewer.panes.draw import Rect, blank, fill, write_middle

PAD = 8  # pixels between a panel's edge and what is in it
RADIUS = 6


def letters(width: int) -> int:
    """Size of the letters, pixels, in a pane of a side column that is `width` pixels wide."""
    return max(11, min(26, round(8.5 + width / 52)))


def wide_letters(width: int) -> int:
    """Likewise, in the pane in the middle."""
    return letters(round(width / 2.9))


def title_height(size: int) -> int:
    """Rows of a title whose letters are of a size."""
    return round(size * 1.9)


def inside(height: int, width: int, size: int) -> Rect:
    """What is left of a pane for its content, below the title."""
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
        What it is, what to add in soft letters behind it, and at the right end.
    """
    made = panel(height, width)
    line = Rect(0, PAD, title_height(size), max(1, width - 2 * PAD))
    taken = write_middle(made, title, line, size, color, "left", bold=True) + size // 2
    if more:
        rest = Rect(line.top, line.left + taken, line.height, max(1, line.width - taken))
        taken += write_middle(made, more, rest, size, SOFT, "left") + size
    # What stands at the right is the first to go.
    if right and text_width(right, size) <= line.width - taken:
        write_middle(made, right, line, size, FAINT, "right")
    return made, inside(height, width, size)


def say(canvas: Picture, rect: Rect, line: str, size: int, color: Color = FAINT) -> None:
    """Say in the middle of a rectangle, in lines as it has room for, why nothing is in it."""
    step = round(size * 1.5)
    lines = wrapped(line, size, rect.width)
    last = max(1, rect.height // step) - 1
    lines[last:] = [" ".join(lines[last:])] if lines[last:] else []
    first = rect.top + max(0, (rect.height - step * len(lines)) // 2)
    for place, one in enumerate(lines):
        row = Rect(first + place * step, rect.left, step, rect.width)
        write_middle(canvas, one, row, size, color)

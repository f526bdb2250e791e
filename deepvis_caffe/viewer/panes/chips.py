"""Rows of chips: ``(names, size, width) -> (Rect, ...)``, and how one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width
from deepvis_caffe.viewer.panes.colors import ACCENT, GROUND, LINE, RAISED, SOFT, TEXT, Color
from deepvis_caffe.viewer.panes.draw import Rect, fill, write_middle

GAP = 4


class Chip(NamedTuple):
    """One of a row: what it says, and what a click on it sets."""

    name: str
    rect: Rect


def chip_height(size: int) -> int:
    """Rows of a chip."""
    return round(size * 1.55)


def flow(names: Sequence[str], size: int, top: int, left: int, width: int) -> list[Chip]:
    """Lay chips side by side in a width: in one row if narrower chips do, else in several."""
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
    """Draw one, plain to see whether it is on."""
    fill(canvas, chip.rect, accent if on else RAISED, chip.rect.height // 4)
    ink = SOFT if not on else TEXT if accent == LINE else GROUND
    write_middle(canvas, chip.name, chip.rect, size, ink, bold=on)

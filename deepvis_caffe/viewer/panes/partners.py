"""The units that the selected one goes with, and against: what each likes, its number, label, r."""

from __future__ import annotations

from typing import NamedTuple

from deepvis_caffe.dataset.correlation import Correlation
from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width
from deepvis_caffe.viewer.panes.colors import EMPTY, FAINT, NEGATIVE, POSITIVE, SOFT, TEXT
from deepvis_caffe.viewer.panes.draw import Rect, fill, put, write_middle
from deepvis_caffe.viewer.panes.pane import Hit
from deepvis_caffe.viewer.panes.thumbs import thumb
from deepvis_caffe.viewer.panes.words import short_label
from deepvis_caffe.viewer.view import Partner, View

GAP = 6
SHAPE = 3  # a strip of three images, so many times as wide as high
LEAST, ENOUGH = 36, 3  # pixels of a strip's height; partners that are worth smaller strips


class Card(NamedTuple):
    """One partner: its strip, and the line of words below that."""

    partner: Partner
    strip: Rect
    line: Rect


def draw(view: View, canvas: Picture, room: Rect, size: int) -> None:
    """Draw both groups."""
    for with_it, group in zip((True, False), _groups(room), strict=True):
        cards = _cards(view, group, size, with_it)
        head = group._replace(height=_line(size))
        words = ("goes with" if with_it else "goes against") if cards else _none(with_it)
        write_middle(canvas, words, head, size - 1, SOFT if cards else FAINT, "left")
        for card in cards:
            _draw_card(canvas, view, card, size)


def hit(view: View, room: Rect, size: int, y: int, x: int) -> Hit | None:
    """The partner at a pixel."""
    found = view.relation.correlation
    for with_it, group in zip((True, False), _groups(room), strict=True):
        for card in _cards(view, group, size, with_it):
            if card.strip.has(y, x) or card.line.has(y, x):
                unit = card.partner.unit
                words = tip(view, found, view.state.unit, unit) if found else ""
                return Hit("unit", unit, tip=words)
    return None


def tip(view: View, found: Correlation, one: int, other: int) -> str:
    """What to say of a pair: both units, their labels, and r."""
    scene, entry = view.scene, view.scene.entries[view.state.layer]
    names = [f"{unit} {short_label(scene, entry, unit)}".rstrip() for unit in (one, other)]
    still = [name for name, unit in zip(names, (one, other), strict=True) if found.still[unit]]
    if one == other:
        return names[0] + (" never changes" if still else "")
    if still:
        never = f"{still[0]} never changes" if len(still) == 1 else "neither changes"
        return f"{names[0]} and {names[1]}   {never}"
    return f"{names[0]} and {names[1]}   r {signed(float(found.values[one, other]))}"


def signed(value: float) -> str:
    """Pearson's r in words: two digits, its sign always."""
    text = f"{abs(value):.2f}"
    return text if not float(text) else ("−" if value < 0 else "+") + text


def _groups(room: Rect) -> tuple[Rect, Rect]:
    """One below the other in a column, side by side in a row."""
    if room.height >= room.width:
        half = (room.height - GAP) // 2
        return room._replace(height=half), room._replace(
            top=room.top + half + GAP, height=room.height - half - GAP
        )
    half = (room.width - 2 * GAP) // 2
    return room._replace(width=half), room._replace(left=room.right - half, width=half)


def _cards(view: View, group: Rect, size: int, with_it: bool) -> list[Card]:
    """As many cards as have room, in rows; strips as large as leaves room for three."""
    some = [one for one in view.relation.partners if (one.value > 0) == with_it]
    head, line = _line(size), _line(size)
    area = Rect(group.top + head, group.left, group.height - head, group.width)
    if not view.relation.pictured:
        fits = max(0, area.height // line)
        return [
            Card(
                one,
                Rect(area.top, area.left, 0, 0),
                area._replace(top=area.top + k * line, height=line),
            )
            for k, one in enumerate(some[:fits])
        ]
    columns, wide, high = _grid(area, line)
    rows = (area.height + GAP) // (high + line + GAP)
    cards = []
    for place, one in enumerate(some[: rows * columns]):
        row, column = divmod(place, columns)
        strip = Rect(
            area.top + row * (high + line + GAP), area.left + column * (wide + GAP), high, wide
        )
        cards.append(Card(one, strip, Rect(strip.bottom, strip.left, line, wide)))
    return cards


def _grid(area: Rect, line: int) -> tuple[int, int, int]:
    """Columns, and width and height of a strip."""
    best = (1, area.width, max(1, area.width // SHAPE))
    for columns in range(1, 7):
        wide = (area.width - GAP * (columns - 1)) // columns
        high = wide // SHAPE
        if high < LEAST:
            break
        best = (columns, wide, high)
        if columns * ((area.height + GAP) // (high + line + GAP)) >= ENOUGH:
            break
    return best


def _draw_card(canvas: Picture, view: View, card: Card, size: int) -> None:
    strip, partner = card.strip, card.partner
    if strip.height:
        if partner.picture is None:
            fill(canvas, strip, EMPTY)
        else:
            put(canvas, thumb(partner.picture, strip.height, strip.width), strip.top, strip.left)
    value, small = signed(partner.value), size - 1
    color = POSITIVE if partner.value > 0 else NEGATIVE
    write_middle(canvas, value, card.line, small, color, "right")
    entry = view.scene.entries[view.state.layer]
    name = f"{partner.unit} {short_label(view.scene, entry, partner.unit)}".rstrip()
    room = card.line._replace(width=max(1, card.line.width - text_width(value, small) - 6))
    write_middle(canvas, name, room, small, TEXT, "left")


def _none(with_it: bool) -> str:
    return "goes with none" if with_it else "goes against none"


def _line(size: int) -> int:
    return round(size * 1.5)

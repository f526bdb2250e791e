"""The selected unit's partners: the units with the highest and lowest r, with their pictures."""

from __future__ import annotations

from typing import NamedTuple

from deepvis_caffe.dataset.correlation import Correlation
from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width
from deepvis_caffe.viewer.panes.colors import EMPTY, FAINT, NEGATIVE, POSITIVE, SOFT, TEXT
from deepvis_caffe.viewer.panes.draw import Rect, fill, put, thumb, write_middle
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import row_height
from deepvis_caffe.viewer.panes.words import short_label
from deepvis_caffe.viewer.state.mouse import Hit
from deepvis_caffe.viewer.state.units import Partner

GAP = 6  # pixels between strips
SHAPE = 3  # width divided by height of a strip of three images
LEAST = 36  # pixels; the least height of a strip
ENOUGH = 3  # partners of either sign; strips are made smaller until this many fit


class Card(NamedTuple):
    """One partner: its strip, and the line of text below it."""

    partner: Partner
    strip: Rect
    line: Rect


def draw_partners(view: View, canvas: Picture, room: Rect, size: int) -> None:
    """Draw both groups of partners: correlated and anticorrelated."""
    for with_it, group in zip((True, False), _groups(room), strict=True):
        cards = _cards(view, group, size, with_it)
        head = group._replace(height=row_height(size))
        words = _heading(with_it, bool(cards))
        write_middle(canvas, words, head, size - 1, SOFT if cards else FAINT, "left")
        for card in cards:
            _draw_card(canvas, view, card, size)


def hit_partners(view: View, room: Rect, size: int, y: int, x: int) -> Hit | None:
    """The partner at a pixel."""
    found = view.relation.correlation
    for with_it, group in zip((True, False), _groups(room), strict=True):
        for card in _cards(view, group, size, with_it):
            if card.strip.has(y, x) or card.line.has(y, x):
                unit = card.partner.unit
                words = partner_tip(view, found, view.state.unit, unit) if found else ""
                return Hit("unit", unit, tip=words)
    return None


def partner_tip(view: View, found: Correlation, one: int, other: int) -> str:
    """The tooltip of a pair: both units, their labels, and r."""
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
    """Format Pearson's r: two decimals, and a sign unless it rounds to 0."""
    text = f"{abs(value):.2f}"
    return text if not float(text) else ("−" if value < 0 else "+") + text


def _groups(room: Rect) -> tuple[Rect, Rect]:
    """The rectangles of both groups: stacked in a tall area, side by side in a wide one."""
    if room.height >= room.width:
        half = (room.height - GAP) // 2
        return room._replace(height=half), room._replace(
            top=room.top + half + GAP, height=room.height - half - GAP
        )
    half = (room.width - 2 * GAP) // 2
    return room._replace(width=half), room._replace(left=room.right - half, width=half)


def _cards(view: View, group: Rect, size: int, with_it: bool) -> list[Card]:
    """As many cards as fit, in rows; strips as large as possible with room for `ENOUGH`."""
    some = [one for one in view.relation.partners if (one.value > 0) == with_it]
    line = row_height(size)
    area = Rect(group.top + line, group.left, group.height - line, group.width)
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
            area.top + row * (high + line + GAP),
            area.left + column * (wide + GAP),
            high,
            wide,
        )
        cards.append(Card(one, strip, Rect(strip.bottom, strip.left, line, wide)))
    return cards


def _grid(area: Rect, line: int) -> tuple[int, int, int]:
    """The number of columns, and width and height of a strip."""
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


def _heading(with_it: bool, some: bool) -> str:
    return f"{'most' if some else 'none'} {'correlated' if with_it else 'anticorrelated'}"

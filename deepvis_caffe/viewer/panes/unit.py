"""The selected unit's pictures: what it likes best, made and found."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width
from deepvis_caffe.viewer.panes.box import inside, letters, say, titled
from deepvis_caffe.viewer.panes.colors import ACCENT, RAISED, SOFT
from deepvis_caffe.viewer.panes.draw import Rect, fill, fitted, paste, put, write_middle
from deepvis_caffe.viewer.panes.pane import Hit, Pane
from deepvis_caffe.viewer.panes.spread import draw_spread, spread_height, spread_tip
from deepvis_caffe.viewer.panes.thumbs import thumb
from deepvis_caffe.viewer.panes.words import number, short_label
from deepvis_caffe.viewer.view import UnitPictures, View

GAP = 3
SHORT = {"top": "strongest images", "deconv": "their deconv"}  # where there is little room


class Section(NamedTuple):
    """A part of the pane: optimised images, top images, or their deconv."""

    title: str
    name: str
    rect: Rect


def reads(view: View) -> Hashable:
    """The pictures, and whose they are."""
    return view.scene, view.state.layer, view.state.unit, view.unit


def draw(view: View, height: int, width: int) -> Picture:
    """Draw what there is of the unit's pictures, or why there is none."""
    size, unit = letters(width), view.unit
    entry = view.scene.entries[view.state.layer]
    label = short_label(view.scene, entry, view.state.unit)
    more = f"{entry.name} {view.state.unit} {label}".rstrip()
    canvas, whole = titled(height, width, size, "what excites it", more)
    room, foot = _rooms(unit, whole, size)
    if unit.statistics is not None and foot.height:
        draw_spread(canvas, unit.statistics, foot, size)
    sections = _sections(unit, room, size)
    for section in sections:
        head = round(size * 1.6)
        line = section.rect._replace(height=head)
        fits = text_width(section.title, size - 1) <= line.width
        title = section.title if fits else SHORT.get(section.name, section.title)
        write_middle(canvas, title, line, size - 1, SOFT, "left")
        area = _area(section, size)
        if section.name == "made":
            _draw_made(canvas, unit, area)
        else:
            picture = unit.top if section.name == "top" else unit.deconv
            assert picture is not None
            paste(canvas, picture, _placed(picture.shape[0], picture.shape[1], area))
    if not sections:
        say(canvas, room, unit.note or "no pictures of this unit yet", size)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """Which of the top images, or which section."""
    size, unit = letters(width), view.unit
    room, foot = _rooms(unit, inside(height, width, size), size)
    if unit.statistics is not None and foot.has(y, x):
        tip = spread_tip(unit.statistics, foot, size, y, x)
        return Hit("nothing", tip=tip) if tip else None
    for section in _sections(unit, room, size):
        if section.name == "made" or not section.rect.has(y, x):
            continue
        picture = unit.top if section.name == "top" else unit.deconv
        assert picture is not None
        place = _placed(picture.shape[0], picture.shape[1], _area(section, size))
        if place.has(y, x):
            return _top_hit(unit, picture, place, y, x)
    return None


PANE = Pane("unit", reads, draw, hit)


def _top_hit(unit: UnitPictures, picture: Picture, place: Rect, y: int, x: int) -> Hit | None:
    """One of the images of a montage; where there is a record, cells without an image are none."""
    columns = unit.columns
    # Cells of a montage are square only where the unit sees a square.
    rows = columns if unit.found else max(1, round(columns * picture.shape[0] / picture.shape[1]))
    row = (y - place.top) * rows // place.height
    index = row * columns + (x - place.left) * columns // place.width
    if not unit.found:
        return Hit("top", index, tip=f"top image {index + 1}")
    if index >= len(unit.found):
        return None
    image = unit.found[index]
    words = [f"{index + 1}: {image.name}", (image.class_name or "").split(",")[0]]
    return Hit("top", index, tip="   ".join([*filter(None, words), number(image.value)]))


def _rooms(unit: UnitPictures, room: Rect, size: int) -> tuple[Rect, Rect]:
    """The room for pictures, and the one for statistics below it."""
    low = spread_height(unit.statistics, room, size)
    return (
        room._replace(height=room.height - low),
        room._replace(top=room.bottom - low, height=low),
    )


def _sections(unit: UnitPictures, room: Rect, size: int) -> list[Section]:
    """Share the room among what there is: stacked or side by side, whichever shows it larger."""
    named: list[tuple[str, str]] = []
    if unit.optimized or unit.working is not None:
        # Steps and their progress belong to the image in the making, not to those that are done.
        step = (
            f"sharpening {unit.progress:.0%}"
            if unit.working is not None
            else unit.note or "optimised"
        )
        named.append((step, "made"))
    if unit.top is not None:
        named.append(("the images that excite it most", "top"))
    if unit.deconv is not None:
        named.append(("what in them does (deconv)", "deconv"))
    count = len(named)
    if not count:
        return []
    head = round(size * 1.6)
    stacked = min(room.width, (room.height - GAP * (count - 1)) // count - head)
    beside = min((room.width - 8 * (count - 1)) // count, room.height - head)
    sections = []
    for place, (title, name) in enumerate(named):
        if stacked >= beside:
            high = min(room.height // count, room.width + head + 4)
            rect = Rect(room.top + place * high, room.left, high, room.width)
        else:
            wide = room.width // count
            rect = Rect(room.top, room.left + place * wide, room.height, wide - 8 * (count > 1))
        sections.append(Section(title, name, rect))
    return sections


def _area(section: Section, size: int) -> Rect:
    head = round(size * 1.6)
    rect = section.rect
    return Rect(rect.top + head, rect.left, max(1, rect.height - head - GAP), rect.width)


def _placed(height: int, width: int, area: Rect) -> Rect:
    """Below its heading, at the left."""
    return fitted(height, width, area)._replace(top=area.top)


def _draw_made(canvas: Picture, unit: UnitPictures, area: Rect) -> None:
    """Optimised images in a square of squares, the one in the making behind them."""
    pictures: Sequence[Picture] = [*unit.optimized[:9]]
    if unit.working is not None:
        pictures = [*unit.optimized[:8], unit.working]
    side = math.isqrt(len(pictures) - 1) + 1
    rows = math.ceil(len(pictures) / side)
    cell = min((area.width - (side - 1) * GAP) // side, (area.height - (rows - 1) * GAP) // rows)
    cell = max(1, cell)
    left = area.left + (area.width - side * cell - (side - 1) * GAP) // 2
    for place, picture in enumerate(pictures):
        row, column = divmod(place, side)
        rect = Rect(area.top + row * (cell + GAP), left + column * (cell + GAP), cell, cell)
        if picture is unit.working:
            paste(canvas, picture, rect)
            bar = Rect(rect.bottom - 4, rect.left, 4, rect.width)
            fill(canvas, bar, RAISED)
            fill(canvas, bar._replace(width=round(rect.width * min(1, unit.progress))), ACCENT)
        else:
            small = thumb(picture, cell, cell)
            dy, dx = (cell - small.shape[0]) // 2, (cell - small.shape[1]) // 2
            put(canvas, small, rect.top + dy, rect.left + dx)

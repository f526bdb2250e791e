"""The list of layers: one chip each, in net order, wrapped into rows."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width
from deepvis_caffe.viewer.cache import ByIdentity
from deepvis_caffe.viewer.panes.colors import (
    ACCENT,
    ACCENT_DIM,
    FAINT,
    GROUND,
    LINE,
    PANEL,
    RAISED,
    SOFT,
    SOURCE,
    TEXT,
)
from deepvis_caffe.viewer.panes.draw import Rect, fill, frame, write_middle
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import GAP, PAD, chip_height, letters, panel, row_height
from deepvis_caffe.viewer.panes.words import extent
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.state.mouse import Hit
from deepvis_caffe.viewer.state.state import Scene


class Place(NamedTuple):
    """A layer's chip, or (layer None) the name of the module that the next chips belong to.

    For a layer that cannot be shown, `layer` is None, too, and `why` is the reason.
    """

    layer: int | None
    name: str
    row: int
    left: int
    width: int
    why: str = ""


_flows: ByIdentity[tuple[Place, ...]] = ByIdentity(64)


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the visible rows."""
    state, size = view.state, layer_letters(width)
    canvas = panel(height, width)
    source = state.source[0] if state.source and state.back != "off" else None
    for place, rect in _visible(view, height, width):
        if place.layer is None:
            write_middle(canvas, place.name, rect, size, FAINT, "center" if place.why else "left")
            if place.why:
                frame(canvas, rect, LINE)
            continue
        ground, ink = RAISED, TEXT
        if place.layer == state.layer:
            strong = state.cursor == "layers"
            ground, ink = (ACCENT, GROUND) if strong else (ACCENT_DIM, ACCENT)
        fill(canvas, rect, ground, max(3, size // 3))
        line = rect
        if _is_large(view.scene, height, width):
            line = rect._replace(top=rect.top + size // 6, height=row_height(size))
            entry = view.scene.entries[place.layer]
            under = Rect(line.bottom - 2, rect.left, rect.bottom - line.bottom - 2, rect.width)
            selected = place.layer == state.layer
            write_middle(canvas, _shape(entry), under, size - 2, ink if selected else SOFT)
        write_middle(canvas, place.name, line, size, ink, bold=place.layer == state.layer)
        if place.layer == source:
            under = Rect(rect.bottom - 3, rect.left + 3, 3, max(1, rect.width - 6))
            fill(canvas, under, SOURCE, 1)
    _draw_scroll(canvas, view, height, width)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The layer under a pixel."""
    for place, rect in _visible(view, height, width):
        if place.layer is not None and rect.has(y, x):
            entry = view.scene.entries[place.layer]
            tip = f"{entry.name}   {entry.type}   {extent(entry)}"
            return Hit("layer", place.layer, tip=tip)
        if place.why and rect.has(y, x):
            return Hit("nothing", tip=f"{place.name}   {place.why}")
    return None


PANE = Pane("layers", draw, hit)


def layer_letters(width: int) -> int:
    """Font size, pixels, for a list as wide as the window."""
    return letters(round(width / 5))


def layers_height(rows: int, width: int) -> int:
    """Height of a list with `rows` rows, pixels."""
    return rows * (chip_height(layer_letters(width)) + GAP) - GAP + 2 * PAD


def first_row(view: View, height: int, width: int) -> int:
    """The first visible row of chips, from 0."""
    places = [place for place, _ in _visible(view, height, width)]
    return places[0].row


def _visible(view: View, height: int, width: int) -> list[tuple[Place, Rect]]:
    size = layer_letters(width)
    large = _is_large(view.scene, height, width)
    places = _flow(view.scene, width - 2 * PAD, size, large)
    high = _chip_height(size, large)
    rows, fit = 1 + places[-1].row, max(1, (height - 2 * PAD + GAP) // (high + GAP))
    first = _first_row(view, places, rows, fit)
    used = min(rows, fit) * (high + GAP) - GAP
    top = max(PAD, (height - used) // 2)
    return [
        (place, Rect(top + (place.row - first) * (high + GAP), PAD + place.left, high, place.width))
        for place in places
        if first <= place.row < first + fit
    ]


def _first_row(view: View, places: tuple[Place, ...], rows: int, fit: int) -> int:
    """The first visible row: the scroll position, or such that the selection is in the middle."""
    wanted = view.state.scroll
    if wanted is None:
        own = next(place.row for place in places if place.layer == view.state.layer)
        wanted = own - fit // 2
    return max(0, min(wanted, rows - fit))


def _draw_scroll(canvas: Picture, view: View, height: int, width: int) -> None:
    """Draw a scroll bar at the right end, unless all rows are visible."""
    size = layer_letters(width)
    places = _flow(view.scene, width - 2 * PAD, size, False)
    rows = 1 + places[-1].row
    fit = max(1, (height - 2 * PAD + GAP) // (_chip_height(size, False) + GAP))
    if rows <= fit or _is_large(view.scene, height, width):
        return
    track = Rect(PAD, width - 5, max(1, height - 2 * PAD), 3)
    first = _first_row(view, places, rows, fit)
    fill(canvas, track, PANEL)
    long = max(6, track.height * fit // rows)
    fill(canvas, track._replace(top=track.top + track.height * first // rows, height=long), LINE, 1)


def _is_large(scene: Scene, height: int, width: int) -> bool:
    """Whether there is room for chips that show the layer's shape, too."""
    size = layer_letters(width)
    rows = 1 + _flow(scene, width - 2 * PAD, size, True)[-1].row
    return rows * (_chip_height(size, True) + GAP) - GAP + 2 * PAD <= height


def _chip_height(size: int, large: bool) -> int:
    return round(size * 2.9) if large else chip_height(size)


def _flow(scene: Scene, width: int, size: int, large: bool) -> tuple[Place, ...]:
    """Lay out the chips; cached."""
    return _flows.get(scene, (width, size, large), lambda: _flowed(scene, width, size, large))


class _Item(NamedTuple):
    """The content of a chip: an entry, or (layer None) a layer that cannot be shown, and why."""

    layer: int | None
    name: str
    shape: str
    why: str = ""


def _items(scene: Scene) -> list[_Item]:
    """All chips, in net order."""
    shown = scene.layer_names
    items = [
        _Item(index, shown.get(one.name, one.name), _shape(one))
        for index, one in enumerate(scene.entries)
    ]
    for one in reversed(scene.opaque):
        why = f"({one.type}) {one.short}: {one.why}"
        items.insert(one.before, _Item(None, one.name, one.short, why))
    return items


def _flowed(scene: Scene, width: int, size: int, large: bool) -> tuple[Place, ...]:
    """Lay out the chips. A module is named once per row, before its layers."""
    places: list[Place] = []
    row, left = 0, 0
    for module, group in groupby(_items(scene), key=lambda item: _module(item.name)):
        members = list(group)
        shared = bool(module) and len(members) > 1
        for number, item in enumerate(members):
            name = item.name[len(module) + 1 :] if shared else item.name
            wide = text_width(name, size) + size
            if large:
                wide = max(wide, text_width(item.shape, size - 2) + size)
            wide = min(width, wide)
            head = text_width(module, size) + GAP if shared else 0
            before = head if number == 0 else 0
            if left and left + before + wide > width:
                row, left = row + 1, 0
                before = head  # repeated if a module continues in the next row
            if before and head + wide <= width:
                gap = 2 * GAP if left else 0
                places.append(Place(None, module, row, left + gap, head))
                left += gap + head + GAP
            room = min(wide, max(1, width - left))
            places.append(Place(item.layer, name, row, left, room, item.why))
            left += wide + GAP
        left += GAP * shared
    return tuple(places)


def _module(name: str) -> str:
    return name.rpartition("/")[0]


def _shape(entry: Entry) -> str:
    if entry.is_vector:
        return str(entry.units)
    height, width = entry.map_size
    return f"{entry.units} × {width} × {height}"

"""The input: the picture as the net saw it, and a detector's boxes."""

from __future__ import annotations

from deepvis_caffe.engines.detections import Box
from deepvis_caffe.image import Picture
from deepvis_caffe.image_channels import as_rgb
from deepvis_caffe.text import text_width
from deepvis_caffe.viewer.panes.colors import BOXES, GROUND, WELL, Color
from deepvis_caffe.viewer.panes.draw import Rect, fill, fitted, frame, paste, write_middle
from deepvis_caffe.viewer.panes.maps import overlaid_input
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import inside, letters, titled, write_note
from deepvis_caffe.viewer.panes.words import pending
from deepvis_caffe.viewer.state.mouse import WHOLE, Hit, HitKind


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the net's input and its name."""
    size = letters(width)
    shown = view.result.frame if view.result else view.frame
    right = "frozen" * view.state.frozen
    if view.state.overlay:
        unit = view.state.unit
        has_map = not view.scene.entries[view.state.layer].is_vector
        right = f"under unit {unit}" if has_map else f"unit {unit} has no map"
    canvas, room = titled(height, width, size, "input", shown.name if shown else "", right)
    draw_input(view, canvas, room, size)
    return canvas


def draw_input(view: View, canvas: Picture, room: Rect, size: int) -> None:
    """Fill a rectangle with the net's input, an overlay if one is set, and boxes."""
    shown = view.result.frame if view.result else view.frame
    picture = as_rgb(shown.picture) if shown else None
    if view.result is not None:
        over = overlaid_input(view) if view.state.overlay else None
        picture = view.result.picture if over is None else over
    if picture is None:
        fill(canvas, room, WELL)
        write_note(canvas, room, pending(view, "picture"), size)
        return
    place = paste(canvas, picture, room)
    if view.result is not None and view.state.boxes:
        part = canvas[place.top : place.bottom, place.left : place.right]
        _draw_boxes(part, view.result.boxes, size)


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The box at a pixel, the smallest if there are several; else the frame's full name."""
    shown = view.result.frame if view.result else view.frame
    if shown is None:
        return None
    picture = view.result.picture if view.result else shown.picture
    room = inside(height, width, letters(width))
    place = fitted(picture.shape[0], picture.shape[1], room)
    kind: HitKind = "picture" if place.has(y, x) else "nothing"
    if view.result is not None and view.state.boxes:
        there = [
            (rect.height * rect.width, _caption(box, name))
            for box, name in view.result.boxes
            if (rect := _outline(box, place.height, place.width)).has(y - place.top, x - place.left)
        ]
        if there:
            return Hit(kind, WHOLE, "input", min(there)[1])
    return Hit(kind, WHOLE, "input", shown.name)


PANE = Pane("input", draw, hit)


def _draw_boxes(picture: Picture, boxes: tuple[tuple[Box, str], ...], size: int) -> None:
    """Draw boxes, the best on top, each with its name and score at its top edge."""
    height, width = picture.shape[:2]
    thick = max(2, size // 6)
    for box, _ in boxes:
        rect = _outline(box, height, width)
        frame(picture, rect.inset(thick), color_of(box.label), thick)
    for box, name in boxes:
        rect, caption, small = _outline(box, height, width), _caption(box, name), size - 1
        high, wide = round(small * 1.35), min(text_width(caption, small) + small // 2, width)
        # Above the box, or inside it if there is no room above.
        top = rect.top - high if rect.top >= high else rect.top
        plate = Rect(top, max(0, min(rect.left, width - wide)), high, wide)
        fill(picture, plate, color_of(box.label))
        write_middle(picture, caption, plate, small, GROUND)


def color_of(label: int) -> Color:
    """The color of a class's boxes."""
    return BOXES[label % len(BOXES)]


def _caption(box: Box, name: str) -> str:
    return f"{name} {box.score:.2f}"


def _outline(box: Box, height: int, width: int) -> Rect:
    """A box in pixels of a picture of that size, borders included; at least one pixel."""
    top, left = round(box.top * height), round(box.left * width)
    bottom, right = round(box.bottom * height), round(box.right * width)
    return Rect(top, left, max(1, bottom - top), max(1, right - left))

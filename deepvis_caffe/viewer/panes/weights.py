"""Weights: those of all units of the selected layer, and of one unit with its statistics."""

from __future__ import annotations

from deepvis_caffe.figures.weights import LayerWeights
from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.panes import words
from deepvis_caffe.viewer.panes.colors import SOFT
from deepvis_caffe.viewer.panes.draw import Rect, paste, write_middle
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import row_height, write_note
from deepvis_caffe.viewer.panes.words import number


def title(view: View) -> tuple[str, str, str]:
    """The grid's title: the layer, and the shape of a kernel."""
    name, found = view.scene.entries[view.state.layer].name, view.weights
    more = f"weights, {_shape(found.layer)}" if found and found.layer else "weights"
    return name, more, ""


def draw_unit(view: View, canvas: Picture, room: Rect, size: int) -> None:
    """Draw the selected unit's weights, and below them their range, mean and spread."""
    found = view.weights.layer if view.weights is not None else None
    if found is None or view.state.unit >= len(found.values):
        write_note(canvas, room, pending(view), size)
        return
    line = row_height(size)
    area = room._replace(height=max(1, room.height - 3 * line))
    place = paste(canvas, found.picture(view.state.unit), area)
    known = found.statistics(view.state.unit)
    rows = (
        (_shape(found), ""),
        (f"{number(known.low)} to {number(known.high)}", ""),
        (f"mean {number(known.mean)}", f"deviation {number(known.std)}"),
    )
    for place_of_row, (left, right) in enumerate(rows):
        row = Rect(place.bottom + 4 + place_of_row * line, room.left, line, room.width)
        write_middle(canvas, left, row, size - 1, SOFT, "left")
        write_middle(canvas, right, row, size - 1, SOFT, "right")


def pending(view: View) -> str:
    """Why the layer has no weights, or that they are being drawn."""
    why = view.weights.why_not if view.weights is not None else ""
    return why or words.pending(view, "weights")


def _shape(layer: LayerWeights) -> str:
    _, channels, *window = layer.values.shape
    size = " × ".join(map(str, window))
    return f"{channels} channel{'s' * (channels != 1)}" + (f" of {size}" if size else "")

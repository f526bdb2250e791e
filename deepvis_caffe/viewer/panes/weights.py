"""The weights of the selected layer's units, and of one unit with their statistics."""

from __future__ import annotations

from deepvis_caffe.figures.weights import LayerWeights
from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.panes import words
from deepvis_caffe.viewer.panes.colors import SOFT
from deepvis_caffe.viewer.panes.draw import Rect, paste, write_middle
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import row_height, with_words, write_note
from deepvis_caffe.viewer.panes.words import number


def title(view: View) -> tuple[str, str, str]:
    """The grid's title: the layer, and the shape of a kernel."""
    name, found = view.scene.entries[view.state.layer].name, view.weights
    more = f"weights, {_shape(found.layer)}" if found and found.layer else "weights"
    return name, more, ""


def draw_unit(view: View, canvas: Picture, room: Rect, size: int) -> None:
    """Draw the selected unit's weights with their range, mean and standard deviation."""
    found = view.weights.layer if view.weights is not None else None
    if found is None or view.state.unit >= len(found.values):
        write_note(canvas, room, pending(view), size)
        return
    line = row_height(size)
    known = found.statistics(view.state.unit)
    lines = (
        _shape(found),
        f"{number(known.low)} to {number(known.high)}",
        f"mean {number(known.mean)}",
        f"deviation {number(known.std)}",
    )
    area, words = with_words(room, len(lines), line)
    place = paste(canvas, found.picture(view.state.unit), area)
    if words.left == room.left:  # right below the picture
        words = words._replace(top=place.bottom + 4)
    for place_of_row, words_of_row in enumerate(lines):
        row = words._replace(top=words.top + place_of_row * line, height=line)
        write_middle(canvas, words_of_row, row, size - 1, SOFT, "left")


def pending(view: View) -> str:
    """A note why the layer has no weights, or that they are being computed."""
    why = view.weights.why_not if view.weights is not None else ""
    return why or words.pending(view, "weights")


def _shape(layer: LayerWeights) -> str:
    _, channels, *window = layer.values.shape
    size = " × ".join(map(str, window))
    return f"{channels} channel{'s' * (channels != 1)}" + (f" of {size}" if size else "")

"""What a pane is: three functions over a `View`, none of which changes anything."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.view import View

Kind = Literal[
    "layer", "unit", "pair", "zoomed", "class", "back", "view", "top", "command", "nothing"
]


@dataclass(frozen=True)
class Hit:
    """What lies under a place of a pane.

    Attributes
    ----------
    kind
        ``"layer"`` and ``"unit"`` select the one numbered `index`, ``"class"`` that unit of the
        layer named `value`; ``"pair"`` is the units `index` and `value` of the layer; ``"zoomed"``
        is what fills the grid's place; ``"back"`` and ``"view"`` set the backward pass's mode and
        view to `value`; ``"command"`` is the action named `value`; ``"top"`` is the top image
        numbered `index`; ``"nothing"`` can only be pointed at.
        What a click on each does is in `deepvis_caffe.viewer.mouse`.
    index, value
        See there.
    tip
        What to say of it beside the mouse: unit, label and activation; may be empty.
    """

    kind: Kind
    index: int = 0
    value: str = ""
    tip: str = ""


class Pane(NamedTuple):
    """A part of the screen.

    Attributes
    ----------
    name
        What the layout calls it.
    reads
        All that its picture depends on, beside its size, in a form that can be compared: while it
        stays equal, nothing is drawn anew.
    draw
        ``(view, height, width) -> picture`` of exactly that size, RGB uint8.
    hit
        ``(view, height, width, y, x) -> Hit`` or None: what lies at that pixel of it.
    """

    name: str
    reads: Callable[[View], Hashable]
    draw: Callable[[View, int, int], Picture]
    hit: Callable[[View, int, int, int, int], Hit | None]

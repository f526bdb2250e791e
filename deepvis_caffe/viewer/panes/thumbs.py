"""Pictures made small, each once: ``(picture, height, width) -> picture``."""

from __future__ import annotations

from deepvis_caffe.image import Picture, resize_image
from deepvis_caffe.viewer.panes.draw import Rect, fitted
from deepvis_caffe.viewer.panes.memory import ByIdentity

_made: ByIdentity[Picture] = ByIdentity(5000)  # a page of a large layer, and some


def thumb(picture: Picture, height: int, width: int) -> Picture:
    """A picture as large as fits into (height, width), from memory where it was made before.

    Pictures are told apart by identity: nobody may write into one that was given here.
    """

    def make() -> Picture:
        place = fitted(picture.shape[0], picture.shape[1], Rect(0, 0, height, width))
        return resize_image(picture, place.height, place.width)

    return _made.get(picture, (height, width), make)

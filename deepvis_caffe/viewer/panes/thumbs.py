"""Pictures made small, each once: ``(picture, height, width) -> picture``."""

from __future__ import annotations

from collections import OrderedDict

from deepvis_caffe.image import Picture, resize_image
from deepvis_caffe.viewer.panes.draw import Rect, fitted

MOST = 5000  # a page of a large layer, and some

_made: OrderedDict[tuple[int, int, int], tuple[Picture, Picture]] = OrderedDict()


def thumb(picture: Picture, height: int, width: int) -> Picture:
    """A picture as large as fits into (height, width), from memory where it was made before.

    Pictures are told apart by identity: nobody may write into one that was given here.
    """
    key = (id(picture), height, width)
    found = _made.get(key)
    if found is not None:
        return found[1]
    place = fitted(picture.shape[0], picture.shape[1], Rect(0, 0, height, width))
    small = resize_image(picture, place.height, place.width)
    _made[key] = (picture, small)  # the picture, too: while it lives, nobody else has its id
    while len(_made) > MOST:
        _made.popitem(last=False)
    return small

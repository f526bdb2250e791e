"""Pictures made small, each once: ``(picture, height, width) -> picture``."""

from __future__ import annotations

from deepvis_caffe.image import Picture, resize_image
from deepvis_caffe.viewer.panes.draw import Rect, fitted
from deepvis_caffe.viewer.recent import Recent

MOST_BYTES = 128 << 20  # a page of a large layer's optimised images, small and as they were

# With each the picture that it is of: while that lives, nobody else has its id.
_made: Recent[tuple[int, int, int], tuple[Picture, Picture]] = Recent(MOST_BYTES)


def thumb(picture: Picture, height: int, width: int) -> Picture:
    """A picture as large as fits into (height, width), from memory where it was made before.

    Pictures are told apart by identity: nobody may write into one that was given here.
    """
    key = id(picture), height, width
    found = _made.get(key)
    if found is None:
        place = fitted(picture.shape[0], picture.shape[1], Rect(0, 0, height, width))
        found = picture, resize_image(picture, place.height, place.width)
        _made.put(key, found, sum(one.nbytes for one in found))
    return found[1]

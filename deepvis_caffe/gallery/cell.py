"""What is shown of one run: ``best_X -> picture``, cut to what the unit sees and plain to see."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deepvis_caffe.gallery.montage import vivid
from deepvis_caffe.image import Picture, resize_image

SMALLEST_CELL = 96


def cell_of(
    picture: Picture, sees: Sequence[int] | None = None, window: Sequence[int] | None = None
) -> Picture:
    """Cut a run's ``best_X`` to what its unit sees, stretch its contrast, enlarge it where small.

    Parameters
    ----------
    picture
        (H, W, 3) RGB uint8, zero is mid-gray.
    sees
        The part of the net's input that the unit sees, (top, left, bottom, right) in pixels; None
        where that is all of it or unknown.
    window
        The part that the picture shows, likewise.
    """
    if sees is not None:
        top, left, bottom, right = sees
        rows, columns = (window or (0, 0))[:2]
        seen = picture[top - rows : bottom - rows, left - columns : right - columns]
        picture = seen if seen.size else picture  # a unit may see nothing but padding
    grow = max(1, math.ceil(SMALLEST_CELL / max(picture.shape[:2])))
    height, width = picture.shape[0] * grow, picture.shape[1] * grow
    return resize_image(vivid(picture), height, width)

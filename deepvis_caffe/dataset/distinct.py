"""A unit's strongest images without those that show it one thing twice: ``(scan, layer) -> Top``.

Where images are overlapping views of few photographs, or frames of a video, the nine strongest may
be nine times one spot. Of those that overlap only the strongest stays: non-maximum suppression.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deepvis_caffe.dataset.geometry import Box, field_of, picture_box, place_of, seen_box
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.top import NONE, Top
from deepvis_caffe.engines.base import Net

MOST = 0.25  # of the smaller one's area that two may share


def distinct(
    net: Net, scan: Scan, layer: str, count: int, view_of: Callable[[str], tuple[str, Box]]
) -> Top:
    """For each unit of a layer, its `count` strongest images that show different places.

    Parameters
    ----------
    scan
        Of this net, with more than `count` images of each unit; where too few of them are
        distinct, there are fewer.
    view_of
        From an image's name to the photograph that it is a view of, and its part of that, (top,
        left, bottom, right) in pixels.
    """
    found, field = scan.layers[layer], field_of(net, layer)
    views = [view_of(name) for name in scan.names]
    best = Top.empty(len(found.top.value), count)

    def seen(image: int, position: int) -> tuple[str, Box]:
        """The photograph, and what of it the unit sees there."""
        photograph, (top, left, bottom, right) = views[image]
        height, width = bottom - top, right - left
        box = seen_box(net.preprocessor, field, place_of(found.shape, position))
        a, b, c, d = picture_box(net.preprocessor, box, height, width)
        rows = top + max(a, 0), top + min(c, height)
        columns = left + max(b, 0), left + min(d, width)
        return photograph, (rows[0], columns[0], rows[1], columns[1])

    for unit, images in enumerate(found.top.image):
        kept: list[tuple[str, Box]] = []
        for rank in np.flatnonzero(images != NONE):
            own = seen(int(images[rank]), int(found.top.position[unit, rank]))
            if len(kept) == count:
                break
            if all(name != own[0] or overlap(box, own[1]) <= MOST for name, box in kept):
                for mine, all_of in (
                    (best.value, found.top.value),
                    (best.image, found.top.image),
                    (best.position, found.top.position),
                ):
                    mine[unit, len(kept)] = all_of[unit, rank]
                kept.append(own)
    return best


def overlap(one: Box, other: Box) -> float:
    """The area that two boxes share, as a part of the smaller one's."""
    rows = min(one[2], other[2]) - max(one[0], other[0])
    columns = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(bottom - top) * (right - left) for top, left, bottom, right in (one, other)]
    return max(rows, 0) * max(columns, 0) / max(1, min(areas))

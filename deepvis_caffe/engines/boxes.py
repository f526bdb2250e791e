"""Detectors' boxes: overlap and non-maximum suppression, ``(boxes, threshold) -> kept``.

Boxes are numpy arrays (n, 4) with corners xmin, ymin, xmax, ymax unless noted otherwise. The forks
define overlap differently, which changes results, so there is one function for each definition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[Any]
Overlap = Callable[[Boxes, Boxes], NDArray[Any]]


def suppress(
    boxes: Boxes,
    threshold: float,
    overlap: Overlap,
    *,
    at_threshold: bool = True,
    eta: float = 1.0,
    most: int | None = None,
) -> list[int]:
    """Greedy non-maximum suppression.

    Parameters
    ----------
    boxes
        (n, 4), best first.
    threshold
        A box is dropped if its overlap with a kept box exceeds this.
    overlap
        ``overlap(box, others)``: the overlap of a better box with each of several others.
    at_threshold
        Whether to keep a box whose overlap equals the threshold.
    eta
        Factor by which each kept box lowers the threshold while that is above 0.5 (SSD's adaptive
        suppression).
    most
        Maximum number of boxes to keep.

    Returns
    -------
    list of int
        Indices of the kept boxes, ascending.
    """
    kept: list[int] = []
    closest = np.full(len(boxes), -np.inf)  # the largest overlap with a kept box
    limit = np.float32(threshold)
    for i in range(len(boxes)):
        if len(kept) == most:
            break
        if closest[i] > limit or (closest[i] == limit and not at_threshold):
            continue
        kept.append(i)
        rest = closest[i + 1 :]
        np.fmax(rest, overlap(boxes[i], boxes[i + 1 :]), out=rest)
        if eta < 1 and limit > 0.5:
            limit = np.float32(limit * np.float32(eta))
    return kept


def jaccard(box: Boxes, others: Boxes) -> NDArray[Any]:
    """SSD's intersection over union, in unit coordinates; 0 if the intersection has no area."""
    return _jaccard(box, others, 0)


def jaccard_of_pixels(box: Boxes, others: Boxes) -> NDArray[Any]:
    """Faster R-CNN's intersection over union, which includes the last pixel."""
    return _jaccard(box, others, 1)


def _jaccard(box: Boxes, others: Boxes, last: int) -> NDArray[Any]:
    left, top, right, bottom = others.T
    width = np.minimum(box[2], right) - np.maximum(box[0], left) + last
    height = np.minimum(box[3], bottom) - np.maximum(box[1], top) + last
    shared = np.where((width > 0) & (height > 0), width * height, 0)
    areas = _area(others, last) + _area(box[None], last) - shared
    return np.divide(shared, areas, out=np.zeros_like(shared), where=shared > 0)


def _area(boxes: Boxes, last: int) -> NDArray[Any]:
    """Areas; 0 for an inverted box."""
    left, top, right, bottom = boxes.T
    whole = (right >= left) & (bottom >= top)
    return np.where(whole, (right - left + last) * (bottom - top + last), 0)


# -- boxes as offsets from others (Girshick et al. 2014, R-CNN) ----------------------------------


def moved(boxes: Boxes, offsets: Boxes) -> Boxes:
    """Boxes (..., 4) in pixels, the last one included, moved by offsets of the same shape.

    The first two offsets move the center, in units of the box's width and height; the exponentials
    of the other two scale these.
    """
    size = boxes[..., 2:] - boxes[..., :2] + 1
    center = boxes[..., :2] + size / 2 + offsets[..., :2] * size
    with np.errstate(over="ignore"):  # an untrained net's boxes may be infinite
        half = np.exp(offsets[..., 2:]) * size / 2
    return np.concatenate([center - half, center + half], -1)


def within(boxes: Boxes, height: float, width: float) -> Boxes:
    """Boxes in pixels, clipped to an image of the given size."""
    return np.clip(boxes, 0, np.array([width - 1, height - 1] * 2, boxes.dtype))

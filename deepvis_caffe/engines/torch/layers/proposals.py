"""Regions that a net proposes to itself: ``(scores, offsets, image size) -> regions (R, 5)``.

A region is a row image, x1, y1, x2, y2 in pixels of the net's input, as `regions` pools them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepvis_caffe.engines.boxes import (
    Boxes,
    jaccard_of_pixels,
    moved,
    suppress,
    within,
)
from deepvis_caffe.engines.torch.layer import Layer, Tops, register
from deepvis_caffe.engines.torch.layers.detection import on_host, rows_like
from deepvis_caffe.model.python_layers import proposal_options

Array = NDArray[Any]


def half_up(x: Array) -> Array:
    """To the nearest integer, halves up, as C rounds positive numbers."""
    return np.floor(x + 0.5)


def anchors(
    base: int,
    ratios: Sequence[float],
    scales: Sequence[float],
    rounded: Callable[[Array], Array] = np.rint,
) -> Boxes:
    """Reference boxes around the first position (Ren et al. 2015, "Faster R-CNN").

    For each ratio of height to width a box of about `base` x `base` pixels, with integer sides, and
    of that one for each scale: (ratios * scales, 4), corners in pixels.
    """
    height_to_width = np.array(ratios, np.float64)
    width = rounded(np.sqrt(base * base / height_to_width))
    sides = np.stack([width, rounded(width * height_to_width)], -1)
    half = (sides[:, None] * np.array(scales, np.float64)[:, None] - 1) / 2
    center = (base - 1) / 2
    return np.concatenate([center - half, center + half], -1).reshape(-1, 4)


def proposed(reference: Boxes, stride: int, offsets: Array, height: float, width: float) -> Boxes:
    """Boxes in an image of that size, position by position: (H * W * A, 4).

    Parameters
    ----------
    reference
        (A, 4), around the first position.
    stride
        Pixels between two positions.
    offsets
        (4 A, H, W).
    """
    rows, columns = offsets.shape[1:]
    x, y = np.meshgrid(np.arange(columns) * stride, np.arange(rows) * stride)
    shifts = np.stack([x, y, x, y], -1)[:, :, None]  # (H, W, 1, 4)
    placed = (reference + shifts).astype(offsets.dtype)
    by_position = offsets.transpose(1, 2, 0).reshape(placed.shape)
    return within(moved(placed, by_position).reshape(-1, 4), height, width)


def foreground(scores: Array) -> Array:
    """(H * W * A,) from (2 A, H, W): the second half of the scores, position by position."""
    return scores[len(scores) // 2 :].transpose(1, 2, 0).ravel()


def large(boxes: Boxes, height: float, width: float) -> Array:
    """Which boxes are at least so large, the last pixel included."""
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    return np.asarray((sides >= np.array([width, height], boxes.dtype)).all(1))


def numbered(image: int, boxes: Boxes) -> Array:
    """Rows image, x1, y1, x2, y2."""
    return np.concatenate([np.full((len(boxes), 1), image, boxes.dtype), boxes], 1)


@register("Proposal")
class Proposal(Layer):
    """PVANET's layer in C++: regions of the best scores, after non-maximum suppression.

    Boxes that are too small are not dropped, but score 0. A base box has the sides of
    `anchors`, times `scale`. (caffe-windows takes `scale` for pixels instead.)
    """

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        p = self.param.proposal_param
        scores, offsets, sizes = map(on_host, bottoms)
        height, width, *scale = sizes.reshape(len(sizes), -1)[0]
        reference = anchors(p.base_size, list(p.ratio), list(p.scale), half_up)
        least = np.float32(p.min_size) * np.array(scale[:2], np.float32)  # PVANET has two scales
        rows, found = [], []
        for image in range(len(scores)):
            boxes = proposed(reference, p.feat_stride, offsets[image], height, width)
            score = foreground(scores[image]) * large(boxes, least[0], least[-1])
            order = np.argsort(-score, kind="stable")[: p.pre_nms_topn]
            kept = suppress(boxes[order], p.nms_thresh, jaccard_of_pixels, most=p.post_nms_topn)
            rows.append(numbered(image, boxes[order][kept]))
            found.append(score[order][kept])
        tops = (np.concatenate(rows), np.concatenate(found))
        return tuple(rows_like(top, bottoms[0]) for top in tops[: len(self.layer.tops)])


@register("ProposalLayer")
class ProposalLayer(Layer):
    """py-faster-rcnn's Python layer, with the settings that it has for tests.

    Boxes of 16 pixels and more; the best 6000 of them; of these, after non-maximum suppression at
    0.7, the best 300. A project may set other numbers outside of the net.
    """

    LEAST, BEFORE, THRESHOLD, AFTER = 16, 6000, 0.7, 300

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        options = proposal_options(self.param.python_param.param_str)
        scores, offsets, sizes = map(on_host, bottoms)
        height, width, scale = sizes.reshape(len(sizes), -1)[0, :3]
        reference = anchors(16, options.ratios, options.scales)
        boxes = proposed(reference, options.feat_stride, offsets[0], height, width)
        fits = large(boxes, self.LEAST * scale, self.LEAST * scale)
        boxes, score = boxes[fits], foreground(scores[0])[fits]
        order = np.argsort(-score, kind="stable")[: self.BEFORE]
        kept = suppress(boxes[order], self.THRESHOLD, jaccard_of_pixels, most=self.AFTER)
        tops = (numbered(0, boxes[order][kept]), score[order][kept][:, None])
        return tuple(rows_like(top, bottoms[0]) for top in tops[: len(self.layer.tops)])

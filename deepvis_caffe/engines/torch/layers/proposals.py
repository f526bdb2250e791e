"""Region proposals: ``(scores, offsets, image size) -> regions (R, 5)``.

A region is a row image, x1, y1, x2, y2 in pixels of the net's input, as the layers in `regions`
take it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
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
    """Round to the nearest integer, halves up, as C rounds positive numbers."""
    return np.floor(x + 0.5)


def anchors(
    base: int,
    ratios: Sequence[float],
    scales: Sequence[float],
    rounded: Callable[[Array], Array] = np.rint,
) -> Boxes:
    """Anchors around the first position (Ren et al. 2015, "Faster R-CNN").

    For each ratio of height to width, a box of about `base` x `base` pixels in area, with integer
    sides, at each scale: (ratios * scales, 4), corners in pixels.
    """
    height_to_width = np.array(ratios, np.float64)
    width = rounded(np.sqrt(base * base / height_to_width))
    sides = np.stack([width, rounded(width * height_to_width)], -1)
    half = (sides[:, None] * np.array(scales, np.float64)[:, None] - 1) / 2
    center = (base - 1) / 2
    return np.concatenate([center - half, center + half], -1).reshape(-1, 4)


def proposed(reference: Boxes, stride: int, offsets: Array, height: float, width: float) -> Boxes:
    """Boxes clipped to an image of that size, position by position: (H * W * A, 4).

    Parameters
    ----------
    reference
        (A, 4), the anchors around the first position.
    stride
        Pixels between neighboring positions.
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
    """Which boxes have at least this size, the last pixel included."""
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    return np.asarray((sides >= np.array([width, height], boxes.dtype)).all(1))


def numbered(image: int, boxes: Boxes) -> Array:
    """Rows image, x1, y1, x2, y2."""
    return np.concatenate([np.full((len(boxes), 1), image, boxes.dtype), boxes], 1)


@register("Proposal")
class Proposal(Layer):
    """PVANET's C++ layer: the regions with the best scores, after non-maximum suppression.

    Boxes that are too small are not dropped but get score 0. Base boxes have the sides of `anchors`
    times `scale`. (In caffe-windows `scale` is in pixels instead.)
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
    """py-faster-rcnn's Python layer, with its settings for testing.

    It takes the best 6000 boxes of at least 16 pixels, and keeps the best 300 of these after
    non-maximum suppression at 0.7. A project may set other numbers outside the net.
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


# -- MS-CNN (Cai et al. 2016, "A Unified Multi-scale Deep Convolutional Neural Network ...") -----


@register("BoxOutput")
class BoxOutput(Layer):
    """The boxes of several maps, scored by the best class minus the background.

    A map has boxes of `field_w` x `field_h` pixels around each position; its last four channels
    move and scale them, within limits. All boxes of an image go through one non-maximum
    suppression. If nothing at all is found, there is one region, (0, 1, 1, 10, 10).
    """

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        p, maps = self.param.box_output_param, list(map(on_host, bottoms))
        rows = []
        for image in range(len(maps[0])):
            parts = [self._map(x[image], number) for number, x in enumerate(maps)]
            boxes, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
            # Best first; among equal scores, the later one first.
            order = len(scores) - 1 - np.argsort(-scores[::-1], kind="stable")
            order = order[: p.max_nms_num or None]
            overlap = OVERLAPS.get(p.nms_type, _intersection_over_union)
            kept = order[
                suppress(boxes[order], p.iou_thr, overlap, most=p.max_post_nms_num or None)
            ]
            corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)[kept]
            rows.append(np.concatenate([numbered(image, corners), scores[kept, None]], 1))
        found = np.concatenate(rows)
        regions = found[:, :5] if len(found) else np.array([[0, 1, 1, 10, 10]], found.dtype)
        scored = found if len(found) else np.zeros((1, 6), found.dtype)
        tops = [top[:, :, None, None] for top in (regions, scored)]
        return tuple(rows_like(top, bottoms[0]) for top in tops[: len(self.layer.tops)])

    def _map(self, x: Array, number: int) -> tuple[Boxes, Array]:
        """Boxes (left, top, width, height), (n, 4), and scores of one image's map (C, H, W)."""
        p, reg = self.param.box_output_param, self.param.bbox_reg_param
        height, width = x.shape[1:]
        rate = p.downsample_rate[number]
        field = np.array([p.field_w[number], p.field_h[number]], x.dtype)
        scores = (x[1:-4].max(0) - x[0]).ravel()
        moves = x[-4:].reshape(4, -1).T
        if reg.bbox_mean and reg.bbox_std:
            moves = moves * np.array(reg.bbox_std, x.dtype) + np.array(reg.bbox_mean, x.dtype)
        column, row = np.meshgrid(np.arange(width), np.arange(height))
        position = np.stack([column.ravel(), row.ravel()], 1).astype(x.dtype)
        shift = moves[:, :2].clip(-1 / p.field_xyr, 1 / p.field_xyr) * field
        limit = np.log(p.field_whr)
        size = field * np.exp(moves[:, 2:].clip(-limit, limit))
        corner = np.maximum(shift + (position + 0.5) * rate - size / 2, 0)
        size = np.minimum(size, np.array([width * rate, height * rate], x.dtype) - corner)
        likely = (scores >= np.float32(p.fg_thr)) & (size >= np.float32(p.min_size)).all(1)
        boxes = np.concatenate([corner, size], 1).astype(x.dtype)
        return boxes[likely], scores[likely]


def _shared(box: Boxes, others: Boxes) -> Array:
    """The area of the intersection of boxes (left, top, width, height)."""
    first = np.maximum(box[:2], others[:, :2])
    last = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    return np.asarray((last - first).clip(0, None).prod(1))


def _intersection_over_union(box: Boxes, others: Boxes) -> Array:
    shared = _shared(box, others)
    return np.asarray(shared / (box[2:].prod() + others[:, 2:].prod(1) - shared))


OVERLAPS = {
    "IOU": _intersection_over_union,
    # Divided by the area of the smaller box, and by that of the higher-scoring box.
    "IOMU": lambda box, others: (
        _shared(box, others) / np.minimum(box[2:].prod(), others[:, 2:].prod(1))
    ),
    "IOFU": lambda box, others: _shared(box, others) / box[2:].prod(),
}


@register("DecodeBBox")
class DecodeBBox(Layer):
    """Regions moved by the second class's offsets (Cascade R-CNN: Cai and Vasconcelos 2018)."""

    def forward(self, offsets: Tensor, rois: Tensor) -> Tensor:
        """(R, 8) and (R, 5) -> (R, 5)."""
        reg, rows = self.param.bbox_reg_param, rois.reshape(len(rois), 5)
        moves = offsets.reshape(len(offsets), 8)[:, 4:]
        if reg.bbox_mean and reg.bbox_std:
            moves = moves * moves.new_tensor(list(reg.bbox_std))
            moves = moves + moves.new_tensor(list(reg.bbox_mean))
        first, last = rows[:, 1:3], rows[:, 3:]
        size = last - first + 1
        center = (first + last) / 2 + moves[:, :2] * size
        half = (size * moves[:, 2:].exp() - 1) / 2
        return torch.cat([rows[:, :1], center - half, center + half], 1).reshape(rois.shape)

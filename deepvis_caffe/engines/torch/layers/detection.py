"""Heads of detectors: ``maps -> boxes``, reference boxes, and boxes that are found in an image.

They sort, compare and choose, so they have no gradient, and they are computed with numpy on the
host. How many rows they give depends on the values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepvis_caffe.engines.boxes import Boxes, jaccard, suppress
from deepvis_caffe.engines.torch.layer import Layer, register
from deepvis_caffe.model.schema_pb2 import PriorBoxParameter
from deepvis_caffe.model.shapes.detection import SAME_RATIO, aspect_ratios

Array = NDArray[Any]


def on_host(x: Tensor) -> Array:
    """The values of a bottom, without its history."""
    return x.detach().cpu().numpy()


def rows_like(rows: Array, x: Tensor) -> Tensor:
    """Rows as a top beside the bottom `x`."""
    return torch.as_tensor(rows, dtype=x.dtype, device=x.device)


# -- SSD (Liu et al. 2016, "SSD: Single Shot MultiBox Detector") -------------------------------


@register("PriorBox")
class PriorBox(Layer):
    """Reference boxes around every position, and their variances: (1, 2, H * W * boxes * 4).

    In a row of the map after the other, at each position for each `min_size` s: a square of side s;
    if there are `max_size`, one of side sqrt(min_size * max_size); and for each other aspect ratio
    a one of s * sqrt(a) by s / sqrt(a). Corners are divided by the size of the image.

    SSD rounds sizes down to integers. Two forks add options: `reduce_boxes` halves the first square
    (MobileNet-SSD), and `denser_prior_boxes` repeats each box half a position below (TextBoxes++).
    """

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Only the shapes of the bottoms count."""
        p = self.param.prior_box_param
        height, width = (*x.shape, 1, 1)[2:4]
        # SSD computes in float32 up to here, and the corners in float64.
        size: Array = np.array([p.img_w or p.img_size, p.img_h or p.img_size], np.float32)
        if not size.all():
            size = np.array((*image.shape, 1, 1)[3:1:-1], np.float32)
        step: Array = np.array([p.step_w or p.step, p.step_h or p.step], np.float32)
        if not step.all():
            step = size / np.array([width, height], np.float32)
        halves: Array = self._sizes(p) / 2
        column, row = np.meshgrid(np.arange(width), np.arange(height))
        position = np.stack([column, row], -1).astype(np.float32)
        centers = ((position + np.float32(p.offset)) * step)[:, :, None]
        if p.denser_prior_boxes:
            below = np.stack([centers[..., 0], (position[..., 1:] + 1) * step[1]], -1)
            centers = np.concatenate([centers, below], 2)
            centers, halves = np.tile(centers, (1, 1, len(halves), 1)), np.repeat(halves, 2, 0)
        centers = centers.astype(np.float64)
        corners = np.concatenate([centers - halves, centers + halves], -1) / np.tile(size, 2)
        if p.clip:
            corners = corners.clip(0, 1)
        variance = np.resize(np.array(list(p.variance) or [0.1]), corners.shape)
        return rows_like(np.stack([corners.ravel(), variance.ravel()])[None], x)

    @staticmethod
    def _sizes(p: PriorBoxParameter) -> Array:
        """(boxes, 2): width and height of the boxes at a position, in pixels."""
        sizes: list[tuple[float, float]] = []
        for index, least in enumerate(map(int, p.min_size)):
            first = least / 2 if p.reduce_boxes else least
            sizes.append((first, first))
            if p.max_size:
                sizes.append(((least * int(p.max_size[index])) ** 0.5,) * 2)
            for ratio in aspect_ratios(p):
                if abs(ratio - 1) >= SAME_RATIO:
                    sizes.append((least * ratio**0.5, least / ratio**0.5))
        return np.array(sizes, np.float32)


class _Coding(NamedTuple):
    """How offsets from reference boxes are written."""

    code: int
    in_target: bool  # whether the variances are in the offsets already

    def decode(self, priors: Boxes, variances: Array, offsets: Array) -> Boxes:
        """(..., P, 4): corners of the boxes."""
        if not self.in_target:
            offsets = offsets * variances
        if self.code == PriorBoxParameter.CORNER:
            return priors + offsets
        size = priors[..., 2:] - priors[..., :2]
        if self.code == PriorBoxParameter.CORNER_SIZE:
            return priors + offsets * np.concatenate([size, size], -1)
        center = (priors[..., :2] + priors[..., 2:]) / 2 + offsets[..., :2] * size
        with np.errstate(over="ignore"):  # an untrained net's boxes may be infinite
            half = np.exp(offsets[..., 2:]) * size / 2
        return np.concatenate([center - half, center + half], -1)


@register("DetectionOutput")
class DetectionOutput(Layer):
    """The boxes that SSD finds, as rows image, label, score, xmin, ymin, xmax, ymax: (1, 1, K, 7).

    Coordinates are relative to the image. Offsets of locations are decoded against the prior boxes,
    then each class but the background goes through non-maximum suppression, and the best
    `keep_top_k` of an image are left, by label. Where nothing is found at all, there is one row for
    each image, of -1 but for the image's number.

    RefineDet (Zhang et al. 2018) adds two bottoms, scores and locations of its first stage: a prior
    whose first score for "an object" is under `objectness_score` finds nothing, and the priors are
    moved by the first locations.
    """

    def forward(self, *bottoms: Tensor) -> Tensor:  # noqa: D102
        rows = self._ssd(*map(on_host, bottoms))
        return rows_like(rows.reshape(1, 1, -1, 7), bottoms[0])

    def _ssd(self, locations: Array, scores: Array, priors: Array, *refined: Array) -> Array:
        p = self.param.detection_output_param
        boxes, variances = priors.reshape(2, -1, 4)
        count, classes = len(boxes), p.num_classes
        coding = _Coding(p.code_type, p.variance_encoded_in_target)
        scores = scores.reshape(-1, count, classes)
        offsets = locations.reshape(len(scores), count, -1, 4).swapaxes(1, 2)
        reference = boxes[None, None]
        if refined and not p.visualize:
            objects, *moves = (one.reshape(len(scores), 1, count, -1) for one in refined)
            if moves:
                reference = coding.decode(reference, variances, moves[0])
            unlikely = objects[:, 0, :, 1] < np.float32(p.objectness_score)
            scores = np.where(unlikely[..., None], np.eye(1, classes, dtype=scores.dtype), scores)
        found = coding.decode(reference, variances, offsets)  # (N, 1 or classes, P, 4)
        rows = [self._of_image(i, found[i], scores[i]) for i in range(len(scores))]
        if not any(map(len, rows)):
            nothing = np.full((len(scores), 7), -1, scores.dtype)
            nothing[:, 0] = np.arange(len(scores))
            return nothing
        return np.concatenate(rows)

    def _of_image(self, image: int, boxes: Boxes, scores: Array) -> Array:
        p = self.param.detection_output_param
        rows = []
        for label in range(p.num_classes):
            if label != p.background_label_id:
                own, score = boxes[0 if p.share_location else label], scores[:, label]
                kept = self._kept(own, score)
                named = np.full((len(kept), 2), (image, label), scores.dtype)
                rows.append(np.concatenate([named, score[kept, None], own[kept]], 1))
        every = np.concatenate(rows) if rows else np.zeros((0, 7), scores.dtype)
        if -1 < p.keep_top_k < len(every):
            best = every[np.argsort(-every[:, 2], kind="stable")[: p.keep_top_k]]
            every = best[np.argsort(best[:, 1], kind="stable")]
        return every

    def _kept(self, boxes: Boxes, scores: Array) -> Array:
        """Indices of the boxes of one class that are left, best first."""
        p = self.param.detection_output_param
        order = np.argsort(-scores, kind="stable")
        if p.HasField("confidence_threshold"):
            order = order[scores[order] > np.float32(p.confidence_threshold)]
        if p.nms_param.HasField("top_k") and p.nms_param.top_k > -1:
            order = order[: p.nms_param.top_k]
        nms = p.nms_param
        return order[suppress(boxes[order], nms.nms_threshold, jaccard, eta=nms.eta)]

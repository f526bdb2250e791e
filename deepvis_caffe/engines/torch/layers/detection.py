"""Detection heads: ``maps -> boxes``, prior boxes, and the boxes found in an image.

They sort, compare and choose, so they have no gradient and run with numpy on the host. The number
of rows in their tops depends on the values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepvis_caffe.engines.boxes import Boxes, jaccard, suppress
from deepvis_caffe.engines.torch.layer import Layer, Tops, register
from deepvis_caffe.model.schema_pb2 import PriorBoxParameter
from deepvis_caffe.model.shapes.detection import SAME_RATIO, aspect_ratios

Array = NDArray[Any]


def on_host(x: Tensor) -> Array:
    """The values of a bottom, detached."""
    return x.detach().cpu().numpy()


def rows_like(rows: Array, x: Tensor) -> Tensor:
    """Rows as a top of the type and on the device of `x`."""
    return torch.as_tensor(rows, dtype=x.dtype, device=x.device)


# -- SSD (Liu et al. 2016, "SSD: Single Shot MultiBox Detector") -------------------------------


@register("PriorBox", "PriorBoxClustered")
class PriorBox(Layer):
    """Prior boxes around each position, and their variances: (1, 2, H * W * boxes * 4).

    Row by row, each position has for each `min_size` s a square of side s; if there are `max_size`,
    a square of side sqrt(min_size * max_size); and for each other aspect ratio a, a box of
    s * sqrt(a) by s / sqrt(a). Corners are divided by the size of the image.

    SSD rounds sizes down to integers. Two forks add options: `reduce_boxes` halves the first square
    (MobileNet-SSD), and `denser_prior_boxes` repeats each box half a position below (TextBoxes++).
    A PriorBoxClustered gives the width and height of each box instead (OpenVINO).
    """

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Uses only the bottoms' shapes."""
        p = self.param.prior_box_param
        height, width = (*x.shape, 1, 1)[2:4]
        # As in SSD: float32 up to here, float64 for the corners.
        size: Array = np.array([p.img_w or p.img_size, p.img_h or p.img_size], np.float32)
        if not size.all():
            size = np.array((*image.shape, 1, 1)[3:1:-1], np.float32)
        step: Array = np.array([p.step_w or p.step, p.step_h or p.step], np.float32)
        if not step.all():
            step = size / np.array([width, height], np.float32)
        clustered = self.layer.type == "PriorBoxClustered"
        sides = np.array([p.width, p.height], np.float32).T if clustered else self._sizes(p)
        halves: Array = sides / 2
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
        """(boxes, 2): width and height of a position's boxes, in pixels."""
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
    """The encoding of offsets from prior boxes."""

    code: int
    in_target: bool  # whether the offsets already include the variances

    def decode(self, priors: Boxes, variances: Array, offsets: Array) -> Boxes:
        """(..., P, 4): the boxes' corners."""
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
    """SSD's detections as rows image, label, score, xmin, ymin, xmax, ymax: (1, 1, K, 7).

    Coordinates are relative to the image. The locations are decoded against the prior boxes, each
    class but the background goes through non-maximum suppression, and the best `keep_top_k` boxes
    of each image are kept, ordered by label. If nothing is found at all, there is one row for each
    image, with the image's index and -1 elsewhere.

    RefineDet (Zhang et al. 2018) adds two bottoms, the scores and locations of its first stage:
    priors whose first-stage score for "an object" is below `objectness_score` are dropped, and the
    first-stage locations move the priors.

    caffe-yolov2's layer of this name takes a map of cells instead. Its labels start at 0, its boxes
    are center, width and height, and of overlapping boxes it keeps the first one, cell by cell,
    whatever the scores. caffe_yolo_v2's, which has `classes`, is the same except that it keeps the
    box with the higher objectness.
    """

    def forward(self, *bottoms: Tensor) -> Tensor:  # noqa: D102
        arrays = list(map(on_host, bottoms))
        rows = self._ssd(*arrays) if len(arrays) > 1 else self._cells(*arrays)
        return rows_like(rows.reshape(1, 1, -1, 7), bottoms[0])

    def _cells(self, x: Array) -> Array:
        p = self.param.detection_output_param
        boxes, scores = _of_cells(x, p.num_box, p.biases)
        rows = []
        for image in range(len(x)):
            best = scores[image].max(1)
            place = np.flatnonzero(best >= np.float32(p.confidence_threshold))
            corners = _corners(boxes[image, place]).clip(0, 1)
            if p.HasField("classes"):
                objects = _sigmoid(_in_cells(x[image : image + 1], p.num_box)[..., 4].ravel())
                kept = _outscoring(corners, objects[place], p.nms_threshold)
            else:
                kept = suppress(corners, p.nms_threshold, jaccard, at_threshold=False)
            place = place[kept]
            rows.append(
                _rows(image, scores[image, place].argmax(1), best[place], boxes[image, place])
            )
        return _or_none(rows, len(x))

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
        return _or_none(rows, len(scores))

    def _of_image(self, image: int, boxes: Boxes, scores: Array) -> Array:
        p = self.param.detection_output_param
        rows = []
        for label in range(p.num_classes):
            if label != p.background_label_id:
                own, score = boxes[0 if p.share_location else label], scores[:, label]
                kept = self._kept(own, score)
                rows.append(_rows(image, np.full(len(kept), label), score[kept], own[kept]))
        every = np.concatenate(rows) if rows else np.zeros((0, 7), scores.dtype)
        if -1 < p.keep_top_k < len(every):
            best = every[np.argsort(-every[:, 2], kind="stable")[: p.keep_top_k]]
            every = best[np.argsort(best[:, 1], kind="stable")]
        return every

    def _kept(self, boxes: Boxes, scores: Array) -> Array:
        """Indices of the kept boxes of one class, best first."""
        p = self.param.detection_output_param
        order = np.argsort(-scores, kind="stable")
        if p.HasField("confidence_threshold"):
            order = order[scores[order] > np.float32(p.confidence_threshold)]
        if p.nms_param.HasField("top_k") and p.nms_param.top_k > -1:
            order = order[: p.nms_param.top_k]
        nms = p.nms_param
        return order[suppress(boxes[order], nms.nms_threshold, jaccard, eta=nms.eta)]


def _outscoring(boxes: Boxes, scores: Array, threshold: float) -> list[int]:
    """Indices of the boxes that are kept when overlapping pairs are compared in order.

    Of a pair the later box is kept unless it scores lower; a removed box removes no other.
    """
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if alive[i]:
            rest = i + 1 + np.flatnonzero(alive[i + 1 :])
            rest = rest[jaccard(boxes[i], boxes[rest]) >= np.float32(threshold)]
            higher = np.flatnonzero(scores[rest] >= scores[i])
            alive[i] = not len(higher)
            alive[rest[: higher[0]] if len(higher) else rest] = False
    return np.flatnonzero(alive).tolist()


def _rows(image: int, labels: Array, scores: Array, boxes: Boxes) -> Array:
    """Rows of image, label, score and the four numbers of a box."""
    named = np.stack([np.full(len(labels), image), labels], 1).astype(boxes.dtype)
    return np.concatenate([named, scores[:, None], boxes], 1)


def _or_none(rows: list[Array], images: int) -> Array:
    """All rows; if there are none, one per image, with the image's index and -1 elsewhere."""
    found = np.concatenate(rows)
    if len(found):
        return found
    nothing = np.full((images, 7), -1, found.dtype)
    nothing[:, 0] = np.arange(images)
    return nothing


# -- YOLO (Redmon and Farhadi 2017, "YOLO9000", and 2018, "YOLOv3") ------------------------------


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _corners(boxes: Boxes) -> Boxes:
    """From center, width and height."""
    half = boxes[..., 2:] / 2
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def _in_cells(x: Array, boxes: int) -> Array:
    """A map (N, C, H, W) as (N, H, W, boxes, channels per box)."""
    images, channels, *size = x.shape
    return x.reshape(images, boxes, channels // boxes, *size).transpose(0, 3, 4, 1, 2)


def _place(offset: Array, extent: Array) -> Boxes:
    """Centers, widths and heights, (N, boxes, 4), relative to the image.

    Parameters
    ----------
    offset
        (N, H, W, B, 2), x and y in the cell, in units of its size.
    extent
        (N, H, W, B, 2), widths and heights.
    """
    height, width = offset.shape[1:3]
    corner = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)[:, :, None]
    size = np.array([width, height], offset.dtype)
    placed = np.concatenate([(offset + corner) / size, extent], -1)
    return placed.reshape(len(offset), -1, 4).astype(offset.dtype)


def _of_cells(x: Array, boxes: int, biases: Any) -> tuple[Boxes, Array]:
    """YOLO v2's boxes (N, cells * boxes, 4), and scores (N, cells * boxes, classes).

    A box is biases[2 n] by biases[2 n + 1] cells times the exponentials of two channels; its scores
    are a softmax times the sigmoid of its objectness.
    """
    cells = _in_cells(x, boxes)
    size = np.array(list(biases)[: 2 * boxes], x.dtype).reshape(boxes, 2)
    with np.errstate(over="ignore"):
        extent = np.exp(cells[..., 2:4]) * size / np.array(x.shape[:1:-1], x.dtype)
    scores = np.exp(cells[..., 5:] - cells[..., 5:].max(-1, keepdims=True))
    scores = scores / scores.sum(-1, keepdims=True) * _sigmoid(cells[..., 4:5])
    found = _place(_sigmoid(cells[..., :2]), extent)
    return found, scores.reshape(len(x), -1, scores.shape[-1])


def _best(image: int, boxes: Boxes, scores: Array, labels: Array, threshold: float) -> Array:
    """Rows of the boxes kept by one suppression for all classes, best first; labels start at 1."""
    order = np.argsort(-scores, kind="stable")
    corners = _corners(boxes[order])
    kept = suppress(corners, threshold, jaccard, at_threshold=False)
    return _rows(image, labels[order][kept] + 1, scores[order][kept], corners[kept])


@register("RegionOutput")
class RegionOutput(Layer):
    """YOLO v2's boxes and their scores after suppression: (1, K, 4), (1, K, classes + 1).

    A box is its center's x and y, width and height, in pixels of an image whose height and width
    the second bottom holds, and which the net saw letterboxed; if these are 0, in pixels of the
    net's input. Scores below `thresh` and suppressed scores are 0. Suppression is per class, or for
    all classes together by the highest score. The last score of a box is its highest one, which
    per-class suppression leaves unchanged. (MSRCCS's Caffe.)
    """

    def forward(self, x: Tensor, size: Tensor) -> Tops:  # noqa: D102
        p = self.param.region_output_param
        boxes, scores = _of_cells(on_host(x), len(p.biases) // 2, p.biases)
        cells = x.shape[2] * x.shape[3]  # from cell by cell to box by box
        order = np.arange(boxes.shape[1]).reshape(cells, -1).T.ravel()
        seen = (x.shape[2] * p.feat_stride, x.shape[3] * p.feat_stride)
        boxes = self._pixels(boxes[0, order], seen, on_host(size).ravel())
        scores = scores[0, order]
        best = scores.max(1, keepdims=True)
        scores = np.concatenate([np.where(scores > np.float32(p.thresh), scores, 0), best], 1)
        corners = _corners(boxes)
        if p.nms > 0 and p.class_specific_nms:
            for label in range(p.classes):
                scores[self._suppressed(corners, scores[:, label]), label] = 0
        elif p.nms > 0:
            scores[self._suppressed(corners, scores[:, -1])] = 0
        return rows_like(boxes[None], x), rows_like(scores[None], x)

    @staticmethod
    def _pixels(boxes: Boxes, seen: tuple[int, int], size: Array) -> Boxes:
        """Convert boxes relative to the net's input into pixels of the image."""
        height, width = (int(given) or own for given, own in zip(size, seen, strict=False))
        if seen[1] * height < seen[0] * width:
            picture = (seen[1], height * seen[1] // width)
        else:
            picture = (width * seen[0] // height, seen[0])
        part = np.array(picture, boxes.dtype) / np.array(seen[::-1], boxes.dtype)
        placed = np.concatenate([boxes[:, :2] - (1 - part) / 2, boxes[:, 2:]], 1)
        return placed / np.tile(part, 2) * np.array([width, height] * 2, boxes.dtype)

    def _suppressed(self, corners: Boxes, scores: Array) -> Array:
        """Indices of the boxes that overlap a kept box with a higher score."""
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] != 0]
        kept = suppress(corners[order], self.param.region_output_param.nms, jaccard)
        return np.delete(order, kept)


@register("YoloDetectionOutput")
class YoloDetectionOutput(Layer):
    """YOLO v2's detections as SSD's rows, best first (MobileNet-YOLO).

    Boxes of all cells, each with its best class, go through one non-maximum suppression for all
    classes. Caffe treats a batch as one image; here each image is separate.
    """

    def forward(self, *bottoms: Tensor) -> Tensor:  # noqa: D102
        p = self.param.yolo_detection_output_param
        maps = [_of_cells(on_host(x), p.num_box, p.biases) for x in bottoms]
        boxes, scores = (np.concatenate(parts, 1) for parts in zip(*maps, strict=True))
        rows = []
        for image in range(len(boxes)):
            best = scores[image].max(1)
            likely = best >= np.float32(p.confidence_threshold)
            labels = scores[image].argmax(1)
            found = (boxes[image][likely], best[likely], labels[likely])
            rows.append(_best(image, *found, p.nms_threshold))
        return rows_like(_or_none(rows, len(boxes)).reshape(1, 1, -1, 7), bottoms[0])


@register("Yolov3DetectionOutput")
class Yolov3DetectionOutput(Layer):
    """YOLO v3's detections as SSD's rows, best first (MobileNet-YOLO).

    A box has a score for each class, its sigmoid times that of the objectness. Each score above the
    threshold gives a separate box, and all go through one suppression for all classes. With
    `gaussian_box` (Choi et al. 2019) each coordinate has an uncertainty, which lowers the scores.
    Caffe treats a batch as one image; here each image is separate.
    """

    def forward(self, *bottoms: Tensor) -> Tensor:  # noqa: D102
        p = self.param.yolov3_detection_output_param
        maps = [self._map(on_host(x), group) for group, x in enumerate(bottoms)]
        boxes, scores = (np.concatenate(parts, 1) for parts in zip(*maps, strict=True))
        rows = []
        for image in range(len(boxes)):
            box, label = np.nonzero(scores[image] > np.float32(p.confidence_threshold))
            found = (boxes[image, box], scores[image, box, label], label)
            rows.append(_best(image, *found, p.nms_threshold))
        return rows_like(_or_none(rows, len(boxes)).reshape(1, 1, -1, 7), bottoms[0])

    def _map(self, x: Array, group: int) -> tuple[Boxes, Array]:
        """Boxes and scores of one bottom."""
        p = self.param.yolov3_detection_output_param
        first = group * (len(p.mask) // p.mask_group_num)
        mask = list(p.mask)[first : first + p.num_box]
        size = np.array([[p.biases[2 * n], p.biases[2 * n + 1]] for n in mask], x.dtype)
        cells = _in_cells(x, p.num_box)
        apart = 2 if p.gaussian_box else 1  # each coordinate is followed by its uncertainty
        likely = _sigmoid(cells[..., 4 * apart :])
        objects = likely[..., :1]
        if p.gaussian_box:  # as published; MobileNet-YOLO's own code counts the first one twice
            objects = objects * (4 - _sigmoid(cells[..., 1:8:2]).sum(-1, keepdims=True)) / 4
        with np.errstate(over="ignore"):
            extent = np.exp(cells[..., 2 * apart : 4 * apart : apart]) * size
        image = np.array(x.shape[:1:-1], x.dtype) * p.anchors_scale[group]
        boxes = _place(_sigmoid(cells[..., : 2 * apart : apart]), extent / image)
        scores = likely[..., 1:] * objects
        return boxes, scores.reshape(len(x), -1, scores.shape[-1])

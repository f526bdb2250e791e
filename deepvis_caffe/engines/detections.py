"""What a detector found in an image: ``(net, its values) -> boxes``.

Nets output boxes in one of three ways: as rows of label, score and corners (SSD, YOLO); as YOLO
v2's predictions for every cell of a map; or as scores and offsets of the net's own region proposals
(Faster R-CNN, R-FCN).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.boxes import (
    Boxes,
    Overlap,
    jaccard,
    jaccard_of_pixels,
    moved,
    suppress,
    within,
)
from deepvis_caffe.image import Floats
from deepvis_caffe.model.graph import Layer, Value
from deepvis_caffe.model.labels import Labels, short_label
from deepvis_caffe.model.shapes.detection import found_classes, region_boxes, region_classes

NMS = 0.3  # as py-faster-rcnn and zhang-xin's YOLO v2 apply to each class of their nets' boxes

ROWS = frozenset({"DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput"})
CELLS = frozenset({"Region", "RegionOutput"})
PROPOSERS = frozenset({"Proposal", "ProposalLayer"})


@dataclass(frozen=True)
class Box:
    """A detected box.

    Attributes
    ----------
    label
        Its class, in the net's numbering.
    score
        The net's confidence.
    left, top, right, bottom
        Relative to the net's input, 0 to 1.
    """

    label: int
    score: float
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Detector:
    """Reads the boxes of a net.

    Attributes
    ----------
    blobs
        The names to read.
    labels
        The classes without the background, in the net's numbering.
    """

    blobs: tuple[str, ...]
    labels: range
    _rows: Callable[..., NDArray[Any]]

    def boxes(self, values: Mapping[str, Floats], threshold: float) -> tuple[Box, ...]:
        """The boxes that score above a threshold, lowest score first.

        Parameters
        ----------
        values
            The values of `blobs`, for one image.
        threshold
            Minimum score, exclusive.
        """
        rows = self._rows(threshold, *(values[name] for name in self.blobs))
        rows = rows[np.isfinite(rows).all(1) & (rows[:, 1] > threshold)]
        corners = rows[:, 2:].clip(0, 1)  # a row for "nothing found" has no extent
        real = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
        order = [i for i in np.argsort(rows[:, 1], kind="stable") if real[i]]
        return tuple(
            Box(int(rows[i, 0]), float(rows[i, 1]), *map(float, corners[i])) for i in order
        )

    def fits(self, labels: Labels) -> bool:
        """Whether labels name its classes, with or without a background before them."""
        return len(labels) in (len(self.labels), self.labels.stop)

    def name(self, labels: Labels, label: int) -> str:
        """A class's name, or its number if the labels do not fit."""
        if not self.fits(labels) or label not in self.labels:
            return str(label)
        first = self.labels.start if len(labels) == len(self.labels) else 0
        return short_label(labels[label - first]) or str(label)


def detector(net: Net) -> Detector | None:
    """The reader of a net's boxes; None if it is not a detector or cannot run that far."""
    graph = net.model.graph
    for layer in reversed(graph.layers):
        if layer.type in ROWS and net.opaque.runs(layer.name):
            name = graph.value_name(layer.tops[0])
            return _of_rows(layer, name) if name else None
    for layer in reversed(graph.layers):
        if layer.type in CELLS and net.opaque.runs(layer.name):
            return _of_cells(net, layer)
    for layer in graph.layers:
        if layer.type in PROPOSERS and net.opaque.runs(layer.name):
            return _of_regions(net, layer.tops[0])
    return None


# -- rows image, label, score, corners -----------------------------------------------------------


def _of_rows(layer: Layer, name: str) -> Detector:
    if layer.type == "DetectionOutput" and len(layer.bottoms) == 1:
        classes = found_classes(layer.param.detection_output_param, 1)
        return Detector((name,), range(classes), _centered)
    if layer.type == "DetectionOutput":
        options = layer.param.detection_output_param
        first = 1 if options.background_label_id == 0 else 0
        return Detector((name,), range(first, options.num_classes), _cornered)
    count = (
        layer.param.yolo_detection_output_param.num_classes
        if layer.type == "YoloDetectionOutput"
        else layer.param.yolov3_detection_output_param.num_classes
    )
    return Detector((name,), range(1, count + 1), _cornered)


def _cornered(threshold: float, values: Floats) -> NDArray[Any]:
    """Rows label, score, corners."""
    return values.reshape(-1, 7)[:, 1:]


def _centered(threshold: float, values: Floats) -> NDArray[Any]:
    """The same from center, width and height (caffe-yolov2)."""
    rows = values.reshape(-1, 7)[:, 1:]
    return np.concatenate([rows[:, :2], _corners(rows[:, 2:])], 1)


# -- every cell of a map (Redmon and Farhadi 2017, "YOLO9000") -----------------------------------


def _of_cells(net: Net, layer: Layer) -> Detector | None:
    """For a Region, or for a RegionOutput, which has applied suppression already."""
    graph, kind = net.model.graph, layer.type
    read = [*layer.tops, *layer.bottoms[1:]]
    names = tuple(name for value in read if (name := graph.value_name(value)))
    if len(names) < len(read):
        return None
    if kind == "RegionOutput":
        options = layer.param.region_output_param
        height, width = (n * options.feat_stride for n in net.shapes[layer.bottoms[0]][2:])

        def left(threshold: float, boxes: Floats, scores: Floats, size: Floats) -> NDArray[Any]:
            high, wide = (int(n) or own for n, own in zip(size.flat, (height, width), strict=False))
            place, label = np.nonzero(scores[0, :, :-1] > threshold)
            found = boxes[0, place] / np.array([wide, high] * 2, boxes.dtype)
            named = np.stack([label, scores[0, place, label]], 1)
            return np.concatenate([named, _corners(found)], 1)

        return Detector(names, range(options.classes), left)
    if len(names) == 2:
        classes = region_classes(layer.param.region_loss_param)
        return Detector(
            names,
            range(classes),
            lambda threshold, boxes, scores: _best(
                boxes.reshape(-1, 4), scores.reshape(-1, classes + 1)[:, :classes], threshold
            ),
        )
    classes, anchors = layer.param.region_param.classes, _anchors(layer)
    if anchors is None:
        return None

    def likely(threshold: float, values: Floats) -> NDArray[Any]:
        return _best(*_decoded(layer, values, anchors), threshold)

    return Detector(names, range(classes), likely)


def _anchors(layer: Layer) -> NDArray[Any] | None:
    """Width and height of a Region's anchors, which it gives as text, (boxes, 2)."""
    options = layer.param.region_param
    text = options.anchors or options.biases
    try:
        numbers = np.array([float(number) for number in text.split(",")], np.float32)
        return numbers.reshape(region_boxes(layer.param), 2)
    except ValueError:
        return None


def _decoded(
    layer: Layer, values: Floats, anchors: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Boxes, centers first, and scores from a Region's top for one image."""
    _, _, height, width = values.shape
    corner = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)[:, :, None]
    with np.errstate(over="ignore"):  # an untrained net's boxes may be infinite
        if layer.param.region_param.HasField("num"):
            cells = values.reshape(len(anchors), -1, height, width).transpose(2, 3, 0, 1)
            center: NDArray[Any] = cells[..., :2]
        else:  # cell by cell in memory, the centers as the net gives them
            cells = values.reshape(height, width, len(anchors), -1)
            center = 1 / (1 + np.exp(-cells[..., :2]))
        extent = np.exp(cells[..., 2:4]) * anchors
    boxes = np.concatenate([center + corner, extent], -1) / np.array([width, height] * 2)
    coords = layer.param.region_param.coords
    scores = cells[..., coords : coords + 1] * cells[..., coords + 1 :]
    return boxes.reshape(-1, 4), scores.reshape(-1, scores.shape[-1])


def _best(boxes: NDArray[Any], scores: NDArray[Any], threshold: float) -> NDArray[Any]:
    """Rows of label, score and corners, for boxes with centers first."""
    corners = _corners(boxes)
    found = [
        _kept(label, corners, scores[:, label], threshold, jaccard)
        for label in range(scores.shape[1])
    ]
    return np.concatenate(found)


def _corners(boxes: NDArray[Any]) -> NDArray[Any]:
    """From center, width and height."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)


# -- regions, their scores and how they move (Ren et al. 2015, "Faster R-CNN") -------------------


def _of_regions(net: Net, regions: Value) -> Detector | None:
    graph, name = net.model.graph, net.model.graph.value_name(regions)
    outputs = [(one, graph.blob_value(one)) for one in net.outputs]
    sizes = {one: prod(net.shapes[value][1:]) for one, value in outputs if value in net.shapes}
    last = {one: graph.producer[value].type for one, value in outputs}
    scores = _one_of(one for one in sizes if last[one] == "Softmax" or one == "cls_prob")
    if not name or scores is None:
        return None
    classes = sizes[scores]
    offsets = _one_of(one for one in sizes if one != scores and sizes[one] in (4 * classes, 8))
    if offsets is None or classes < 2:
        return None
    _, _, height, width = (*net.inputs[net.image_input()], 1, 1)[:4]

    def rows(threshold: float, rois: Floats, prob: Floats, moves: Floats) -> NDArray[Any]:
        prob = prob.reshape(len(rois), classes)
        boxes = moved(rois.reshape(-1, 1, 5)[..., 1:], moves.reshape(len(rois), -1, 4))
        boxes = within(boxes, height, width)
        # If there are only two, for background and foreground, the second serves every class.
        found = [
            _kept(label, boxes[:, label if boxes.shape[1] > 2 else 1], prob[:, label], threshold)
            for label in range(1, classes)
        ]
        return np.concatenate(found) / np.array([1, 1, width, height, width, height], np.float32)

    return Detector((name, scores, offsets), range(1, classes), rows)


def _one_of(names: Iterable[str]) -> str | None:
    """The only one of these names; None if there are several or none."""
    names = list(names)
    return names[0] if len(names) == 1 else None


def _kept(
    label: int,
    boxes: Boxes,
    scores: Floats,
    threshold: float,
    overlap: Overlap = jaccard_of_pixels,
) -> NDArray[Any]:
    """Rows of one class that score above the threshold, after non-maximum suppression."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > threshold]
    order = order[suppress(boxes[order], NMS, overlap)]
    named = np.stack([np.full(len(order), label), scores[order]], 1).astype(np.float32)
    return np.concatenate([named, boxes[order]], 1)

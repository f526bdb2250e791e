"""What a detector found in an image: ``(net, its values) -> boxes``.

Two kinds of nets end in boxes: those with a layer that gives rows of label, score and corners (SSD,
YOLO), and those that score and move the regions that they propose to themselves (Faster R-CNN,
R-FCN).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.boxes import Boxes, jaccard_of_pixels, moved, suppress, within
from deepvis_caffe.image import Floats
from deepvis_caffe.model.graph import Layer, Value
from deepvis_caffe.model.labels import Labels, short_label

NMS = 0.3  # py-faster-rcnn's threshold, class by class, after its net

ROWS = frozenset({"DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput"})
PROPOSERS = frozenset({"Proposal", "ProposalLayer"})


@dataclass(frozen=True)
class Box:
    """A box that was found.

    Attributes
    ----------
    label
        Its class, as the net counts them.
    score
        How sure the net is.
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
    """How the boxes of a net are read.

    Attributes
    ----------
    blobs
        The names to read.
    labels
        The classes, without background, as the net counts them.
    """

    blobs: tuple[str, ...]
    labels: range
    _rows: Callable[..., NDArray[Any]]

    def boxes(self, values: Mapping[str, Floats], threshold: float) -> tuple[Box, ...]:
        """The boxes of the one image that score higher than that, lowest first.

        Parameters
        ----------
        values
            Of `blobs`, for one image.
        threshold
            Of the score.
        """
        rows = self._rows(threshold, *(values[name] for name in self.blobs))
        rows = rows[np.isfinite(rows).all(1) & (rows[:, 1] > threshold)]
        corners = rows[:, 2:].clip(0, 1)  # a row that says that nothing was found has no extent
        real = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
        order = [i for i in np.argsort(rows[:, 1], kind="stable") if real[i]]
        return tuple(
            Box(int(rows[i, 0]), float(rows[i, 1]), *map(float, corners[i])) for i in order
        )

    def fits(self, labels: Labels) -> bool:
        """Whether labels name its classes, with a background before them or without."""
        return len(labels) in (len(self.labels), self.labels.stop)

    def name(self, labels: Labels, label: int) -> str:
        """What a class is called in labels that fit; else its number."""
        if not self.fits(labels) or label not in self.labels:
            return str(label)
        first = self.labels.start if len(labels) == len(self.labels) else 0
        return short_label(labels[label - first]) or str(label)


def detector(net: Net) -> Detector | None:
    """How the boxes of a net are read; None where it is no detector, or cannot run that far."""
    graph = net.model.graph
    for layer in reversed(graph.layers):
        if layer.type in ROWS and net.opaque.runs(layer.name):
            name = graph.value_name(layer.tops[0])
            return _of_rows(layer, name) if name else None
    for layer in graph.layers:
        if layer.type in PROPOSERS and net.opaque.runs(layer.name):
            return _of_regions(net, layer.tops[0])
    return None


# -- rows image, label, score, corners -----------------------------------------------------------


def _of_rows(layer: Layer, name: str) -> Detector:
    if layer.type == "DetectionOutput" and len(layer.bottoms) == 1:
        return Detector((name,), range(layer.param.detection_output_param.num_classes), _centered)
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
    half = rows[:, 4:] / 2
    return np.concatenate([rows[:, :2], rows[:, 2:4] - half, rows[:, 2:4] + half], 1)


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
        # Of two moves, background's and all others', the second is for every class.
        found = [
            _kept(label, boxes[:, label if boxes.shape[1] > 2 else 1], prob[:, label], threshold)
            for label in range(1, classes)
        ]
        return np.concatenate(found) / np.array([1, 1, width, height, width, height], np.float32)

    return Detector((name, scores, offsets), range(1, classes), rows)


def _one_of(names: Iterable[str]) -> str | None:
    """The only one of these names, None where there are several or none."""
    names = list(names)
    return names[0] if len(names) == 1 else None


def _kept(label: int, boxes: Boxes, scores: Floats, threshold: float) -> NDArray[Any]:
    """Rows of one class that score higher, after non-maximum suppression."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > threshold]
    order = order[suppress(boxes[order], NMS, jaccard_of_pixels)]
    named = np.stack([np.full(len(order), label), scores[order]], 1).astype(np.float32)
    return np.concatenate([named, boxes[order]], 1)

"""Detections: rows of any layer as boxes, and Faster R-CNN's against a slow loop."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.detections import Box, Detector, detector

LABELS = ("cat, house cat", "dog")


def ssd(background: str = "") -> str:
    """Two classes and a background, over nine places."""
    params = f"num_classes: 3 {background} nms_param {{ }} confidence_threshold: 0.01"
    return net_text(
        conv("conv", "data", 2, 2, "stride: 2"),
        layer("prior", "PriorBox", "conv data", "", "prior_box_param { min_size: 4 }"),
        layer(
            "found",
            "DetectionOutput",
            "offsets scores prior",
            "",
            f"detection_output_param {{ {params} }}",
        ),
        data=(1, 2, 6, 6),
        offsets=(1, 36),
        scores=(1, 27),
    )


def yolo(kind: str, params: str) -> str:
    name = {"DetectionOutput": "detection_output_param"}.get(kind, "yolo_detection_output_param")
    options = f"{name} {{ num_classes: 2 num_box: 1 biases: 1 biases: 2 {params} }}"
    return net_text(layer("found", kind, "cells", "", options), cells=(1, 7, 4, 4))


def of(tmp_path: Path, text: str) -> Detector:
    found = detector(load_text("torch", tmp_path, text))
    assert found is not None
    return found


def test_rows_become_boxes(tmp_path: Path) -> None:
    """Higher than the threshold, lowest first, clipped, and what is no box is left out."""
    rows = [
        [0, 1, 0.9, 0.25, 0.5, 0.75, 1.5],
        [0, 2, 0.3, 0, 0, 0.5, 0.5],
        [0, 2, 0.4, -0.5, 0, 0.5, 0.5],
        [0, 1, 0.8, 0.5, 0.5, 0.5, 0.75],
        [0, 1, 0.7, np.nan, 0, 1, 1],
        [0, 1, np.inf, 0, 0, 1, 1],
    ]
    found = of(tmp_path, ssd())
    assert found.blobs == ("found",)
    boxes = found.boxes({"found": np.array([[rows]], np.float32)}, 0.35)
    assert boxes == (
        Box(2, pytest.approx(0.4), 0, 0, 0.5, 0.5),
        Box(1, pytest.approx(0.9), 0.25, 0.5, 0.75, 1),
    )
    nothing = np.array([[[[0] + [-1] * 6]]], np.float32)
    assert found.boxes({"found": nothing}, 0.0) == ()
    assert found.boxes({"found": nothing}, -5) == ()


def test_boxes_written_by_their_center(tmp_path: Path) -> None:
    found = of(tmp_path, yolo("DetectionOutput", "side: 4"))
    row = np.array([[[[0, 1, 0.5, 0.5, 0.25, 0.5, 0.25]]]], np.float32)
    assert found.boxes({"found": row}, 0.3) == (Box(1, 0.5, 0.25, 0.125, 0.75, 0.375),)


@pytest.mark.parametrize(
    ("text", "labels", "names"),
    [
        (ssd(), LABELS, ["0", "cat", "dog"]),  # 0 is the background
        (ssd(), ("background", *LABELS), ["0", "cat", "dog"]),
        (ssd("background_label_id: -1"), ("thing", *LABELS), ["thing", "cat", "dog"]),
        (ssd(), ("cat", "dog", "cow", "ant"), ["0", "1", "2"]),
        (ssd(), ("", "dog"), ["0", "1", "dog"]),
        (yolo("DetectionOutput", "side: 4"), LABELS, ["cat", "dog", "2"]),
        (yolo("YoloDetectionOutput", ""), LABELS, ["0", "cat", "dog"]),
        (yolo("YoloDetectionOutput", ""), ("none", *LABELS), ["0", "cat", "dog"]),
    ],
)
def test_classes_are_called_by_labels_that_fit(
    text: str, labels: tuple[str, ...], names: list[str], tmp_path: Path
) -> None:
    found = of(tmp_path, text)
    assert [found.name(labels, label) for label in range(3)] == names
    assert found.fits(labels) == (len(labels) < 4)


ANCHORS = [(0.8, 1.2), (2.5, 2), (1, 3)]


def slow_boxes(cells: np.ndarray, threshold: float) -> list[tuple[float, ...]]:
    """Boxes of (H, W, 3, 7) of a net's last map, as darknet has them, suppressed at 0.3."""
    height, width = cells.shape[:2]
    found = []
    for label in range(2):
        likely = []
        for row, column, n in np.ndindex(height, width, 3):
            x, y, w, h, objectness, *classes = map(float, cells[row, column, n])
            powers = [math.exp(one) for one in classes]
            score = powers[label] / sum(powers) / (1 + math.exp(-objectness))
            x, y = (
                (column + 1 / (1 + math.exp(-x))) / width,
                (row + 1 / (1 + math.exp(-y))) / height,
            )
            w, h = (math.exp(w) * ANCHORS[n][0] / width, math.exp(h) * ANCHORS[n][1] / height)
            if score > threshold:
                likely.append((score, (x - w / 2, y - h / 2, x + w / 2, y + h / 2)))
        kept: list[tuple[float, ...]] = []
        for score, box in sorted(likely, reverse=True):
            if all(plain_iou(box, other) <= 0.3 for other in kept):
                kept.append(box)
                found.append((label, score, *(min(max(c, 0), 1) for c in box)))
    return sorted(found, key=lambda one: one[1])


def plain_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - shared)


TEXT = "0.8,1.2,  2.5,2, 1,3"
REPEATED = " ".join(f"biases: {n}" for pair in ANCHORS for n in pair)
YOLO2 = {
    "OpenVINO": ("Region", "found", f'region_param {{ classes: 2 num: 3 anchors: "{TEXT}" }}'),
    "caffe_yolo_v2": (
        "Region",
        "found",
        f'region_param {{ classes: 2 boxes_of_each_grid: 3 softmax: true biases: "{TEXT}" }}',
    ),
    "zhang-xin": (
        "Region",
        "boxes scores",
        f"region_loss_param {{ side: 4 num: 3 num_classes: 2 threshold: 0.1 {REPEATED} }}",
    ),
    "MSRCCS": (
        "RegionOutput",
        "boxes scores",
        f"region_output_param {{ classes: 2 thresh: 0.1 nms: 0.3 {REPEATED} }}",
    ),
}


@pytest.mark.parametrize("fork", YOLO2)
def test_boxes_of_yolo_v2(fork: str, tmp_path: Path) -> None:
    kind, tops, params = YOLO2[fork]
    bottoms = "data im_info" if fork == "MSRCCS" else "data"
    size = {"im_info": (1, 2)} if fork == "MSRCCS" else {}
    text = net_text(layer("found", kind, bottoms, tops, params), data=(1, 21, 4, 4), **size)
    net = load_text("torch", tmp_path, text)
    found = detector(net)
    assert found is not None
    x = np.random.default_rng(0).standard_normal((1, 21, 4, 4)).astype(np.float32)
    cells = x.reshape(3, 7, 4, 4).transpose(2, 3, 0, 1)
    expected = slow_boxes(cells, 0.2)
    assert len(expected) > 5
    for info in [(0, 0), (100, 100)] if fork == "MSRCCS" else [()]:  # 100 by 100, square as the net
        inputs = {"data": x} | ({"im_info": np.array([info], np.float32)} if info else {})
        boxes = found.boxes(net.forward(inputs, found.blobs), 0.2)
        got = [(b.label, b.score, b.left, b.top, b.right, b.bottom) for b in boxes]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert found.name(("cat", "dog"), 1) == "dog"


def test_a_region_without_reference_boxes_is_not_a_detector(tmp_path: Path) -> None:
    params = "region_param { classes: 2 boxes_of_each_grid: 3 }"
    text = net_text(layer("found", "Region", "data", "", params), data=(1, 21, 4, 4))
    assert detector(load_text("torch", tmp_path, text)) is None


def faster(classes: int, moves: int, *more: str) -> str:
    anchors = "ratio: 1 scale: 1 base_size: 8 feat_stride: 4 min_size: 1 post_nms_topn: 6"
    pool = "roi_pooling_param { pooled_h: 1 pooled_w: 1 spatial_scale: 0.25 }"
    return net_text(
        conv("conv", "data", 3, 4, "stride: 4"),
        conv("rpn", "conv", 2),
        conv("rpn_moves", "conv", 4),
        layer("rois", "Proposal", "rpn rpn_moves im_info", "", f"proposal_param {{ {anchors} }}"),
        layer("pool", "ROIPooling", "conv rois", "", pool),
        layer(
            "score", "InnerProduct", "pool", "", f"inner_product_param {{ num_output: {classes} }}"
        ),
        layer("prob", "Softmax", "score"),
        layer(
            "moves", "InnerProduct", "pool", "", f"inner_product_param {{ num_output: {moves} }}"
        ),
        *more,
        data=(1, 3, 24, 32),
        im_info=(1, 3),
    )


def pixel_iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    one, other = ((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
    return width * height / (one + other - width * height)


@pytest.mark.parametrize("agnostic", [False, True])
def test_boxes_of_faster_rcnn(agnostic: bool, tmp_path: Path) -> None:
    """Each class's regions, moved, clipped to the image, and suppressed at 0.3.

    What is left of none of them within the image is no box.
    """
    net = load_text("torch", tmp_path, faster(3, 8 if agnostic else 12), seed=1)
    found = detector(net)
    assert found is not None
    x = np.random.default_rng(0).normal(0, 40, (1, 3, 24, 32)).astype(np.float32)
    values = net.forward({"data": x, **net.other_inputs(x)}, found.blobs)
    count = len(values["rois"])
    corner = np.random.default_rng(1).uniform(0, 8, (count, 4)) + np.array([0, 0, 14, 10])
    rois = np.concatenate([np.zeros((count, 1)), corner], 1).astype(np.float32)
    prob, moves = values["prob"], values["moves"] * 0.05
    expected = []
    for label in (1, 2):
        likely = []
        for roi, scores, offsets in zip(rois, prob, moves, strict=True):
            place = 1 if agnostic else label
            dx, dy, dw, dh = offsets[4 * place : 4 * place + 4]
            w, h = roi[3] - roi[1] + 1, roi[4] - roi[2] + 1
            cx, cy = roi[1] + w / 2 + dx * w, roi[2] + h / 2 + dy * h
            w, h = w * math.exp(dw), h * math.exp(dh)
            box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            box = [min(max(c, 0), limit) for c, limit in zip(box, [31, 23] * 2, strict=True)]
            if scores[label] > 0.1:
                likely.append((scores[label], box))
        likely.sort(key=lambda one: -one[0])
        kept: list[list[float]] = []
        for score, box in likely:
            if all(pixel_iou(box, other) <= 0.3 for other in kept):
                kept.append(box)
                expected.append(
                    (label, score, *(c / s for c, s in zip(box, [32, 24] * 2, strict=True)))
                )
    expected = [row for row in expected if row[4] > row[2] and row[5] > row[3]]
    expected.sort(key=lambda row: row[1])
    assert len(expected) > 2
    values = {"rois": rois, "prob": prob, "moves": moves}
    boxes = found.boxes(values, 0.1)
    got = [(b.label, b.score, b.left, b.top, b.right, b.bottom) for b in boxes]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert found.name(("cat", "dog"), 2) == "dog"


def test_what_is_not_a_detector(tmp_path: Path) -> None:
    def made(text: str) -> Net:
        return load_text("torch", tmp_path, text)

    assert detector(made(net_text(conv("conv", "data", 2), data=(1, 1, 4, 4)))) is None
    # Regions alone, without scores for them that fit how they move.
    assert detector(made(faster(3, 9))) is None
    second = layer("prob2", "Softmax", "score")
    assert detector(made(faster(3, 12, second))) is None
    # Rows that need a layer which cannot run.
    head = ssd().replace('bottom: "scores"', 'bottom: "odd"')
    odd = layer("odd", "MyLayer", "scores")
    text = head.replace('layer { name: "found"', odd + '\nlayer { name: "found"')
    assert detector(made(text)) is None

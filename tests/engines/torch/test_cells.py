"""The Region layers of three forks against loops over darknet's definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.torch_layers import assert_computes, built, check_gradient, distinct, refused, run_all

X = 3 * distinct(2, 2 * 7, 1, 2)
BIASES = [0.8, 1.2, 2.5, 2, 1, 3]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x)
    return powers / powers.sum()


def test_region_in_the_maps_layout() -> None:
    """OpenVINO's: centers, objectness and classes as likelihoods, sizes as they come."""
    expected = X.copy()
    for n, row, column in np.ndindex(2, 1, 2):
        for first in (0, 7):
            box = expected[n, first : first + 7, row, column]
            box[[0, 1, 4]] = [sigmoid(t) for t in box[[0, 1, 4]]]
            box[5:] = softmax(box[5:])
    params = 'region_param { classes: 2 coords: 4 num: 2 anchors: "0.8,1.2, 2.5,2" }'
    assert_computes(built("Region", params), expected, X)


@pytest.mark.parametrize("classes", ["", "softmax: true"])
def test_region_cell_by_cell(classes: str) -> None:
    """caffe_yolo_v2's: all values of a cell are neighbors in memory."""
    expected = []
    for n, row, column in np.ndindex(2, 1, 2):
        for first in (0, 7):
            box = X[n, first : first + 7, row, column].copy()
            box[4] = sigmoid(box[4])
            if classes:
                box[5:] = softmax(box[5:])
            expected.append(box)
    params = f"region_param {{ classes: 2 boxes_of_each_grid: 2 {classes} }}"
    assert_computes(built("Region", params), np.concatenate(expected).reshape(X.shape), X)


@pytest.mark.parametrize(("more", "limit"), [("threshold: 0.3", 0.3), ("thresh: 0.1", 0.1)])
def test_region_with_boxes_and_scores(more: str, limit: float) -> None:
    """zhang-xin's, and one that spells two fields otherwise."""
    x = 3 * distinct(1, 3 * 7, 2, 2)
    boxes, scores = np.zeros((3, 2, 2, 4)), np.zeros((3, 2, 2, 3))
    for n, row, column in np.ndindex(3, 2, 2):
        t = x[0, n * 7 : n * 7 + 7, row, column]
        boxes[n, row, column] = [
            (column + sigmoid(t[0])) / 2,
            (row + sigmoid(t[1])) / 2,
            math.exp(t[2]) * BIASES[2 * n] / 2,
            math.exp(t[3]) * BIASES[2 * n + 1] / 2,
        ]
        likely = sigmoid(t[4]) * softmax(t[5:])
        scores[n, row, column] = [s if s > limit else 0 for s in (*likely, max(likely))]
    assert 3 < np.count_nonzero(scores) < 36
    fields = [f"biases: {bias}" for bias in BIASES]
    classes = "num_class" if "thresh:" in more else "num_classes"
    params = f"region_loss_param {{ side: 2 num: 3 {classes}: 2 {more} {' '.join(fields)} }}"
    layer = built("Region", params, tops=2)
    for got, expected in zip(run_all(layer, x), (boxes, scores), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)
    check_gradient(layer, x)


@pytest.mark.parametrize(
    ("kind", "params", "shape", "message"),
    [
        ("Region", "region_param { classes: 2 }", (1, 21, 2, 3), "5 boxes with 7 channels each"),
        ("Region", "region_param { classes: 2 num: 2 }", (1, 21, 2, 3), "need 14 channels"),
        ("Region", "region_loss_param { num_classes: 2 }", (1, 21, 2, 3), "it has two tops"),
    ],
)
def test_what_makes_no_sense(kind: str, params: str, shape: tuple[int, ...], message: str) -> None:
    assert message in refused(kind, params, shape)

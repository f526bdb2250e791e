"""Heads of detectors against slow loops over the published definitions, and numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.torch_layers import built, refused, run, run_all
from hypothesis import given, settings
from hypothesis import strategies as st

from deepvis_caffe.engines.boxes import jaccard, suppress

few = settings(deadline=None, derandomize=True, max_examples=25)

RNG = np.random.default_rng(0)


def agrees(function, expected, *bottoms, tolerance=1e-6):
    np.testing.assert_allclose(run(function, *bottoms), expected, rtol=tolerance, atol=tolerance)


def test_heads_have_no_gradient():
    x = torch.zeros(1, 3, 2, 2, requires_grad=True)
    priors = built("PriorBox", "prior_box_param { min_size: 4 }", bottoms=2)(x, x)
    assert not priors.requires_grad
    params = "detection_output_param { num_classes: 2 nms_param { } }"
    scores = torch.ones(1, 8, requires_grad=True)
    offsets = torch.zeros(1, 16, requires_grad=True)
    found = built("DetectionOutput", params, bottoms=3)(offsets, scores, priors)
    assert not found.requires_grad


# -- non-maximum suppression ---------------------------------------------------------------------


def iou(a, b):
    """Of two boxes with corners in unit coordinates."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    one, other = ((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return width * height / (one + other - width * height)


def slow_nms(boxes, threshold, eta=1.0):
    """As in SSD: each box against all that were kept, with a threshold that falls."""
    kept = []
    for i, box in enumerate(boxes):
        if all(iou(box, boxes[j]) <= threshold for j in kept):
            kept.append(i)
            if eta < 1 and threshold > 0.5:
                threshold *= eta
    return kept


def random_boxes(count, seed=0):
    corners = np.random.default_rng(seed).uniform(0, 1, (count, 2, 2))
    return np.sort(corners, 1).reshape(count, 4)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.45, 0.7, 1.0])
@pytest.mark.parametrize("eta", [1.0, 0.8])
def test_suppression_is_each_box_against_all_that_were_kept(threshold, eta):
    boxes = random_boxes(60)
    expected = slow_nms(boxes, threshold, eta)
    assert suppress(boxes, threshold, jaccard, eta=eta) == expected
    assert 1 <= len(expected) <= 60


def test_a_box_at_the_threshold():
    #  the second box is half of the first: overlap 1/2
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 0.5]])
    assert suppress(boxes, 0.5, jaccard) == [0, 1]
    assert suppress(boxes, 0.5, jaccard, at_threshold=False) == [0]
    assert suppress(boxes[:0], 0.5, jaccard) == []


def test_a_box_that_was_dropped_drops_no_other():
    #  a, b, c each overlap the next by 3/5: b goes, and c stays, because b is gone
    boxes = np.array([[0, 0, 4, 1], [1, 0, 5, 1], [2, 0, 6, 1]]) / 6
    assert suppress(boxes, 0.5, jaccard) == [0, 2]


# -- PriorBox ------------------------------------------------------------------------------------


def test_prior_boxes_by_hand():
    # A map of 1 x 2 positions over an image 8 wide and 4 high: steps of 4, centers (2, 2), (6, 2).
    # min_size 2: a square 1..3; max_size 8: a square of 4, 0..4; aspect ratio 4: 4 x 1, and 1 x 4.
    params = "min_size: 2 max_size: 8 aspect_ratio: 4 variance: .1 variance: .1 variance: .2"
    function = built("PriorBox", f"prior_box_param {{ {params} variance: .3 }}", bottoms=2)
    top = run(function, np.zeros((1, 5, 1, 2)), np.zeros((1, 3, 4, 8)))
    first = np.array([[1, 1, 3, 3], [0, 0, 4, 4], [0, 1.5, 4, 2.5], [1.5, 0, 2.5, 4]])
    second = first + np.array([4, 0, 4, 0])
    expected = np.concatenate([first, second]) / [8, 4, 8, 4]
    np.testing.assert_allclose(top[0, 0].reshape(-1, 4), expected, atol=1e-7)
    np.testing.assert_allclose(top[0, 1].reshape(-1, 4), [[0.1, 0.1, 0.2, 0.3]] * 8)


def slow_priors(size, image, least, most, ratios, flip, clip, step, offset, **forks):
    """The loops of SSD's PriorBox; sizes become integers there."""
    height, width = size
    image_h, image_w = image
    step_h, step_w = step or (image_h / height, image_w / width)
    every = [1.0]
    for ratio in ratios:
        if ratio not in every:
            every += [ratio, 1 / ratio] if flip else [ratio]
    boxes = []
    for row in range(height):
        for column in range(width):
            x, y = (column + offset) * step_w, (row + offset) * step_h
            for i, one in enumerate(map(int, least)):
                shapes = [(one / 2, one / 2) if forks.get("reduce_boxes") else (one, one)]
                if most:
                    shapes.append((math.sqrt(one * int(most[i])),) * 2)
                shapes += [(one * math.sqrt(a), one / math.sqrt(a)) for a in every if a != 1]
                for w, h in shapes:
                    centers = [y]
                    if forks.get("denser_prior_boxes"):
                        centers.append((row + 1) * step_h)
                    for middle in centers:
                        left, right = (x - w / 2) / image_w, (x + w / 2) / image_w
                        above, below = (middle - h / 2) / image_h, (middle + h / 2) / image_h
                        boxes.append([left, above, right, below])
    return np.clip(boxes, 0, 1) if clip else np.array(boxes)


def written(**fields):
    """Options as prototxt text; a list is a repeated field, None is left out."""
    parts = []
    for name, value in fields.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is not None:
                parts.append(f"{name}: {str(one).lower() if isinstance(one, bool) else one}")
    return " ".join(parts)


@few
@given(
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    least=st.lists(st.sampled_from([3, 7.5, 60.5]), min_size=1, max_size=2),
    grow=st.sampled_from([None, 11, 20.75]),
    ratios=st.lists(st.sampled_from([1, 2, 3, 0.5]), max_size=3),
    flip=st.booleans(),
    clip=st.booleans(),
    step=st.sampled_from([None, (8, 8), (4, 16)]),
    offset=st.sampled_from([0.5, 0, 0.25]),
    image=st.sampled_from([None, (30, 30), (20, 40)]),
    fork=st.sampled_from([None, "reduce_boxes", "denser_prior_boxes"]),
)
def test_prior_boxes(size, least, grow, ratios, flip, clip, step, offset, image, fork):
    most = [one + grow for one in least] if grow else []
    options = {"min_size": least, "max_size": most, "aspect_ratio": ratios, "offset": offset}
    options |= {"flip": flip, "clip": clip, "variance": 0.25}
    if step and step[0] == step[1]:
        options["step"] = step[0]
    elif step:
        options |= {"step_h": step[0], "step_w": step[1]}
    if image and image[0] == image[1]:
        options["img_size"] = image[0]
    elif image:
        options |= {"img_h": image[0], "img_w": image[1]}
    forks = {fork: True} if fork else {}
    function = built("PriorBox", f"prior_box_param {{ {written(**options, **forks)} }}", bottoms=2)
    top = run(function, np.zeros((2, 3, *size)), np.zeros((2, 3, 24, 36)))
    boxes = slow_priors(
        size, image or (24, 36), least, most, ratios, flip, clip, step, offset, **forks
    )
    expected = np.stack([boxes.ravel(), np.full(boxes.size, 0.25)])[None]
    np.testing.assert_allclose(top, expected, rtol=1e-6, atol=1e-6)


def test_prior_boxes_of_given_sizes():
    """OpenVINO's: one box for each width and height, whatever their ratio."""
    params = written(width=[3.5, 8], height=[6, 1.25], step=4, offset=0.25, variance=0.5)
    function = built("PriorBoxClustered", f"prior_box_param {{ {params} }}", bottoms=2)
    top = run(function, np.zeros((1, 1, 2, 3)), np.zeros((1, 3, 16, 20)))
    expected = []
    for row, column in np.ndindex(2, 3):
        x, y = (column + 0.25) * 4, (row + 0.25) * 4
        for w, h in ((3.5, 6), (8, 1.25)):
            expected += [(x - w / 2) / 20, (y - h / 2) / 16, (x + w / 2) / 20, (y + h / 2) / 16]
    np.testing.assert_allclose(top, [[expected, [0.5] * len(expected)]], rtol=1e-6)
    message = refused(
        "PriorBoxClustered", "prior_box_param { width: 2 }", (1, 1, 2, 2), (1, 3, 8, 8)
    )
    assert "takes a width and a height for each box" in message


# -- DetectionOutput -----------------------------------------------------------------------------


def slow_decode(prior, variance, offset, code):
    """One box: SSD's three ways of writing it as an offset from a prior box."""
    left, top, right, bottom = prior
    width, height = right - left, bottom - top
    a, b, c, d = np.multiply(variance, offset)
    if code == "CORNER":
        return [left + a, top + b, right + c, bottom + d]
    if code == "CORNER_SIZE":
        return [left + a * width, top + b * height, right + c * width, bottom + d * height]
    x, y = a * width + (left + right) / 2, b * height + (top + bottom) / 2
    width, height = math.exp(c) * width, math.exp(d) * height
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def slow_detections(boxes, scores, background, threshold, nms, eta, top_k, keep):
    """Rows of SSD's DetectionOutput from decoded boxes (N, classes, P, 4) and scores (N, P, C)."""
    rows = []
    for image in range(len(scores)):
        own = []
        for label in range(scores.shape[2]):
            if label == background:
                continue
            order = list(np.argsort(-scores[image, :, label], kind="stable"))
            order = [p for p in order if scores[image, p, label] > threshold]
            order = order if top_k is None else order[:top_k]
            for i in slow_nms([boxes[image, label, p] for p in order], nms, eta):
                p = order[i]
                score, box = scores[image, p, label], boxes[image, label, p]
                own.append([image, label, score, *box])
        if keep is not None and len(own) > keep:
            own = sorted(own, key=lambda row: -row[2])[:keep]
            own.sort(key=lambda row: row[1])
        rows += own
    return rows or [[image] + [-1] * 6 for image in range(len(scores))]


@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize(
    ("background", "threshold", "nms", "eta", "top_k", "keep", "in_target"),
    [
        (0, 0.6, 0.45, 1.0, None, None, False),
        (0, 0.01, 0.45, 1.0, 400, 5, False),
        (1, 0.3, 0.7, 0.75, 8, 10, False),
        (2, 0.9, 0.1, 1.0, 3, 0, True),
        (-1, -math.inf, 0.3, 1.0, 4, 7, True),
        (0, 1.5, 0.3, 1.0, None, None, False),
    ],
)
def test_detections(code, share, background, threshold, nms, eta, top_k, keep, in_target):
    images, priors, classes = 2, 12, 3
    rng = np.random.default_rng(3)
    prior = random_boxes(priors) * 0.5 + np.array([0, 0, 0.3, 0.3])
    variance = rng.uniform(0.1, 0.3, (priors, 4))
    located = 1 if share else classes
    offsets = rng.standard_normal((images, priors, located, 4)) * 0.5
    scores = rng.uniform(0, 1, (images, priors, classes))
    boxes = np.zeros((images, classes, priors, 4))
    for image, label, p in np.ndindex(images, classes, priors):
        used = np.ones(4) if in_target else variance[p]
        offset = offsets[image, p, 0 if share else label]
        boxes[image, label, p] = slow_decode(prior[p], used, offset, code)
    expected = slow_detections(boxes, scores, background, threshold, nms, eta, top_k, keep)
    suppression = written(nms_threshold=nms, eta=eta, top_k=top_k)
    params = written(
        num_classes=classes,
        share_location=share,
        background_label_id=background,
        code_type=code,
        variance_encoded_in_target=in_target,
        keep_top_k=keep,
        confidence_threshold=threshold if math.isfinite(threshold) else None,
    )
    function = built(
        "DetectionOutput",
        f"detection_output_param {{ {params} nms_param {{ {suppression} }} }}",
        bottoms=3,
    )
    reference = np.stack([prior.ravel(), variance.ravel()])[None]
    top = run(function, offsets.reshape(images, -1), scores.reshape(images, -1), reference)
    assert top.shape == (1, 1, len(expected), 7)
    np.testing.assert_allclose(top[0, 0], expected, rtol=1e-5, atol=1e-6)


def test_detections_by_hand():
    # Two priors, 0..0.5 and 0.5..1 of the image in both directions, moved by 0.1 of their size
    # times a variance of 1; classes: background and one other.
    params = "num_classes: 2 code_type: CENTER_SIZE confidence_threshold: 0.5 nms_param { }"
    function = built("DetectionOutput", f"detection_output_param {{ {params} }}", bottoms=3)
    priors = np.array([[[0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1], [1] * 8]], float)
    offsets = np.array([[0.1, 0, 0, 0, 0, 0.1, 0, math.log(2)]])
    scores = np.array([[0.25, 0.75, 0.125, 0.875]])
    first = [0, 1, 0.875, 0.5, 0.3, 1.0, 1.3]  # twice as high around 0.75 + 0.05
    second = [0, 1, 0.75, 0.05, 0, 0.55, 0.5]
    agrees(function, [[[first, second]]], offsets, scores, priors)
    # The same for nothing above the threshold, in three images: their numbers, and -1.
    nothing = [[i, -1, -1, -1, -1, -1, -1] for i in range(3)]
    agrees(function, [[nothing]], np.zeros((3, 8)), np.zeros((3, 4)), priors)


def test_refinedet_moves_its_priors_and_drops_unlikely_ones():
    priors = np.array([[[0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1], [0.5] * 8]], float)
    params = "num_classes: 2 code_type: CENTER_SIZE confidence_threshold: 0.5 nms_param { }"
    params = f"detection_output_param {{ {params} objectness_score: 0.25 }}"
    function = built("DetectionOutput", params, bottoms=5)
    scores = np.array([[0.25, 0.75, 0.125, 0.875]])
    objects = np.array([[0.1, 0.9, 0.8, 0.2]])  # the second prior is no object
    moves = np.array([[0.4, 0, 0, 0, 0, 0, 0, 0]])  # by 0.5 * 0.4 * 0.5 = 0.1 to the right
    offsets = np.array([[0, 0.2, 0, 0, 0, 0, 0, 0]])  # by 0.05 down
    row = [0, 1, 0.75, 0.1, 0.05, 0.6, 0.55]
    agrees(function, [[[row]]], offsets, scores, priors, objects, moves)
    four = built("DetectionOutput", params, bottoms=4)
    row = [0, 1, 0.75, 0, 0.05, 0.5, 0.55]
    agrees(four, [[[row]]], offsets, scores, priors, objects)


def test_a_picture_to_draw_on_is_not_a_first_stage():
    priors = np.array([[[0, 0, 0.5, 0.5], [0.5] * 4]], float)
    params = "num_classes: 2 visualize: true confidence_threshold: 0.5 nms_param { }"
    function = built("DetectionOutput", f"detection_output_param {{ {params} }}", bottoms=4)
    row = [0, 1, 0.75, 0, 0, 0.5, 0.5]
    picture = np.zeros((1, 3, 4, 4))
    agrees(function, [[[row]]], np.zeros((1, 4)), np.array([[0.25, 0.75]]), priors, picture)


# -- YOLO ----------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def slow_iou_nms(boxes, threshold):
    """MobileNet-YOLO's: a box goes if one that stays before it overlaps it that much or more."""
    gone = set()
    for i in range(len(boxes)):
        for j in range(i + 1, len(boxes)):
            if i not in gone and j not in gone and iou(boxes[i], boxes[j]) >= threshold:
                gone.add(j)
    return [i for i in range(len(boxes)) if i not in gone]


def slow_cells(x, boxes, biases, classes):
    """Of one image (C, H, W): x, y, w, h, objectness and softmax of each box, cell by cell."""
    found = []
    _, height, width = x.shape
    each = 5 + classes
    for row, column, n in np.ndindex(height, width, boxes):
        t = x[n * each : (n + 1) * each, row, column]
        box = [(column + sigmoid(t[0])) / width, (row + sigmoid(t[1])) / height]
        box += [math.exp(t[2]) * biases[2 * n] / width, math.exp(t[3]) * biases[2 * n + 1] / height]
        powers = np.exp(t[5:])
        found.append((box, sigmoid(t[4]) * powers / powers.sum()))
    return found


def corners(box):
    x, y, w, h = box
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


BIASES = [0.8, 1.2, 2.5, 2, 1, 3]


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.9])
def test_caffe_yolov2s_detections(threshold):
    """Labels from 0; center, width and height; the first of overlapping boxes stays."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((1, 3 * 7, 4, 4))
    params = written(num_classes=2, num_box=3, side=4, confidence_threshold=threshold)
    params += " " + written(nms_threshold=0.3, biases=BIASES)
    likely = [
        (box, scores) for box, scores in slow_cells(x[0], 3, BIASES, 2) if max(scores) >= threshold
    ]
    clipped = [np.clip(corners(box), 0, 1) for box, _ in likely]
    rows = [
        [0, np.argmax(likely[i][1]), max(likely[i][1]), *likely[i][0]]
        for i in slow_iou_nms(clipped, 0.3)
    ]
    function = built("DetectionOutput", f"detection_output_param {{ {params} }}")
    agrees(function, [[rows or [[0] + [-1] * 6]]], x)


@pytest.mark.parametrize("threshold", [0.02, 0.3, 0.9])
def test_caffe_yolo_v2s_detections(threshold):
    """The same, with `classes`; of two that overlap that of more objectness stays."""
    rng = np.random.default_rng(8)
    x = rng.standard_normal((1, 3 * 7, 4, 4))
    params = written(classes=2, num_box=3, side=4, confidence_threshold=threshold)
    params += " " + written(nms_threshold=0.3, biases=BIASES)
    likely = [one for one in slow_cells(x[0], 3, BIASES, 2) if max(one[1]) >= threshold]
    boxes = [np.clip(corners(box), 0, 1) for box, _ in likely]
    objects = [sum(scores) for _, scores in likely]  # the softmax sums up to 1
    gone: set[int] = set()
    for i in range(len(likely)):
        for j in range(i + 1, len(likely)):
            if i not in gone and j not in gone and iou(boxes[i], boxes[j]) >= 0.3:
                gone.add(j if objects[i] > objects[j] else i)
    rows = [
        [0, np.argmax(scores), max(scores), *box]
        for i, (box, scores) in enumerate(likely)
        if i not in gone
    ]
    assert threshold > 0.3 or len(gone) > 2
    function = built("DetectionOutput", f"detection_output_param {{ {params} }}")
    agrees(function, [[rows or [[0] + [-1] * 6]]], x)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("size", "picture"),
    [((0, 0), (96, 128)), ((60, 200), (38, 128)), ((300.7, 100), (96, 32))],
)
def test_region_output(together, size, picture):
    """Boxes are in pixels of an image that fills part of the net's input, 96 by 128 pixels."""
    rng = np.random.default_rng(9)
    x = rng.standard_normal((1, 3 * 7, 3, 4))
    params = written(classes=2, biases=BIASES, thresh=0.1, nms=0.3, class_specific_nms=not together)
    found = slow_cells(x[0], 3, BIASES, 2)
    found = [found[cell * 3 + n] for n in range(3) for cell in range(12)]
    height, width = (int(n) for n in size) if any(size) else (96, 128)
    top, left = (96 - picture[0]) / 2, (128 - picture[1]) / 2
    boxes = np.array(
        [
            [
                (box[0] * 128 - left) / picture[1] * width,
                (box[1] * 96 - top) / picture[0] * height,
                box[2] * 128 / picture[1] * width,
                box[3] * 96 / picture[0] * height,
            ]
            for box, _ in found
        ]
    )
    scores = np.array(
        [[*(s if s > 0.1 else 0 for s in scores), max(scores)] for _, scores in found]
    )
    for column in [2] if together else [0, 1]:
        order = np.argsort(-scores[:, column], kind="stable")
        order = [i for i in order if scores[i, column]]
        kept = slow_iou_nms([corners(boxes[i]) for i in order], 0.3)
        for place, i in enumerate(order):
            if place not in kept:
                scores[i, slice(None) if together else column] = 0
    function = built("RegionOutput", f"region_output_param {{ {params} }}", bottoms=2, tops=2)
    tops = run_all(function, x, np.array([size], float))
    np.testing.assert_allclose(tops[0], boxes[None], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(tops[1], scores[None], rtol=1e-6, atol=1e-6)
    assert 5 < np.count_nonzero(tops[1][0, :, :2]) < 72


@pytest.mark.parametrize("maps", [1, 2])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.99])
def test_yolo_detections(maps, threshold):
    rng = np.random.default_rng(6)
    xs = [rng.standard_normal((2, 3 * 7, side, side)) for side in (3, 5)[:maps]]
    params = written(num_classes=2, num_box=3, confidence_threshold=threshold)
    params += " " + written(nms_threshold=0.4, biases=BIASES)
    rows = []
    for image in range(2):
        every = [pair for x in xs for pair in slow_cells(x[image], 3, BIASES, 2)]
        likely = sorted((p for p in every if max(p[1]) >= threshold), key=lambda p: -max(p[1]))
        boxes = [corners(box) for box, _ in likely]
        for i in slow_iou_nms(boxes, 0.4):
            scores = likely[i][1]
            rows.append([image, np.argmax(scores) + 1, max(scores), *boxes[i]])
    rows = rows or [[image] + [-1] * 6 for image in range(2)]
    function = built(
        "YoloDetectionOutput", f"yolo_detection_output_param {{ {params} }}", bottoms=maps
    )
    agrees(function, [[rows]], *xs)


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("threshold", [0.1, 0.35, 0.99])
def test_yolov3_detections(gaussian, threshold):
    """Two maps, 8 and 4 pixels a cell, with boxes 2, 0 and 1, 2 of three; sizes in pixels."""
    rng = np.random.default_rng(7)
    each = (9 if gaussian else 5) + 2
    xs = [rng.standard_normal((2, 2 * each, *size)) for size in ((2, 3), (4, 6))]
    biases, masks, scales = [6, 9, 20, 8, 12, 30], [[2, 0], [1, 2]], [8, 4]
    rows = []
    for image in range(2):
        likely = []
        for x, mask, scale in zip(xs, masks, scales, strict=True):
            _, _, height, width = x.shape
            for row, column, n in np.ndindex(height, width, 2):
                t = x[image, n * each : (n + 1) * each, row, column]
                coordinates = t[[0, 2, 4, 6]] if gaussian else t[:4]
                sure = (4 - sum(map(sigmoid, t[[1, 3, 5, 7]]))) / 4 if gaussian else 1
                objectness, classes = t[8 if gaussian else 4], t[9 if gaussian else 5 :]
                box = [(column + sigmoid(coordinates[0])) / width]
                box += [(row + sigmoid(coordinates[1])) / height]
                box += [math.exp(coordinates[2]) * biases[2 * mask[n]] / (width * scale)]
                box += [math.exp(coordinates[3]) * biases[2 * mask[n] + 1] / (height * scale)]
                for label, score in enumerate(classes):
                    confidence = sigmoid(score) * sigmoid(objectness) * sure
                    if confidence > threshold:
                        likely.append((confidence, label, corners(box)))
        likely.sort(key=lambda one: -one[0])
        for i in slow_iou_nms([box for _, _, box in likely], 0.4):
            confidence, label, box = likely[i]
            rows.append([image, label + 1, confidence, *box])
    rows = rows or [[image] + [-1] * 6 for image in range(2)]
    params = written(num_classes=2, num_box=2, confidence_threshold=threshold, nms_threshold=0.4)
    params += " " + written(biases=biases, mask=[*masks[0], *masks[1]], anchors_scale=scales)
    params += " " + written(mask_group_num=2, gaussian_box=gaussian)
    params = f"yolov3_detection_output_param {{ {params} }}"
    agrees(built("Yolov3DetectionOutput", params, bottoms=2), [[rows]], *xs)

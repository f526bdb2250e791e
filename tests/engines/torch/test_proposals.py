"""Layers that propose regions against slow loops over their definitions, and published numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.engine_nets import layer, load_text, net_text
from helpers.torch_layers import assert_computes, built, run_all

from deepvis_caffe.engines.torch.layers.proposals import anchors, half_up
from deepvis_caffe.errors import EngineError, ModelError
from deepvis_caffe.model.python_layers import ProposalOptions, proposal_options

RATIOS, SCALES = (0.5, 1, 2), (2, 4)
BOXES = len(RATIOS) * len(SCALES)


def test_reference_boxes_are_the_published_ones():
    """The nine of Faster R-CNN; its MATLAB code counts pixels from 1."""
    published = [
        *([-83, -39, 100, 56], [-175, -87, 192, 104], [-359, -183, 376, 200]),
        *([-55, -55, 72, 72], [-119, -119, 136, 136], [-247, -247, 264, 264]),
        *([-35, -79, 52, 96], [-79, -167, 96, 184], [-167, -343, 184, 360]),
    ]
    np.testing.assert_array_equal(anchors(16, RATIOS, (8, 16, 32)), np.array(published) - 1)


def test_a_side_of_half_a_pixel_is_rounded_as_the_language_does():
    """Base 3, ratio 0.625: 3.79 wide, so 4, and 2.5 high: 2 in Python, 3 in C."""
    python, c = (anchors(3, [0.625], [1], rule) for rule in (np.rint, half_up))
    np.testing.assert_array_equal(python, [[-0.5, 0.5, 2.5, 1.5]])
    np.testing.assert_array_equal(c, [[-0.5, 0, 2.5, 2]])


def pixel_iou(a, b):
    """Of two boxes whose last pixel is included."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    one, other = ((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
    return width * height / (one + other - width * height)


def slow_boxes(scores, offsets, reference, stride, height, width):
    """Of one image: score and clipped box of each reference box at each position."""
    found = []
    count = len(reference)
    for row, column, n in np.ndindex(*scores.shape[1:], count):
        left, top, right, bottom = reference[n] + np.array([column, row, column, row]) * stride
        w, h = right - left + 1, bottom - top + 1
        dx, dy, dw, dh = offsets[4 * n : 4 * n + 4, row, column]
        x, y = dx * w + left + w / 2, dy * h + top + h / 2
        w, h = w * math.exp(dw), h * math.exp(dh)
        box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        limits = [width - 1, height - 1] * 2
        box = [min(max(c, 0), limit) for c, limit in zip(box, limits, strict=True)]
        found.append((scores[count + n, row, column], box))
    return found


def slow_kept(boxes, overlap, threshold, most):
    kept = []
    for i, box in enumerate(boxes):
        if len(kept) < most and all(overlap(box, boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def sides(box):
    return box[2] - box[0] + 1, box[3] - box[1] + 1


def maps(images, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, (images, 2 * BOXES, 3, 4))
    return scores, rng.standard_normal((images, 4 * BOXES, 3, 4)) * 0.5


@pytest.mark.parametrize("info", [[40, 50, 1, 1], [40, 50, 1.5, 2], [40, 50, 2]])
@pytest.mark.parametrize(("before", "after", "threshold"), [(6000, 300, 0.7), (30, 5, 0.3)])
def test_proposals(info, before, after, threshold):
    scores, offsets = maps(2)
    params = " ".join(f"ratio: {one}" for one in RATIOS) + " scale: 2 scale: 4 feat_stride: 12 "
    params += f"min_size: 9 pre_nms_topn: {before} post_nms_topn: {after} nms_thresh: {threshold}"
    function = built("Proposal", f"proposal_param {{ {params} }}", bottoms=3, tops=2)
    rows, found = run_all(function, scores, offsets, np.array([info, info], float))
    reference = anchors(16, RATIOS, SCALES)
    expected, high = [], []
    for image in range(2):
        boxes = slow_boxes(scores[image], offsets[image], reference, 12, 40, 50)
        least = 9 * info[3 if len(info) > 3 else 2], 9 * info[2]
        boxes = [
            (score if all(s >= m for s, m in zip(sides(box), least, strict=True)) else 0, box)
            for score, box in boxes
        ]
        assert 0 < sum(score == 0 for score, _ in boxes) < len(boxes)
        order = sorted(range(len(boxes)), key=lambda i: -boxes[i][0])[:before]
        kept = slow_kept([boxes[i][1] for i in order], pixel_iou, threshold, after)
        expected += [[image, *boxes[order[i]][1]] for i in kept]
        high += [boxes[order[i]][0] for i in kept]
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found, high, rtol=1e-6)


def proposal_layer(tops=1):
    text = "'feat_stride': 12, 'scales': [2, 4]"
    code = f"module: 'rpn.proposal_layer' layer: 'ProposalLayer' param_str: \"{text}\""
    return built("ProposalLayer", f"python_param {{ {code} }}", bottoms=3, tops=tops)


@pytest.mark.parametrize("scale", [1, 1.5])
def test_the_python_layer_of_faster_rcnn(scale):
    """At most 300, of 16 pixels and more in the image before it was scaled."""
    rng = np.random.default_rng(1)
    scores = rng.uniform(0, 1, (1, 2 * BOXES, 12, 14))
    offsets = rng.standard_normal((1, 4 * BOXES, 12, 14)) * 0.5
    rows, found = run_all(proposal_layer(2), scores, offsets, np.array([[140, 160, scale]], float))
    reference = anchors(16, RATIOS, SCALES)
    boxes = slow_boxes(scores[0], offsets[0], reference, 12, 140, 160)
    boxes = [(score, box) for score, box in boxes if min(sides(box)) >= 16 * scale]
    boxes.sort(key=lambda one: -one[0])
    kept = slow_kept([box for _, box in boxes], pixel_iou, 0.7, 300)
    np.testing.assert_allclose(rows, [[0, *boxes[i][1]] for i in kept], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found, [[boxes[i][0]] for i in kept], rtol=1e-6)


def test_proposals_have_no_gradient():
    scores, offsets = (torch.tensor(x, requires_grad=True) for x in maps(1))
    top = proposal_layer()(scores, offsets, torch.tensor([[40.0, 50, 1]]))[0]
    assert not top.requires_grad


# -- which Python layers are this one ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'feat_stride': 16", ProposalOptions(16)),
        ("feat_stride: 8\nscales: [4, 8]", ProposalOptions(8, scales=(4, 8))),
        (
            "'feat_stride': 16 \n'scales': !!python/tuple [4, 8, 16, 32]",
            ProposalOptions(16, scales=(4, 8, 16, 32)),
        ),
        (
            "{'feat_stride': 16, 'ratios': [0.333, .5, 1], 'scales': (2, 3)}",
            ProposalOptions(16, (0.333, 0.5, 1), (2, 3)),
        ),
        ("{ 'feat_stride': 16, 'use_clip': 1, 'clip_base': 512 }", ProposalOptions(16)),
    ],
)
def test_options_of_the_python_layer(text, expected):
    assert proposal_options(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "has no feat_stride"), ("{'feat_stride': 16, 'allow': 2}", r"unknown option\(s\) allow")],
)
def test_options_that_make_no_sense(text, message):
    with pytest.raises(ModelError, match=message):
        proposal_options(text)


def rpn(module: str, text: str) -> str:
    code = f'python_param {{ module: "{module}" layer: "ProposalLayer" param_str: "{text}" }}'
    return net_text(
        layer("rois", "Python", "scores offsets info", "", code),
        layer("moved", "Power", "rois", "", "power_param { shift: 1 }"),
        layer("other", "Power", "scores"),
        scores=(1, 18, 3, 4),
        offsets=(1, 36, 3, 4),
        info=(1, 3),
    )


@pytest.mark.parametrize("module", ["rpn.proposal_layer", "proposal_layer"])
def test_the_python_layer_runs_without_its_code(module: str, tmp_path: Path):
    net = load_text("torch", tmp_path, rpn(module, "'feat_stride': 16"))
    assert not net.opaque
    rng = np.random.default_rng(0)
    inputs = {name: rng.uniform(0, 1, shape) for name, shape in net.inputs.items()}
    inputs["info"] = np.array([[200, 300, 1]])
    values = net.forward(inputs, ["rois", "moved"])
    assert len(values["rois"]) > 1
    np.testing.assert_array_equal(values["moved"], values["rois"] + 1)


@pytest.mark.parametrize(
    ("module", "text"),
    [("my_proposals", "'feat_stride': 16"), ("proposal_layer", "{'feat_stride': 16, 'mine': 1}")],
)
def test_somebodys_own_is_not_taken_for_it(module: str, text: str, tmp_path: Path):
    net = load_text("torch", tmp_path, rpn(module, text))
    assert list(net.opaque) == ["rois"]
    with pytest.raises(EngineError, match=r"'rois' \(Python\) cannot run: .*ProposalLayer"):
        net.forward({name: np.zeros(shape) for name, shape in net.inputs.items()}, ["rois"])


@pytest.mark.pycaffe
def test_caffe_runs_the_users_own_code(caffe, tmp_path: Path, monkeypatch):
    """On that engine it is a Python layer as ever: this one gives a region of its own."""
    (tmp_path / "proposal_layer.py").write_text(
        "import caffe\n"
        "class ProposalLayer(caffe.Layer):\n"
        "    def setup(self, bottom, top):\n"
        "        top[0].reshape(1, 5)\n"
        "    def reshape(self, bottom, top):\n"
        "        pass\n"
        "    def forward(self, bottom, top):\n"
        "        top[0].data[...] = [[0, 1, 2, 3, 4]]\n"
        "    def backward(self, top, propagate_down, bottom):\n"
        "        pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    net = load_text("pycaffe", tmp_path, rpn("proposal_layer", "'feat_stride': 16"))
    values = net.forward({name: np.zeros(shape) for name, shape in net.inputs.items()})
    assert values["moved"].tolist() == [[1, 2, 3, 4, 5]]


# -- MS-CNN --------------------------------------------------------------------------------------


def slow_overlap(a, b, kind):
    """Of boxes left, top, width, height; a is the one that scores higher."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    one, other = a[2] * a[3], b[2] * b[3]
    over = {"IOU": one + other - width * height, "IOMU": min(one, other), "IOFU": one}[kind]
    return width * height / over


def slow_mscnn(maps, image, fields, rates, threshold, least, reg):
    """(score, index, box) of every box of an image that is likely and large enough."""
    found = []
    for x, (field_w, field_h), rate in zip(maps, fields, rates, strict=True):
        _, _, height, width = x.shape
        for row, column in np.ndindex(height, width):
            t = x[image, :, row, column]
            score = max(t[1:-4]) - t[0]
            if score < threshold:
                continue
            bx, by, bw, bh = t[-4:] * reg[1] + reg[0]
            bx, by = (min(max(b, -0.5), 0.5) for b in (bx, by))
            bw, bh = (min(max(b, -math.log(3)), math.log(3)) for b in (bw, bh))
            bx, by = bx * field_w + (column + 0.5) * rate, by * field_h + (row + 0.5) * rate
            bw, bh = field_w * math.exp(bw), field_h * math.exp(bh)
            bx, by = max(bx - bw / 2, 0), max(by - bh / 2, 0)
            bw, bh = min(bw, width * rate - bx), min(bh, height * rate - by)
            if bw >= least and bh >= least:
                found.append((score, len(found), [bx, by, bw, bh]))
    return found


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(
    ("kind", "before", "after", "threshold"),
    [("IOU", 0, 0, -1), ("IOMU", 7, 0, -1), ("IOFU", 0, 2, -1), ("IOU", 0, 0, 9)],
)
def test_boxes_of_mscnn(kind, before, after, threshold, normalized):
    rng = np.random.default_rng(2)
    maps = [rng.standard_normal((2, 7, *size)) for size in ((4, 6), (2, 3))]
    fields, rates, least = [(20, 14), (30, 40)], [8, 16], 9
    params = " ".join(f"field_w: {w} field_h: {h}" for w, h in fields)
    params += " " + " ".join(f"downsample_rate: {rate}" for rate in rates)
    params += f" fg_thr: {threshold} iou_thr: 0.3 nms_type: '{kind}' field_whr: 3 field_xyr: 2"
    params += f" max_nms_num: {before} max_post_nms_num: {after} min_size: {least}"
    text = f"box_output_param {{ {params} }}"
    reg = np.zeros(4), np.ones(4)
    if normalized:
        reg = np.array([0.1, 0, -0.1, 0]), np.array([0.25, 0.5, 0.5, 1])
        means, deviations = (
            " ".join(f"{name}: {one}" for one in values)
            for name, values in zip(("bbox_mean", "bbox_std"), reg, strict=True)
        )
        text += f" bbox_reg_param {{ {means} {deviations} }}"
    expected = []
    for image in range(2):
        found = slow_mscnn(maps, image, fields, rates, threshold, least, reg)
        found = sorted(found, reverse=True)[: before or None]
        kept: list[int] = []
        for i, (_, _, box) in enumerate(found):
            if all(slow_overlap(found[j][2], box, kind) <= 0.3 for j in kept):
                kept.append(i)
        for i in kept[: after or None]:
            score, _, (x, y, w, h) = found[i]
            expected.append([image, x, y, x + w, y + h, score])
    assert bool(expected) == (threshold < 9)
    regions, scored = run_all(built("BoxOutput", text, bottoms=2, tops=2), *maps)
    if expected:
        rows = np.array(expected)[:, :, None, None]
        np.testing.assert_allclose(scored, rows, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(regions, rows[:, :5], rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(regions.reshape(-1), [0, 1, 1, 10, 10])
        np.testing.assert_array_equal(scored, np.zeros((1, 6, 1, 1)))


def test_of_equal_scores_the_later_box_comes_first():
    params = "field_w: 8 field_h: 8 downsample_rate: 20 min_size: 1"
    function = built("BoxOutput", f"box_output_param {{ {params} }}")
    (regions,) = run_all(function, np.zeros((1, 6, 1, 2)))
    np.testing.assert_allclose(regions[:, :, 0, 0], [[0, 26, 6, 34, 14], [0, 6, 6, 14, 14]])


@pytest.mark.parametrize("normalized", [False, True])
def test_decoded_boxes(normalized):
    rng = np.random.default_rng(3)
    offsets, corners = rng.standard_normal((4, 8)), np.sort(rng.uniform(0, 50, (4, 2, 2)), 1)
    rois = np.concatenate([[[0], [1], [0], [2]], corners.reshape(4, 4)], 1)
    text, mean, deviation = "", np.zeros(4), np.ones(4)
    if normalized:
        mean, deviation = np.array([0.5, 0, -0.5, 0]), np.array([0.25, 0.5, 0.5, 2])
        text = " ".join(
            f"bbox_mean: {m} bbox_std: {d}" for m, d in zip(mean, deviation, strict=True)
        )
        text = f"bbox_reg_param {{ {text} }}"
    expected = []
    for (image, x1, y1, x2, y2), move in zip(rois, offsets[:, 4:] * deviation + mean, strict=True):
        w, h = x2 - x1 + 1, y2 - y1 + 1
        x, y = (x1 + x2) / 2 + move[0] * w, (y1 + y2) / 2 + move[1] * h
        w, h = w * math.exp(move[2]), h * math.exp(move[3])
        left, top = x - (w - 1) / 2, y - (h - 1) / 2
        expected.append([image, left, top, left + w - 1, top + h - 1])
    function = built("DecodeBBox", text, bottoms=2)
    assert_computes(function, np.array(expected), offsets, rois)

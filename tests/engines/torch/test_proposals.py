"""Layers that propose regions against slow loops over their definitions, and published numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.engine_nets import layer, load_text, net_text
from helpers.torch_layers import built, run_all

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
    with pytest.raises(EngineError, match=r"'rois' .* cannot run: .*'Python'"):
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

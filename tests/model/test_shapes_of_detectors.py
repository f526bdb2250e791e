# ruff: noqa: E501 (one net a line)
"""Shapes of the layers that detectors' forks have and stock Caffe does not, worked by hand."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from helpers.engine_nets import layer, net_text

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.graph import Graph, Value
from deepvis_caffe.model.schema_pb2 import NetParameter
from deepvis_caffe.model.shapes import Shapes, infer

INPUTS = {
    "x": (2, 6, 9, 7),
    "data": (2, 3, 36, 28),
    "offsets": (2, 20),
    "scores": (2, 15),
    "priors": (1, 2, 20),
    "ten": (2, 10),
    "eleven": (2, 11),
    "rois": (4, 5),
    "four": (4, 4),
    "sensitive": (2, 18, 9, 7),
}


def of(kind: str, bottoms: str, params: str) -> Shapes:
    inputs = {name: INPUTS[name] for name in dict.fromkeys(bottoms.split())}
    text = net_text(layer("the layer", kind, bottoms, "y", params), **inputs)
    net = text_format.Parse(text, NetParameter())
    return infer(Graph.from_layers("test", net.layer))


# The shape that the fork's Reshape gives the top before the layer runs, and of its weights.
ACCEPTED = [
    ("PriorBox", "x data", "prior_box_param { min_size: 4 aspect_ratio: 2 denser_prior_boxes: true }", (1, 2, 9 * 7 * 3 * 2 * 4)),
    ("DetectionOutput", "offsets scores priors ten offsets", "detection_output_param { num_classes: 3 }", (1, 1, 1, 7)),
    ("ROIPooling", "x rois", "roi_pooling_param { pooled_h: 3 pooled_w: 4 }", (4, 6, 3, 4)),
    ("ROIAlign", "x rois", "roi_pooling_param { pooled_h: 3 pooled_w: 4 }", (4, 6, 4, 5)),
    ("ROIWarping", "x rois", "roi_warping_param { pooled_h: 3 pooled_w: 4 }", (4, 6, 3, 4)),
    ("PSROIAlign", "sensitive rois", "psroi_align_param { spatial_scale: 1 output_dim: 2 group_size: 3 }", (4, 2, 3, 3)),
]  # fmt: skip

REFUSED = [
    ("DetectionOutput", "offsets scores priors eleven", "detection_output_param { num_classes: 3 }", r"RefineDet's 5 priors need 10 scores and 20 locations of the first stage, got \[11\]"),
    ("ROIPooling", "x rois", "roi_pooling_param { pooled_h: 3 }", "pooled_h 3 and pooled_w 0 must be given and positive"),
    ("ROIPooling", "x four", "roi_pooling_param { pooled_h: 3 pooled_w: 4 }", r"takes regions as rows of 5 numbers, image, x1, y1, x2, y2; got \(4, 4\)"),
    ("ROIPooling", "rois rois", "roi_pooling_param { pooled_h: 3 pooled_w: 4 }", "takes maps of 4 axes, got 2"),
    ("ROIAlign", "x rois", "roi_align_param { pooled_h: 3 pooled_w: 4 }", "forks do not agree on what roi_align_param means"),
    ("PSROIAlign", "x rois", "psroi_align_param { spatial_scale: 1 output_dim: 2 group_size: 3 }", "output_dim 2 in 3 x 3 parts needs 18 channels, its bottom has 6"),
    ("PSROIAlign", "x rois", "psroi_align_param { spatial_scale: 1 output_dim: 2 }", "must be given and positive"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "bottoms", "params", "top"), ACCEPTED)
def test_tops(kind: str, bottoms: str, params: str, top: tuple[int, ...]) -> None:
    known = of(kind, bottoms, params)
    assert known.values[Value("y")] == top
    assert known.weights == {}


@pytest.mark.parametrize(("kind", "bottoms", "params", "message"), REFUSED)
def test_a_wrong_layer_is_refused_in_words(
    kind: str, bottoms: str, params: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        of(kind, bottoms, params)

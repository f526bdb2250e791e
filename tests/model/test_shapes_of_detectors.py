# ruff: noqa: E501 (one net a line)
"""Shapes of detectors' layers that only forks have, worked out by hand."""

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
    "cells": (2, 14, 4, 4),
    "cells5": (2, 14, 5, 5),
    "wide": (2, 14, 4, 5),
    "rpn": (1, 12, 4, 5),
    "rpn_two": (2, 12, 4, 5),
    "moves": (1, 24, 4, 5),
    "info": (1, 3),
    "eight": (4, 8),
    "pair": (1, 2),
}


def of(kind: str, bottoms: str, params: str) -> Shapes:
    inputs = {name: INPUTS[name] for name in dict.fromkeys(bottoms.split())}
    text = net_text(layer("the layer", kind, bottoms, "y", params), **inputs)
    net = text_format.Parse(text, NetParameter())
    return infer(Graph.from_layers("test", net.layer))


BIASES = "biases: 1 biases: 2 biases: 3 biases: 4"
MASKS = f"{BIASES} mask: 0 mask: 1 mask: 1 mask: 0 anchors_scale: 8 anchors_scale: 4"

SIX = "proposal_param { ratio: 1 ratio: 2 ratio: 3 scale: 1 scale: 2 }"
LAYER = """python_param { param_str: "'feat_stride': 16, 'scales': [2, 3]" }"""

FIELDS = "field_w: 20 field_h: 30 downsample_rate: 8"

# The shape that the fork's Reshape gives the top before the layer runs, and of its weights.
ACCEPTED = [
    ("PriorBox", "x data", "prior_box_param { min_size: 4 aspect_ratio: 2 denser_prior_boxes: true }", (1, 2, 9 * 7 * 3 * 2 * 4)),
    ("DetectionOutput", "offsets scores priors ten offsets", "detection_output_param { num_classes: 3 }", (1, 1, 1, 7)),
    ("ROIPooling", "x rois", "roi_pooling_param { pooled_h: 3 pooled_w: 4 }", (4, 6, 3, 4)),
    ("ROIAlign", "x rois", "roi_pooling_param { pooled_h: 3 pooled_w: 4 }", (4, 6, 4, 5)),
    ("ROIWarping", "x rois", "roi_warping_param { pooled_h: 3 pooled_w: 4 }", (4, 6, 3, 4)),
    ("PSROIAlign", "sensitive rois", "psroi_align_param { spatial_scale: 1 output_dim: 2 group_size: 3 }", (4, 2, 3, 3)),
    ("DetectionOutput", "cells", f"detection_output_param {{ num_classes: 2 num_box: 2 side: 4 {BIASES} }}", (1, 1, 1, 7)),
    ("YoloDetectionOutput", "cells cells5", f"yolo_detection_output_param {{ num_classes: 2 num_box: 2 {BIASES} }}", (1, 1, 1, 7)),
    ("Yolov3DetectionOutput", "cells wide", f"yolov3_detection_output_param {{ num_classes: 2 num_box: 2 {MASKS} }}", (1, 1, 1, 7)),
    ("Proposal", "rpn moves info", SIX, (300, 5)),
    ("ProposalLayer", "rpn moves info", LAYER, (1, 5)),
    ("BoxOutput", "cells wide", f"box_output_param {{ {FIELDS} {FIELDS} }}", (1, 5, 1, 1)),
    ("DecodeBBox", "eight rois", "", (4, 5)),
]  # fmt: skip

REFUSED = [
    ("DetectionOutput", "offsets scores priors eleven", "detection_output_param { num_classes: 3 }", r"RefineDet's 5 priors need 10 scores and 20 locations of the first stage, got \[11\]"),
    ("ROIPooling", "x rois", "roi_pooling_param { pooled_h: 3 }", "pooled_h 3 and pooled_w 0 must be given and positive"),
    ("ROIPooling", "x four", "roi_pooling_param { pooled_h: 3 pooled_w: 4 }", r"takes regions as rows of 5 numbers \(image, x1, y1, x2, y2\), got \(4, 4\)"),
    ("ROIPooling", "rois rois", "roi_pooling_param { pooled_h: 3 pooled_w: 4 }", "takes maps of 4 axes, got 2"),
    ("ROIAlign", "x rois", "roi_align_param { pooled_h: 3 pooled_w: 4 }", "forks disagree on what roi_align_param means"),
    ("PSROIAlign", "x rois", "psroi_align_param { spatial_scale: 1 output_dim: 2 group_size: 3 }", "output_dim 2 in 3 x 3 parts needs 18 channels, its bottom has 6"),
    ("PSROIAlign", "x rois", "psroi_align_param { spatial_scale: 1 output_dim: 2 }", "must be given and positive"),
    ("DetectionOutput", "cells", f"detection_output_param {{ num_classes: 2 num_box: 2 {BIASES} }}", r"side x side cells, 13, got \(4, 4\)"),
    ("YoloDetectionOutput", "wide", f"yolo_detection_output_param {{ num_classes: 2 num_box: 2 {BIASES} }}", r"as many rows as columns of cells, got \(4, 5\)"),
    ("YoloDetectionOutput", "cells", f"yolo_detection_output_param {{ num_classes: 3 num_box: 2 {BIASES} }}", "2 boxes with 8 channels each need 16 channels, its bottom has 14"),
    ("YoloDetectionOutput", "cells", "yolo_detection_output_param { num_classes: 2 num_box: 2 biases: 1 }", "needs the width and height of 2 anchors as biases, got 1"),
    ("YoloDetectionOutput", "cells", "yolo_detection_output_param { }", "num_classes must be given"),
    ("Yolov3DetectionOutput", "cells", f"yolov3_detection_output_param {{ num_classes: 2 num_box: 2 {MASKS} }}", "mask_group_num must be the number of its bottoms, 1"),
    ("Yolov3DetectionOutput", "cells wide", f"yolov3_detection_output_param {{ num_classes: 2 num_box: 2 {MASKS[:-16]} }}", "anchors_scale be given; got 2 and 1"),
    ("Yolov3DetectionOutput", "cells wide", f"yolov3_detection_output_param {{ num_classes: 2 num_box: 2 {MASKS.replace('mask: 1', 'mask: 2')} }}", "anchors beyond the 4 biases"),
    ("Yolov3DetectionOutput", "cells wide", f"yolov3_detection_output_param {{ num_classes: 2 num_box: 3 {MASKS} }}", "one mask entry for each of the 3 anchors of its 2 bottoms, got 4"),
    ("Proposal", "rpn moves info", "proposal_param { ratio: 1 }", "ratio and scale must be given"),
    ("Proposal", "rpn moves info", "proposal_param { ratio: 1 scale: 2 }", "1 anchors need 2 scores and 4 offsets, got 12 and 24"),
    ("Proposal", "rpn x info", SIX, "must be maps of one size"),
    ("Proposal", "rpn moves pair", SIX, r"rows of height, width and scale of the image, got \(1, 2\)"),
    ("ProposalLayer", "rpn_two moves info", LAYER, "one image at a time, got 2"),
    ("BoxOutput", "cells wide", f"box_output_param {{ {FIELDS} }}", "one field_h for each of 2 bottoms, got 1"),
    ("BoxOutput", "cells rpn", f"box_output_param {{ {FIELDS} {FIELDS} }}", "maps of one batch, of two or more classes and 4 channels each"),
    ("BoxOutput", "cells", f"box_output_param {{ {FIELDS} field_whr: 0.5 }}", "field_whr 0.5 must be 1 or more"),
    ("BoxOutput", "cells", f"box_output_param {{ {FIELDS} }} bbox_reg_param {{ bbox_mean: 1 bbox_std: 1 }}", "four bbox_mean and four bbox_std, got 1 and 1"),
    ("DecodeBBox", "four rois", "", r"takes 8 offsets for each of its 4 regions, got \(4, 4\)"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "bottoms", "params", "top"), ACCEPTED)
def test_tops(kind: str, bottoms: str, params: str, top: tuple[int, ...]) -> None:
    known = of(kind, bottoms, params)
    assert known.values[Value("y")] == top
    assert known.weights == {}


@pytest.mark.parametrize(("kind", "bottoms", "params", "message"), REFUSED)
def test_a_wrong_layer_is_refused_with_a_clear_error(
    kind: str, bottoms: str, params: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        of(kind, bottoms, params)

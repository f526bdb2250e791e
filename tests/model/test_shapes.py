# ruff: noqa: E501 (one net a line)
"""Shapes and rejected nets against real Caffe; and some shapes worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format
from helpers.caffe_verdict import caffe_verdicts

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.graph import Graph, Value
from deepvis_caffe.model.schema_pb2 import NetParameter
from deepvis_caffe.model.shapes import RULES, Shapes, infer
from deepvis_caffe.model.shapes.registry import rule


def blob(name: str, *shape: int) -> str:
    dims = " ".join(f"dim: {d}" for d in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def layer(kind: str, options: str = "", bottoms: str = "x", tops: str = "y") -> str:
    read = " ".join(f'bottom: "{b}"' for b in bottoms.split())
    written = " ".join(f'top: "{t}"' for t in tops.split())
    return f'layer {{ name: "the layer" type: "{kind}" {read} {written} {options} }}'


def conv(options: str, bottoms: str = "x", tops: str = "y") -> str:
    return layer("Convolution", f"convolution_param {{ {options} }}", bottoms, tops)


def pool(options: str, tops: str = "y") -> str:
    return layer("Pooling", f"pooling_param {{ {options} }}", tops=tops)


def shapes(text: str, **sizes: tuple[int, ...]) -> Shapes:
    net = text_format.Parse(text, NetParameter())
    return infer(Graph.from_layers("test", net.layer), sizes)


X = blob("x", 2, 6, 9, 7)
FLAT = blob("x", 5, 8)
Z = blob("z", 2, 6, 9, 7)

SEQUENCE = blob("x", 3, 2, 5, 2) + blob("on", 3, 2)
STATIC = blob("s", 2, 7)
SSD = blob("offsets", 2, 20) + blob("scores", 2, 15) + blob("priors", 1, 2, 20)
RPN = blob("a", 2, 4, 3, 5) + blob("b", 2, 8, 3, 5) + blob("info", 1, 4)

ACCEPTED = [
    X + conv("num_output: 4 kernel_size: 3"),
    X + conv("num_output: 4 kernel_h: 3 kernel_w: 1 stride_h: 2 pad_w: 3 group: 2 bias_term: false"),
    X + conv("num_output: 4 kernel_size: 3 kernel_size: 2 dilation: 2 stride: 2 pad: 2 pad: 0"),
    X + conv("num_output: 4 kernel_size: 2 axis: 2"),
    X + conv("num_output: 4 kernel_size: 1 axis: -1"),
    X + Z + conv("num_output: 4 kernel_size: 3", "x z", "y v"),
    blob("x", 1, 2, 5, 6, 7) + conv("num_output: 4 kernel_size: 3 pad: 1"),
    X + layer("Deconvolution", "convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2 }"),
    X + layer("Deconvolution", "convolution_param { num_output: 1 kernel_size: 3 dilation: 2 }"),
    X + pool("kernel_size: 3 stride: 2"),
    X + pool("kernel_size: 3 stride: 2 ceil_mode: false"),
    X + pool("kernel_size: 2 stride: 3 pad: 1 pool: AVE"),
    X + pool("kernel_h: 2 kernel_w: 5 stride_h: 2 stride_w: 4 pad_h: 0 pad_w: 3"),
    X + pool("kernel_size: 10 stride: 4"),
    X + pool("global_pooling: true pool: AVE"),
    X + pool("kernel_size: 3", tops="y mask"),
    X + layer("LRN"),
    X + layer("LRN", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }"),
    *(X + layer(kind) for kind in ("ReLU", "ELU", "Sigmoid", "TanH", "AbsVal", "Power", "Exp", "Log", "BNLL", "Threshold", "Dropout", "Softmax", "MVN", "Split", "BatchNorm", "Flatten", "PReLU", "Scale", "Bias", "Concat", "Slice", "Permute", "Reduction", "ArgMax", "Normalize")),
    *(X + layer(kind, tops="x") for kind in ("ReLU", "ELU", "Sigmoid", "TanH", "Power", "Exp", "Log", "BNLL", "Threshold", "Dropout", "Softmax", "MVN", "BatchNorm", "PReLU", "Scale", "Bias")),
    *(X + layer("SPP", f"spp_param {{ pyramid_height: {height} }}") for height in (1, 2, 3)),
    X + layer("SPP", "spp_param { pyramid_height: 2 pool: AVE }"),
    X + layer("Im2col", "convolution_param { kernel_size: 3 stride: 2 pad: 1 dilation: 2 }"),
    X + layer("Im2col", "convolution_param { kernel_size: 2 axis: 2 }"),
    X + layer("Im2col", "convolution_param { kernel_size: 2 axis: 0 }"),
    layer("Parameter", "parameter_param { shape { dim: 2 dim: 3 } }", ""),
    X + blob("i", 5) + layer("BatchReindex", bottoms="x i"),
    X + Z + blob("i", 2, 1) + layer("Filter", bottoms="x z i", tops="y v"),
    *(X + layer(kind) for kind in ("ReLU6", "HardSigmoid", "HardSwish")),
    X + layer("BilinearInterpolate", "bilinear_interpolate_param { dst_h: 7 dst_w: 3 }"),
    X + layer("BilinearInterpolate", "bilinear_interpolate_param { scale_factor: 1.5 }"),
    X + layer("Pad", "pad_param { pad_u: 1 pad_d: 2 pad_l: 3 }"),
    X + layer("Pad", "pad_param { pad_u: -1 pad_d: -2 pad_l: -1 pad_r: -1 }"),
    X + layer("PixelShuffle", "pixelshuffle_param { upscale_factor: 1 }"),
    blob("x", 2, 8, 3, 5) + layer("PixelShuffle", "pixelshuffle_param { upscale_factor: 2 }"),
    X + layer("Unsqueeze", "unsqueeze_param { dim: 1 }"),
    X + Z + layer("MaxUnPool", "max_unpool_param { dst_h: 18 dst_w: 14 }", "x z"),
    X + layer("Upsample", "upsample_param { scale: 3 }"),
    blob("x", 2, 6, 9) + layer("Upsample", "upsample_param { scale: 2 dims_num: 3 }"),
    FLAT + layer("MVN"),
    FLAT + layer("BatchNorm"),
    FLAT + layer("Softmax", "softmax_param { axis: -1 }"),
    X + layer("PReLU", "prelu_param { channel_shared: true }"),
    X + layer("Normalize", "norm_param { channel_shared: false }"),
    X + layer("Scale", "scale_param { bias_term: true }"),
    X + layer("Scale", "scale_param { axis: 0 num_axes: -1 }"),
    X + layer("Scale", "scale_param { axis: -2 num_axes: 2 bias_term: true }"),
    X + layer("Scale", "scale_param { num_axes: 0 bias_term: true }"),
    X + blob("z", 6, 9) + layer("Scale", "scale_param { bias_term: true }", "x z"),
    X + blob("z", 6) + layer("Bias", bottoms="x z"),
    X + layer("Bias", "bias_param { axis: 1 num_axes: 3 }"),
    X + blob("z", 2, 3, 9, 7) + layer("Concat", bottoms="x z"),
    X + blob("z", 4, 6, 9, 7) + layer("Concat", "concat_param { axis: 0 }", "x z x"),
    X + blob("z", 2, 6, 9, 1) + layer("Concat", "concat_param { axis: -1 }", "x z"),
    X + blob("z", 2, 6, 1, 7) + layer("Concat", "concat_param { concat_dim: 2 }", "x z"),
    X + layer("Slice", "slice_param { slice_point: 1 slice_point: 4 }", tops="y v w"),
    X + layer("Slice", "slice_param { axis: 2 }", tops="y v w"),
    X + layer("Slice", "slice_param { slice_dim: 0 }", tops="y v"),
    X + layer("Split", tops="y v w"),
    X + Z + layer("Eltwise", bottoms="x z"),
    X + Z + layer("Eltwise", "eltwise_param { coeff: 1 coeff: -1 }", "x z"),
    X + Z + layer("Eltwise", "eltwise_param { operation: MAX }", "x z x"),
    X + layer("Flatten", "flatten_param { axis: 2 end_axis: 3 }"),
    X + layer("Flatten", "flatten_param { axis: 2 end_axis: 1 }"),
    X + layer("Flatten", "flatten_param { axis: -3 end_axis: -2 }"),
    X + layer("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }"),
    X + layer("Reshape", "reshape_param { shape { dim: 3 dim: 2 } axis: 1 num_axes: 1 }"),
    X + layer("Reshape", "reshape_param { shape { dim: 1 dim: 1 } axis: -1 num_axes: 0 }"),
    X + layer("Reshape", "reshape_param { shape { dim: 0 dim: 0 dim: -1 dim: 1 } }"),
    X + layer("Reshape", "reshape_param { shape { } axis: -2 num_axes: 0 }"),
    X + layer("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    X + layer("Permute", "permute_param { order: 3 }"),
    X + blob("z", 2, 6, 5, 4) + layer("Crop", "crop_param { offset: 3 }", "x z"),
    X + blob("z", 1, 9, 5, 4) + layer("Crop", "crop_param { offset: 1 offset: 2 }", "x z"),
    X + blob("z", 1, 2, 5, 4) + layer("Crop", "crop_param { axis: 1 }", "x z"),
    X + layer("Reduction", "reduction_param { axis: 2 }"),
    X + layer("Reduction", "reduction_param { axis: -3 operation: MEAN }"),
    X + layer("Tile", "tile_param { tiles: 3 }"),
    X + layer("Tile", "tile_param { axis: -2 tiles: 2 }"),
    X + layer("ArgMax", "argmax_param { top_k: 5 out_max_val: true }"),
    X + layer("ArgMax", "argmax_param { axis: 1 top_k: 2 }"),
    *(SEQUENCE + layer(kind, "recurrent_param { num_output: 4 }", "x on") for kind in ("LSTM", "RNN")),
    *(SEQUENCE + STATIC + layer(kind, "recurrent_param { num_output: 4 }", "x on s") for kind in ("LSTM", "RNN")),
    SEQUENCE + STATIC + blob("h", 1, 2, 4) + blob("c", 1, 2, 4) + layer("LSTM", "recurrent_param { num_output: 4 expose_hidden: true }", "x on s h c", "y g d"),
    SEQUENCE + blob("h", 1, 2, 4) + layer("RNN", "recurrent_param { num_output: 4 expose_hidden: true }", "x on h", "y g"),
    FLAT + layer("ArgMax", "argmax_param { axis: -1 }"),
    FLAT + layer("ArgMax", "argmax_param { out_max_val: true }"),
    X + layer("InnerProduct", "inner_product_param { num_output: 10 }"),
    X + layer("InnerProduct", "inner_product_param { num_output: 10 axis: 2 bias_term: false }"),
    X + layer("InnerProduct", "inner_product_param { num_output: 10 axis: -1 transpose: true }"),
    X + layer("Silence", tops=""),
    layer("DummyData", "dummy_data_param { shape { dim: 2 dim: 3 } }", "", "y v"),
    layer("DummyData", "dummy_data_param { num: 2 channels: 3 channels: 4 height: 1 width: 1 }", "", "y v"),
    layer("DummyData", "dummy_data_param { shape { dim: 2 } data_filler { type: 'uniform' } }", ""),
    X + layer("Embed", "embed_param { input_dim: 4 num_output: 5 }"),
    FLAT + layer("Embed", "embed_param { input_dim: 4 num_output: 5 bias_term: false }"),
    X + Z + layer("PriorBox", "prior_box_param { min_size: 4 }", "x z"),
    X + Z + layer("PriorBox", "prior_box_param { min_size: 4 min_size: 5 max_size: 6 max_size: 7 aspect_ratio: 2 aspect_ratio: 1 aspect_ratio: 2 aspect_ratio: 3 }", "x z"),
    X + Z + layer("PriorBox", "prior_box_param { min_size: 4 aspect_ratio: 2 aspect_ratio: 3 flip: false img_size: 30 step: 8 variance: 0.1 }", "x z"),
    X + Z + layer("PriorBox", "prior_box_param { min_size: 4 img_h: 30 img_w: 20 step_h: 8 step_w: 9 variance: 1 variance: 1 variance: 2 variance: 2 }", "x z"),
    SSD + layer("DetectionOutput", "detection_output_param { num_classes: 3 }", "offsets scores priors"),
    SSD + blob("all", 2, 60, 1, 1) + layer("DetectionOutput", "detection_output_param { num_classes: 3 share_location: false nms_param { nms_threshold: 0.5 } }", "all scores priors"),
    blob("x", 1, 18, 9, 7) + blob("rois", 4, 5) + layer("PSROIPooling", "psroi_pooling_param { spatial_scale: 0.5 output_dim: 2 group_size: 3 }", "x rois"),
    RPN + layer("Proposal", "proposal_param { ratio: 1 ratio: 2 scale: 3 post_nms_topn: 30 }", "a b info"),
    RPN + layer("Proposal", "proposal_param { ratio: 1 scale: 3 scale: 4 }", "a b info", "y v"),
]  # fmt: skip

REFUSED = [
    (X + conv("num_output: 4"), "kernel_size must be given once, or once per spatial axis"),
    (X + conv("kernel_size: 3"), "num_output must be given"),
    (X + conv("num_output: 4 kernel_size: 3 kernel_h: 2"), "not both"),
    (X + conv("num_output: 4 kernel_h: 2"), r"kernel_size \(2, 0\) must be positive"),
    (X + conv("num_output: 4 kernel_size: 3 stride: 0"), "must be positive"),
    (X + conv("num_output: 4 kernel_size: 3 pad: 1 pad: 1 pad: 1"), "got 3 values"),
    (X + conv("num_output: 4 kernel_size: 11"), r"spans \(11, 11\) pixels"),
    (X + conv("num_output: 4 kernel_size: 3 group: 4"), "6 channels cannot be split into 4 groups"),
    (X + conv("num_output: 4 kernel_size: 3 group: 3"), "num_output 4 cannot be split into 3"),
    (X + conv("num_output: 4 kernel_size: 3 axis: 4"), "axis 4 is out of range for a bottom of 4 axes"),
    (X + conv("num_output: 4 kernel_size: 3", tops="y v"), "one top for each bottom"),
    (X + blob("z", 1, 6, 9, 7) + conv("num_output: 4 kernel_size: 3", "x z", "y v"), "must have one shape"),
    (blob("x", 1, 2, 5) + conv("num_output: 4 kernel_h: 3 kernel_w: 3"), "need 2 spatial axes, got 1"),
    (X + layer("Deconvolution", "convolution_param { num_output: 4 kernel_size: 1 pad: 5 }"), "the padding leaves nothing"),
    (X + layer("Pooling"), "needs either kernel_size or both"),
    (X + pool("kernel_size: 2 kernel_h: 2 kernel_w: 2"), "needs either kernel_size or both"),
    (X + pool("kernel_h: 2"), "needs either kernel_size or both"),
    (X + pool("kernel_size: 2 pad_h: 1"), "needs either pad or both"),
    (X + pool("kernel_size: 2 stride: 1 stride_h: 1 stride_w: 1"), "needs either stride or both"),
    (X + pool("kernel_size: 2 global_pooling: true"), "global_pooling takes no kernel size"),
    (X + pool("global_pooling: true stride: 2"), "global_pooling needs pad 0 and stride 1"),
    (X + pool("kernel_size: 2 pad: 2"), r"pad \(2, 2\) must be smaller than the kernel"),
    (X + pool("kernel_size: 2 pad: 1 pool: STOCHASTIC"), "STOCHASTIC pooling is random"),
    (X + pool("kernel_size: 20"), r"kernel \(20, 20\) is too large"),
    (X + pool("kernel_size: 2 pool: AVE", tops="y mask"), "only MAX pooling has a second top"),
    (FLAT + pool("kernel_size: 1"), "takes a bottom of 4 axes, in some forks of 3 or 5, got 2"),
    (X + layer("LRN", "lrn_param { local_size: 4 }"), "local_size must be odd, got 4"),
    (FLAT + layer("LRN"), "takes a bottom of 4 axes, got 2"),
    (X + layer("ReLU", bottoms="x x"), r"takes 1 bottom blob\(s\), got 2"),
    (X + layer("ReLU", tops="y v"), r"takes 1 top blob\(s\), got 2"),
    (X + layer("Exp", "exp_param { base: -2 }"), "base must be positive"),
    (X + layer("Log", "log_param { base: 1 }"), "base must be positive and not 1"),
    (X + layer("Softmax", "softmax_param { axis: 4 }"), "axis 4 is out of range"),
    (blob("x", 1, 1, 1, 1, 2) + layer("MVN"), "at most 4 axes, got 5"),
    (blob("x", 5) + layer("PReLU"), "2 or more axes"),
    (blob("x", 5) + layer("BatchNorm"), "2 or more axes"),
    (X + layer("Scale", "scale_param { axis: 3 num_axes: 2 }"), "run past"),
    (X + layer("Bias", "bias_param { num_axes: -2 }"), "num_axes must be -1 or more"),
    (X + blob("z", 9) + layer("Bias", bottoms="x z"), "does not fit"),
    (X + blob("z", 2, 6, 9) + layer("Concat", bottoms="x z"), "must agree on every axis but 1"),
    (X + blob("z", 2, 6, 8, 7) + layer("Concat", bottoms="x z"), "must agree on every axis but 1"),
    (X + layer("Concat", "concat_param { axis: 1 concat_dim: 1 }"), "either axis or concat_dim"),
    (X + layer("Concat", "concat_param { concat_dim: 4 }"), "axis 4 is out of range"),
    (X + layer("Slice", tops="a b c d"), "axis 1, of size 6, has no 4 equal parts"),
    (X + layer("Slice", "slice_param { slice_point: 3 }", tops="a b c"), "3 tops need 2 slice points"),
    (X + layer("Slice", "slice_param { slice_point: 3 slice_point: 3 }", tops="a b c"), "must increase"),
    (X + layer("Slice", "slice_param { slice_point: 7 }", tops="a b"), "must increase and lie within axis 1"),
    (X + layer("Eltwise"), r"takes 2 or more bottom blob\(s\), got 1"),
    (X + Z + layer("Eltwise", "eltwise_param { coeff: 1 }", "x z"), "one coeff per bottom, got 1 for 2"),
    (X + Z + layer("Eltwise", "eltwise_param { operation: PROD coeff: 1 coeff: 1 }", "x z"), "for SUM, not for PROD"),
    (X + layer("AbsVal", tops="x"), "cannot work in place"),
    (X + layer("Split", tops="x v"), "cannot work in place"),
    (X + layer("Flatten", tops="x"), "cannot work in place"),
    (X + layer("Flatten", "flatten_param { axis: 3 end_axis: 1 }"), "comes after end_axis 1"),
    (X + layer("Reshape", "reshape_param { shape { dim: 0 } }", tops="x"), "cannot work in place"),
    (X + layer("Reshape", "reshape_param { shape { dim: -1 dim: -1 } }"), "at most one dim may be -1"),
    (X + layer("Reshape", "reshape_param { shape { dim: 5 dim: -1 } }"), "756 values are not divisible by 5"),
    (X + layer("Reshape", "reshape_param { shape { dim: 5 } }"), r"its top \(5,\) would have 5"),
    (X + layer("Reshape", "reshape_param { shape { dim: 1 dim: 1 dim: 1 dim: 1 dim: 0 } }"), "no axis 4 to copy"),
    (X + layer("Reshape", "reshape_param { axis: 5 }"), "axis 5 is out of range"),
    (X + layer("Reshape", "reshape_param { axis: 2 num_axes: 3 }"), "run past"),
    (X + layer("Permute", "permute_param { order: 4 }"), "an axis its bottom does not have"),
    (X + layer("Permute", "permute_param { order: 1 order: 1 }"), "names an axis twice"),
    (X + blob("z", 2, 6, 5, 4) + layer("Crop", "crop_param { offset: 4 }", "x z"), "axis 3 cannot be cropped to 4 from offset 4: it has only 7"),
    (X + Z + layer("Crop", "crop_param { offset: 0 offset: 0 offset: 0 }", "x z"), "one for each of the 2 axes it crops, got 3"),
    (X + blob("z", 2, 6) + layer("Crop", bottoms="x z"), "fewer axes"),
    (X + layer("SPP"), "pyramid_height must be given and positive"),
    (blob("x", 1, 2, 1, 1) + layer("SPP", "spp_param { pyramid_height: 4 }"), "must be smaller than the kernel"),
    (X + layer("Im2col", "convolution_param { kernel_size: 2 axis: 3 }"), "has no axes after axis 3"),
    (X + blob("i", 5, 1) + layer("BatchReindex", bottoms="x i"), "must have 1 axis, got 2"),
    (X + Z + blob("i", 2) + layer("Filter", bottoms="x z i"), "one top for each bottom but the last"),
    (X + blob("i", 2, 2) + layer("Filter", bottoms="x i"), "one number for each image"),
    (X + blob("i", 3) + layer("Filter", bottoms="x i"), "must have one batch size"),
    (X + layer("Parameter", "parameter_param { shape { dim: 2 } }"), r"takes 0 bottom blob\(s\), got 1"),
    (X + layer("Reduction", "reduction_param { axis: 4 }"), "axis 4 is out of range"),
    (X + layer("Tile"), "tiles must be given and positive"),
    (X + layer("ArgMax", "argmax_param { top_k: 0 }"), "top_k must be 1 or more"),
    (X + layer("ArgMax", "argmax_param { axis: 1 top_k: 7 }"), "top_k 7 is more than the 6 candidates"),
    (X + layer("ArgMax", "argmax_param { top_k: 379 }"), "top_k 379 is more than the 378 candidates"),
    (X + layer("InnerProduct", "inner_product_param { num_output: 3 axis: 7 }"), "axis 7 is out of range"),
    (layer("DummyData", "dummy_data_param { shape { dim: 2 } data_filler { type: 'unifrom' } }", ""), "unknown type 'unifrom'; did you mean 'uniform'"),
    (X + layer("Embed", "embed_param { num_output: 5 }"), "input_dim and num_output must be given"),
    (X + layer("Silence"), r"takes 0 top blob\(s\), got 1"),
    (layer("DummyData", "dummy_data_param { num: 1 }", ""), "each once or once per top"),
    (layer("DummyData", "", ""), r"needs one shape, or one for each of its 1 tops; got 0"),
    (blob("x", 70000, 70000), "4,900,000,000 values, but Caffe allows at most 2,147,483,647"),
    (X + Z + layer("PriorBox", "prior_box_param { }", "x z"), "min_size must be given and positive"),
    (X + Z + layer("PriorBox", "prior_box_param { min_size: 4 max_size: 3 }", "x z"), "one max_size, above it, for each min_size"),
    (X + Z + layer("PriorBox", "prior_box_param { min_size: 4 min_size: 5 max_size: 9 }", "x z"), "one max_size, above it, for each min_size"),
    (X + Z + layer("PriorBox", "prior_box_param { min_size: 4 variance: 1 variance: 1 }", "x z"), "no variance, one, or four"),
    (X + Z + layer("PriorBox", "prior_box_param { min_size: 4 img_size: 3 img_h: 3 img_w: 3 }", "x z"), "either img_size or both img_h and img_w"),
    (X + Z + layer("PriorBox", "prior_box_param { min_size: 4 step_h: 3 }", "x z"), "either step or both step_h and step_w"),
    (SSD + layer("DetectionOutput", "detection_output_param { }", "offsets scores priors"), "num_classes must be given"),
    (SSD + layer("DetectionOutput", "detection_output_param { num_classes: 3 }", "offsets scores"), "takes locations, scores and priors; got 2"),
    (SSD + layer("DetectionOutput", "detection_output_param { num_classes: 4 }", "offsets scores priors"), "5 priors with 4 scores each need 20 scores, got 15"),
    (SSD + layer("DetectionOutput", "detection_output_param { num_classes: 3 share_location: false }", "offsets scores priors"), "5 priors with 12 locations each need 60 locations, got 20"),
    (SSD + blob("one", 1, 20) + layer("DetectionOutput", "detection_output_param { num_classes: 3 }", "one scores priors"), "must have the same batch size, got 1 and 2"),
    (SSD + layer("DetectionOutput", "detection_output_param { num_classes: 3 nms_param { eta: 0 } }", "offsets scores priors"), "eta must be above 0"),
    (SSD + layer("DetectionOutput", "detection_output_param { num_classes: 3 nms_param { nms_threshold: -1 } }", "offsets scores priors"), "nms_threshold must be 0 or more"),
    (X + blob("rois", 4, 5) + layer("PSROIPooling", "psroi_pooling_param { spatial_scale: 0.5 output_dim: 2 group_size: 3 }", "x rois"), "output_dim 2 in 3 x 3 parts needs 18 channels, its bottom has 6"),
]  # fmt: skip

# Nets that this Caffe runs, to no good, and other Caffes refuse.
WRONG = [
    (X + pool("kernel_size: 2 pool: STOCHASTIC"), "STOCHASTIC pooling is random"),
    (X + blob("z", 2, 6, 9, 8) + layer("Eltwise", bottoms="x z"), "must have one shape"),
    (X + blob("z", 9) + layer("Scale", bottoms="x z"), r"\(9,\) does not fit axes 1 to 1"),
    (X + conv("num_output: 4 kernel_size: 8 stride: 2"), r"only \(9, 7\)"),
    (X + conv("num_output: 6 kernel_size: 3", tops="x"), "cannot work in place: it turns"),
    (X + layer("InnerProduct", "inner_product_param { }"), "num_output must be given"),
]  # fmt: skip


@pytest.mark.process
@pytest.mark.pycaffe
def test_shapes_are_caffes_for_every_layer_type(caffe):
    """Of every type that this Caffe has; a fork's types are tested with their engines' layers."""
    tried = {text.split('type: "')[-1].split('"')[0] for text in ACCEPTED}
    assert tried == (set(RULES) & set(caffe.layer_type_list())) - {"Input"}
    for text, verdict in zip(ACCEPTED, caffe_verdicts(ACCEPTED), strict=True):
        assert_agrees(text, verdict)


def assert_agrees(text, verdict):
    assert verdict is not None, f"Caffe refuses {text}"
    ours = shapes(text)
    for value, shape in ours.values.items():
        assert list(shape) == verdict["blobs"][value.blob], text
    assert {
        name: [list(shape) for shape in blobs] for name, blobs in ours.weights.items()
    } == verdict["weights"], text


@pytest.mark.process
@pytest.mark.pycaffe
def test_what_we_refuse_caffe_aborts_on(caffe):
    texts = [text for text, _ in REFUSED]
    for text, verdict in zip(texts, caffe_verdicts(texts), strict=True):
        assert verdict is None, f"Caffe accepts {text}"


@pytest.mark.parametrize(("text", "message"), REFUSED + WRONG)
def test_a_wrong_net_is_refused_with_a_clear_error(text, message):
    with pytest.raises(ModelError, match=message) as caught:
        shapes(text)
    if "the layer" in text:
        kind = text.split('type: "')[-1].split('"')[0]
        assert str(caught.value).startswith(f"layer 'the layer' ({kind}): ")


@pytest.mark.process
@pytest.mark.pycaffe
def test_random_windows_agree_with_caffe_or_are_refused_by_both(caffe):
    rng = np.random.default_rng(0)
    texts, kernels_too_large = [], []
    for _ in range(150):
        kind = rng.choice(["Convolution", "Deconvolution", "Pooling"])
        h, w, kernel, stride, pad, dilation, group = rng.integers(
            [4, 4, 1, 1, 0, 1, 1], [12, 12, 5, 4, 4, 4, 6]
        )
        options = f"kernel_size: {kernel} stride: {stride} pad: {pad}"
        if kind == "Pooling":
            made = pool(f"{options} pool: {rng.choice(['MAX', 'AVE'])}")
        else:
            options = f"num_output: 6 group: {group} dilation: {dilation} {options}"
            made = layer(kind, f"convolution_param {{ {options} }}")
        texts.append(blob("x", 1, 12, h, w) + made)
        extent = dilation * (kernel - 1) + 1
        kernels_too_large.append(kind == "Convolution" and extent > min(h, w) + 2 * pad)
    verdicts = caffe_verdicts(texts)
    for text, verdict, too_large in zip(texts, verdicts, kernels_too_large, strict=True):
        if verdict is None or too_large or min(verdict["blobs"]["y"]) == 0:
            with pytest.raises(ModelError):
                shapes(text)
        else:
            assert_agrees(text, verdict)
    assert 15 < verdicts.count(None) < 80


def test_shapes_worked_by_hand():
    # CaffeNet's first layers at 227: (227 - 11) / 4 + 1 = 55; ceil((55 - 3) / 2) + 1 = 27.
    text = (
        blob("x", 10, 3, 227, 227)
        + conv("num_output: 96 kernel_size: 11 stride: 4")
        + 'layer { name: "p" type: "Pooling" bottom: "y" top: "p" '
        "pooling_param { kernel_size: 3 stride: 2 } }"
        + 'layer { name: "f" type: "InnerProduct" bottom: "p" top: "f" '
        "inner_product_param { num_output: 7 } }"
    )
    known = shapes(text)
    assert known.values[Value("y")] == (10, 96, 55, 55)
    assert known.values[Value("p")] == (10, 96, 27, 27)
    assert known.weights == {
        "the layer": ((96, 3, 11, 11), (96,)),
        "f": ((7, 96 * 27 * 27), (7,)),
    }
    wider = shapes(text, x=(1, 3, 227, 231))
    assert wider.values[Value("y")] == (1, 96, 55, 56)  # (231 - 11) / 4 + 1
    assert wider.values[Value("p")] == (1, 96, 27, 28)  # ceil(53 / 2) + 1


def test_a_message_says_layer_type_bottoms_and_shapes():
    with pytest.raises(ModelError) as caught:
        shapes(X + blob("z", 2, 6, 8, 7) + layer("Concat", bottoms="x z"))
    assert str(caught.value) == (
        "layer 'the layer' (Concat): its bottoms must agree on every axis but 1 "
        "(its bottoms: x (2, 6, 9, 7), z (2, 6, 8, 7))"
    )


def test_what_follows_an_unknown_type_is_absent_and_the_rest_is_there():
    known = shapes(
        X
        + 'layer { name: "own" type: "Python" bottom: "x" top: "own" }'
        + 'layer { name: "fc" type: "InnerProduct" bottom: "own" top: "fc" '
        "inner_product_param { num_output: 2 } }" + layer("ReLU")
    )
    assert set(known.values) == {Value("x"), Value("y")}
    assert known.weights == {}


def test_sizes_are_given_by_input_name_only():
    with pytest.raises(UnknownNameError, match=r"no input named 'y'.*known: x"):
        shapes(X + layer("ReLU"), y=(1, 2))


def test_a_type_has_one_rule():
    with pytest.raises(ValueError, match="'ReLU' has a shape rule already"):
        rule("ReLU")(lambda param, bottoms: None)

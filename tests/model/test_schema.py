"""The schema against real Caffe's own, and the rule for fields that forks added."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, text_format

from deepvis_caffe.model import schema_pb2
from deepvis_caffe.model.fork_types import (
    FIRST_FORK_NUMBER,
    FORK_V1_NUMBERS,
    FORK_V1_TYPES,
    UNDERSTOOD,
)
from deepvis_caffe.model.model import load_model
from deepvis_caffe.model.prototxt import read_prototxt
from deepvis_caffe.model.schema_pb2 import LayerParameter, NetParameter, V1LayerParameter

# What Caffe's repository got after 1.0, and the release that is tested against may lack.
AFTER_1_0 = {
    *("ClipParameter.max", "ClipParameter.min", "InfogainLossParameter.axis"),
    *("LayerParameter.clip_param", "LayerParameter.swish_param", "PoolingParameter.round_mode"),
    *("SolverParameter.layer_wise_reduce", "SolverParameter.weights", "SwishParameter.beta"),
}
# That release adds some layers of its own, with these fields in messages that stock Caffe has too.
ITS_OWN = {
    *("BatchNormParameter.bias_filler", "BatchNormParameter.do_all_reduce"),
    *("BatchNormParameter.use_alpha_beta", "BatchNormParameter.weight_filler"),
    *("ConvolutionParameter.height_group", "ConvolutionParameter.width_group"),
    *("PoolingParameter.ceil_mode", "SolverParameter.ap_version", "SolverParameter.eval_type"),
    *("V1LayerParameter.batch_norm_param", "V1LayerParameter.bn_param"),
    *("TransformationParameter.crop_h", "TransformationParameter.crop_w"),
    *("TransformationParameter.emit_constraint", "TransformationParameter.noise_param"),
    *("TransformationParameter.old_resize_param",),
    *(
        f"LayerParameter.{name}_param"
        for name in (
            *("annotated_data", "bilinear_interpolate", "bn", "detection_evaluate"),
            *("detection_output", "hardsigmoid", "inception", "max_unpool", "multibox_loss"),
            *("norm", "pad", "permute", "pixelshuffle", "prior_box", "proposal", "psroi_pooling"),
            *("relu6", "resize", "unsqueeze", "upsample", "video_data"),
        )
    ),
}
STOCK_MESSAGES = {
    *("BlobShape", "BlobProto", "BlobProtoVector", "Datum", "FillerParameter", "NetParameter"),
    *("SolverParameter", "SolverState", "NetState", "NetStateRule", "ParamSpec"),
    *("LayerParameter", "V0LayerParameter", "V1LayerParameter", "TransformationParameter"),
    # SSD's, which are in its databases; the release that is tested against has them, too.
    *("AnnotatedDatum", "AnnotationGroup", "Annotation", "NormalizedBBox"),
    *("LabelMap", "LabelMapItem"),
    *(
        f"{name}Parameter"
        for name in (
            *("Accuracy", "ArgMax", "BatchNorm", "Bias", "Concat", "ContrastiveLoss"),
            *("Convolution", "Crop", "Data", "Dropout", "DummyData", "ELU", "Eltwise", "Embed"),
            *("Exp", "Flatten", "HDF5Data", "HDF5Output", "HingeLoss", "ImageData"),
            *("InfogainLoss", "InnerProduct", "Input", "LRN", "Log", "Loss", "MVN", "MemoryData"),
            *("PReLU", "Parameter", "Pooling", "Power", "Python", "ReLU", "Recurrent"),
            *("Reduction", "Reshape", "SPP", "Scale", "Sigmoid", "Slice", "Softmax", "TanH"),
            *("Threshold", "Tile", "WindowData"),
        )
    ),
}

Key = tuple[str, str]


def declared(module: Any) -> tuple[dict[Key, tuple[Any, ...]], dict[Key, int]]:
    """Fields by (message, name) and enum values by (enum, name) of a generated module."""
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    fields: dict[Key, tuple[Any, ...]] = {}
    values: dict[Key, int] = {}

    def add(message: descriptor_pb2.DescriptorProto, outer: str) -> None:
        name = outer + message.name
        for f in message.field:
            kind = f.type_name.removeprefix(f".{file.package}.")
            fields[name, f.name] = (f.number, f.label, f.type, kind, f.default_value, f.options)
        for enum in message.enum_type:
            values.update({(f"{name}.{enum.name}", v.name): v.number for v in enum.value})
        for inner in message.nested_type:
            add(inner, f"{name}.")

    for message in file.message_type:
        add(message, "")
    for enum in file.enum_type:
        values.update({(enum.name, v.name): v.number for v in enum.value})
    return fields, values


OURS, OUR_VALUES = declared(schema_pb2)


@pytest.fixture
def stock(caffe: Any) -> tuple[dict[Key, tuple[Any, ...]], dict[Key, int]]:
    """Stock Caffe's fields and enum values, as the Caffe at hand declares them."""
    from caffe.proto import caffe_pb2

    fields, values = declared(caffe_pb2)
    fields = {
        (m, f): what
        for (m, f), what in fields.items()
        if m in STOCK_MESSAGES and f"{m}.{f}" not in ITS_OWN
    }
    enums = {what[3] for what in fields.values()}  # by type name
    values = {(e, v): n for (e, v), n in values.items() if e in enums}
    assert {m for m, _ in fields} == STOCK_MESSAGES
    return fields, values


@pytest.mark.pycaffe
def test_every_field_of_stock_caffe_is_there(stock: Any) -> None:
    """With its number, label, type and default, and its enum's values."""
    fields, values = stock
    for key in ("stride_h", "stride_w"):  # 1 in this release; none in Caffe, where 0 is unset
        fields["ConvolutionParameter", key] = OURS["ConvolutionParameter", key]
    assert {key: OURS.get(key) for key in fields} == fields
    assert {key: OUR_VALUES.get(key) for key in values} == values


@pytest.mark.pycaffe
def test_what_stock_caffe_lacks_has_numbers_of_its_own(stock: Any) -> None:
    fields, values = stock
    low = {
        f"{m}.{f}"
        for (m, f), (number, *_) in OURS.items()
        if number < FIRST_FORK_NUMBER and (m, f) not in fields
    }
    assert low == AFTER_1_0
    enums = {enum for enum, _ in values}
    low = {
        f"{e}.{v}"
        for (e, v), number in OUR_VALUES.items()
        if number < FIRST_FORK_NUMBER and e in enums and (e, v) not in values
    }
    assert low == set()


def test_no_number_is_used_twice() -> None:
    numbers = Counter((message, number) for (message, _), (number, *_) in OURS.items())
    assert [key for key, count in numbers.items() if count > 1] == []
    numbers = Counter((enum, number) for (enum, _), number in OUR_VALUES.items())
    assert [key for key, count in numbers.items() if count > 1] == []
    assert max(number for number, *_ in OURS.values()) < FIRST_FORK_NUMBER + 1000


def test_both_layer_forms_know_the_same_layers_of_forks() -> None:
    """Under one number, so that a layer's meaning does not depend on the form it is written in."""
    v1, v2 = V1LayerParameter.DESCRIPTOR.fields_by_name, LayerParameter.DESCRIPTOR.fields_by_name
    forks = {name for name, f in v2.items() if f.number >= FIRST_FORK_NUMBER and f.message_type}
    assert {name: v2[name].number for name in forks} == {name: v1[name].number for name in forks}
    assert {n for n in v1 if n.endswith("_param") and n not in v2} == set()
    assert {n for n in v2 if n.endswith("_param") and n not in v1} == set()


# Written as users of these forks write them.
TEXTS = {
    "Fast R-CNN": 'layer { type: "ROIPooling" roi_pooling_param { pooled_w: 7 pooled_h: 7 '
    "spatial_scale: 0.0625 } }",
    "SSD": 'layer { type: "PriorBox" prior_box_param { min_size: 60.5 max_size: 114 '
    "aspect_ratio: 2 aspect_ratio: 3 flip: true clip: false variance: 0.1 variance: 0.2 step: 16 "
    "offset: 0.5 } } "
    'layer { type: "DetectionOutput" detection_output_param { num_classes: 21 share_location: true '
    "nms_param { nms_threshold: 0.45 top_k: 400 } code_type: CENTER_SIZE keep_top_k: 200 "
    "save_output_param { label_map_file: 'a' } confidence_threshold: 0.01 } } "
    'layer { type: "AnnotatedData" transform_param { resize_param { prob: 1 resize_mode: WARP '
    "height: 300 width: 300 interp_mode: LINEAR interp_mode: AREA } emit_constraint { "
    "emit_type: CENTER } distort_param { hue_prob: 0.5 } expand_param { max_expand_ratio: 4 } } }",
    "MS-CNN": 'layer { type: "BoxOutput" box_output_param { fg_thr: -5 iou_thr: 0.65 '
    'nms_type: "IOU" field_h: 40 field_w: 40 downsample_rate: 8 field_whr: 2 field_xyr: 2 '
    "max_nms_num: 2000 } }",
    "SegNet": 'layer { type: "BN" bn_param { bn_mode: INFERENCE scale_filler { type: "constant" } '
    "shift_filler { value: 0.001 } } } "
    'layer { type: "Upsample" upsample_param { scale: 2 pad_out_h: true upsample_w: 60 } }',
    "PSPNet": 'layer { type: "BN" bn_param { slope_filler { value: 1 } bias_filler { value: 0 } '
    'frozen: true momentum: 0.95 } } layer { type: "Interp" interp_param { height: 90 width: 90 '
    "zoom_factor: 8 shrink_factor: 4 pad_beg: 0 pad_end: -1 } }",
    "DeepLab": "layers { type: CONVOLUTION strict_dim: false convolution_param { hole: 12 } } "
    "layers { type: INTERP interp_param { zoom_factor: 8 } } layers { type: IMAGE_SEG_DATA "
    "image_data_param { label_type: PIXEL } }",
    "C3D": "layers { type: CONVOLUTION3D convolution_param { kernel_size: 3 kernel_depth: 3 "
    "temporal_pad: 1 } } layers { type: POOLING3D pooling_param { temporal_stride: 2 } }",
    "CRF-RNN": "layers { type: MULTI_STAGE_MEANFIELD multi_stage_meanfield_param { "
    "num_iterations: 10 compatibility_mode: POTTS threshold: 2 theta_alpha: 160 } }",
    "HED": "layers { type: CROP }",
    "NVIDIA": 'default_forward_type: FLOAT16 layer { type: "BatchNorm" forward_type: FLOAT '
    "batch_norm_param { scale_bias: true scale_filler { value: 1 } bias_filler { value: 0 } } "
    "detectnet_groundtruth_param { gridbox_type: GRIDBOX_MIN object_class { src: 1 dst: 0 } } }",
    "Intel": 'layer { type: "Convolution" quantization_param { bw_layer_in: 8 scale_in: 1.5 '
    "is_negative_input: true } convolution_param { fusion_type: SUM_FUSION relu: true "
    "conv_algorithm: 'auto' relu_param { negative_slope: 0 } } }",
    "YOLO": 'layer { type: "Yolov3DetectionOutput" yolov3_detection_output_param { biases: 10 '
    "biases: 14 mask: 3 anchors_scale: 32 mask_group_num: 2 } } "
    'layer { type: "Reorg" reorg_param { stride: 2 } }',
    "stock": "layer { accuracy_param { top_k: 5 } loss_param { ignore_label: 255 } data_param { "
    "backend: LMDB prefetch: 3 } image_data_param { shuffle: true } hdf5_data_param { "
    "shuffle: true } "
    "spp_param { pyramid_height: 2 } contrastive_loss_param { margin: 1 } recurrent_param { "
    'weight_filler { type: "uniform" } } window_data_param { crop_mode: "square" } }',
}


@pytest.mark.parametrize("fork", TEXTS)
def test_texts_are_read_whole(fork: str) -> None:
    """The text format refuses an unknown field, enum value or type; what is read is what stood."""
    net = NetParameter()
    text_format.Parse(TEXTS[fork], net)

    def words(text: str) -> Counter[str | float]:
        return Counter(
            float(word) if re.fullmatch(r"-?[\d.]+", word) else word.replace("'", '"')
            for word in text.split()
        )

    assert words(text_format.MessageToString(net, as_one_line=True)) == words(TEXTS[fork])


def layers_of(text: str, tmp_path: Path) -> Iterator[LayerParameter]:
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    yield from read_prototxt(path).layer


def test_forks_layers_of_the_old_form_become_todays(tmp_path: Path) -> None:
    """Names, parameters and flags, those of layers included that stock Caffe has in V2 only."""
    old = """
    layers { name: "up" type: INTERP bottom: "a" top: "b" interp_param { height: 3 pad_end: -1 } }
    layers { name: "cut" type: CROP bottom: "b" bottom: "a" top: "c" crop_param { offset: 2 } }
    layers { name: "s" type: SOFTMAX_LOSS bottom: "c" strict_dim: false
             softmaxloss_param { ignore_label: 255 } include { phase: TRAIN } }
    layers { name: "crf" type: MULTI_STAGE_MEANFIELD multi_stage_meanfield_param { threshold: 2 } }
    """
    new = """
    layer { name: "up" type: "Interp" bottom: "a" top: "b" interp_param { height: 3 pad_end: -1 } }
    layer { name: "cut" type: "Crop" bottom: "b" bottom: "a" top: "c" crop_param { offset: 2 } }
    layer { name: "s" type: "SoftmaxWithLoss" bottom: "c" strict_dim: false
            softmaxloss_param { ignore_label: 255 } include { phase: TRAIN } }
    layer { name: "crf" type: "MultiStageMeanfield" multi_stage_meanfield_param { threshold: 2 } }
    """
    expected = text_format.Parse(new, NetParameter()).layer
    assert list(layers_of(old, tmp_path)) == list(expected)


def test_the_old_forms_types_are_the_schemas() -> None:
    """Each has a name in today's form, and each number of a fork stands for a type."""
    known = V1LayerParameter.LayerType
    forks = {name for name, n in known.items() if n >= FIRST_FORK_NUMBER}
    assert forks == set(FORK_V1_TYPES)
    unnumbered = {"MULTI_STAGE_MEANFIELD", "PRELU", "PYTHON", "ROI_POOLING", "TOPK", "UPSAMPLE"}
    assert forks & {n for names in FORK_V1_NUMBERS.values() for n in names} == forks - unnumbered
    for number, names in FORK_V1_NUMBERS.items():
        stock = {name for name, n in known.items() if n == number}
        assert {n for n in names if known.Value(n) < FIRST_FORK_NUMBER} == stock


def test_a_warning_names_once_what_has_no_effect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not what only training reads, nor what is set to its default, nor what is understood."""
    shiny = """type: "Pooling" bottom: "data" pooling_param {
      kernel_size: 1 ceil_mode: false torch_pooling: true engine: MKL2017 }
      accuracy_param { top_k: 2 }"""
    (tmp_path / "net.prototxt").write_text(
        f"""
        input: "data" input_shape {{ dim: 1 dim: 2 dim: 3 dim: 3 }}
        layer {{ name: "p" top: "p" {shiny} }}
        layer {{ name: "q" top: "q" {shiny} }}
        layer {{ name: "n" type: "Normalize" bottom: "data" top: "n"
          norm_param {{ eps: 1 bp_norm: true }} }}
        layer {{ name: "t" type: "Permute" bottom: "data" top: "t" permute_param {{ order: 1 }} }}
        layer {{ name: "o" type: "Own" bottom: "data" top: "o" own_param {{ size: 3 }} }}
        layer {{ name: "r" type: "ReLU" bottom: "data" top: "r" own_flag: true }}
        """
    )
    with caplog.at_level(logging.WARNING):
        load_model(tmp_path / "net.prototxt", None, need_weights=False)
    said = [record.getMessage().split("net.prototxt: ")[1] for record in caplog.records]
    has_no_effect = "(not in stock Caffe) has no effect in"
    assert said == [
        f"unknown field pooling_param.torch_pooling {has_no_effect} 'p', 'q' (Pooling)",
        f"unknown field norm_param.bp_norm {has_no_effect} 'n' (Normalize)",
        f"unknown field own_flag {has_no_effect} 'r' (ReLU)",
    ]


def test_what_is_understood_is_in_the_schema() -> None:
    messages = {message for message, _ in OURS}
    assert {name for name in UNDERSTOOD if "." not in name} <= messages
    assert {tuple(name.split(".")) for name in UNDERSTOOD if "." in name} <= set(OURS)

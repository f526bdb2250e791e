"""The inputs of a net: which blobs become inputs, and which are errors of layers instead.

Compared with nets written by hand.
"""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from deepvis_caffe.errors import UnknownNameError
from deepvis_caffe.model.deploy import Deployed, deploy
from deepvis_caffe.model.schema_pb2 import NetParameter

Summary = list[tuple[str, str, list[str], list[str]]]

IMAGE = "input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } }"
INPUT = f'layer {{ name: "data" type: "Input" top: "data" {IMAGE} }}'
CONV = """
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 2 kernel_size: 3 } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "loss" }'


def done(text: str, **options: object) -> Deployed:
    net = text_format.Parse(text, NetParameter())
    return deploy(net, **options)  # type: ignore[arg-type]


def summary(net: NetParameter) -> Summary:
    return [(layer.name, layer.type, [*layer.bottom], [*layer.top]) for layer in net.layer]


def input_shapes(net: NetParameter) -> dict[str, tuple[int, ...]]:
    return {
        blob: tuple(shape.dim)
        for layer in net.layer
        if layer.type == "Input"
        for blob, shape in zip(
            layer.top, layer.input_param.shape, strict=bool(layer.input_param.shape)
        )
    }


@pytest.mark.parametrize(
    "kind",
    ["Python", "VideoData", "AnnotatedData", "BoxData", "ImageSegData", "MyOwnReader", "CoSData"],
)
def test_every_layer_without_bottoms_is_a_data_layer(kind):
    text = f'layer {{ name: "src" type: "{kind}" top: "data" top: "label" }}' + CONV + LOSS
    net = done(text, input_shapes={"data": (1, 3, 8, 8)}).net
    assert summary(net) == [
        ("src", "Input", [], ["data"]),
        ("c", "Convolution", ["data"], ["c"]),
        ("prob", "Softmax", ["c"], ["prob"]),
    ]


@pytest.mark.parametrize("kind", ["Parameter", "ContinuationIndicator", "DummyData"])
def test_layers_that_make_values_of_their_own_stay(kind):
    text = INPUT + CONV + f'layer {{ name: "own" type: "{kind}" top: "own" }}'
    text += 'layer { name: "e" type: "Eltwise" bottom: "c" bottom: "own" top: "e" }'
    net = done(text).net
    assert [layer.type for layer in net.layer] == ["Input", "Convolution", kind, "Eltwise"]


def test_a_convolution_without_its_bottom_is_not_a_data_layer():
    text = INPUT + CONV + CONV.replace('bottom: "data"', "").replace('"c"', '"d"')
    text += (
        CONV.replace('bottom: "data"', "")
        .replace('"c"', '"e"')
        .replace('"Convolution"', '"MyConvolution"')
    )
    assert input_shapes(done(text).net) == {"data": (1, 3, 8, 8)}


# -- blobs that nothing writes ---------------------------------------------------------------------


def test_a_blob_that_no_layer_writes_is_an_input():
    result = done(CONV, input_shapes=(1, 3, 8, 9))
    assert summary(result.net) == [
        ("data", "Input", [], ["data"]),
        ("c", "Convolution", ["data"], ["c"]),
    ]
    assert input_shapes(result.net) == {"data": (1, 3, 8, 9)}
    assert result.notes == ("no layer writes blob 'data'; it becomes an input",)


def test_a_layer_that_reads_a_misspelled_blob_is_at_fault():
    text = INPUT + CONV + CONV.replace("data", "dat").replace('"c"', '"d"')
    result = done(text)
    assert summary(result.net)[2] == ("d", "Convolution", [], ["d"])
    (name, why) = next(iter(result.faults.items()))
    assert name == "d"
    assert why.startswith("no layer writes blob 'dat'; did you mean 'data'? known: data, c")


@pytest.mark.parametrize("blob", ["rois", "data2", "conv9_speaker"])
def test_a_blob_whose_name_is_like_no_other_or_usual_is_an_input(blob):
    proposals = 'layer { name: "p" type: "Split" bottom: "c" top: "rpn_rois" top: "x" }'
    end = f'layer {{ name: "e" type: "Eltwise" bottom: "rpn_rois" bottom: "{blob}" top: "e" }}'
    assert blob in [
        top for one in done(INPUT + CONV + proposals + end).net.layer for top in one.top
    ]


def test_a_layer_that_stands_before_what_it_reads_is_at_fault():
    relu = 'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }'
    result = done(INPUT + relu + CONV)
    assert result.faults["r"].startswith("it reads blob 'c', which only the later layer 'c' writes")
    assert summary(result.net)[1] == ("r", "ReLU", [], ["r"])


def test_an_input_behind_its_readers_is_moved_to_the_front():
    result = done(CONV + INPUT)
    assert result.net == done(INPUT + CONV).net
    assert result.notes == (
        "layer 'data' comes after layers that read it; it is moved to the front",
    )


def test_an_input_that_is_declared_twice_is_the_one_with_a_shape():
    bare = 'layer { name: "input" type: "Input" top: "data" }'
    result = done(bare + INPUT + CONV)
    assert result.net == done(INPUT + CONV).net
    assert result.notes == ("2 layers fill blob 'data'; using 'data'",)


def test_a_shape_for_a_blob_that_nothing_reads_is_refused():
    with pytest.raises(UnknownNameError, match=r"no input named 'dta'.*did you mean 'data'"):
        done(INPUT + CONV, input_shapes={"dta": (1, 3, 8, 8)})


# -- labels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        'type: "MultiBoxLoss" bottom: "c" bottom: "label"',
        'type: "SmoothL1LossOHEM" bottom: "c" bottom: "label"',
        'type: "SegAccuracy" bottom: "c" bottom: "label"',
        'type: "DetectionEvaluate" bottom: "c" bottom: "label"',
        'type: "EvalDetection" bottom: "c" bottom: "label"',
        'type: "Python" bottom: "c" bottom: "label" python_param { layer: "DiceLossLayer" }',
        'type: "Python" bottom: "c" bottom: "label" python_param { layer: "Mine" } loss_weight: 1',
    ],
)
def test_losses_go_whatever_they_are_called(loss):
    text = f'layer {{ name: "src" type: "MyData" top: "data" top: "label" }} {CONV}'
    text += f'layer {{ name: "loss" {loss} top: "loss" }}'
    net = done(text, input_shapes=(1, 3, 8, 8)).net
    assert summary(net) == [
        ("src", "Input", [], ["data"]),
        ("c", "Convolution", ["data"], ["c"]),
    ]


def test_a_custom_convolution_reads_the_image_not_a_label():
    text = 'layer { name: "src" type: "Data" top: "data" top: "label" }'
    custom = '"MyConvolution" relu_param { negative_slope: 1 }'
    text += CONV.replace('"Convolution"', custom) + LOSS
    net = done(text, input_shapes=(1, 3, 8, 8)).net
    assert summary(net) == [
        ("src", "Input", [], ["data"]),
        ("c", "MyConvolution", ["data"], ["c"]),
        ("prob", "Softmax", ["c"], ["prob"]),
    ]


def test_a_second_input_of_a_custom_layer_with_weights_is_not_a_label():
    text = 'layer { name: "src" type: "Data" top: "data" top: "aux" top: "label" }' + CONV
    text += """
    layer { name: "m" type: "MyConvolution" bottom: "aux" top: "m"
            convolution_param { num_output: 2 } }
    layer { name: "e" type: "Eltwise" bottom: "c" bottom: "m" top: "e" }
    """
    net = done(text + LOSS.replace('"c"', '"e"'), input_shapes={"data": (1, 3, 8, 8)}).net
    tops = [top for layer in net.layer if layer.type == "Input" for top in layer.top]
    assert tops == ["data", "aux"]


def test_scores_against_the_truth_go():
    text = 'layer { name: "src" type: "Data" top: "data" top: "label" }' + CONV
    text += """
    layer { name: "truth" type: "Python" bottom: "label" top: "boxes"
            python_param { layer: "ClusterGroundtruth" } }
    layer { name: "score" type: "Python" bottom: "boxes" bottom: "c" top: "scored"
            python_param { layer: "ScoreDetections" } }
    """
    net = done(text, input_shapes={"data": (1, 3, 8, 8)}).net
    assert [name for name, *_ in summary(net)] == ["src", "c"]


FASTER_RCNN = (
    """
layer { name: "in" type: "Python" top: "data" top: "im_info" top: "gt_boxes"
        python_param { module: "roi_data_layer.layer" layer: "RoIDataLayer" } }
"""
    + CONV
    + """
layer { name: "rpn-data" type: "Python" bottom: "c" bottom: "gt_boxes" bottom: "im_info"
        top: "rpn_labels" top: "rpn_targets" python_param { layer: "AnchorTargetLayer" } }
layer { name: "rpn_loss" type: "SmoothL1Loss" bottom: "c" bottom: "rpn_targets" top: "rpn_loss" }
layer { name: "rpn_loss2" type: "SoftmaxWithLoss" bottom: "c" bottom: "rpn_labels" top: "l2" }
layer { name: "proposal" type: "Python" bottom: "c" bottom: "im_info" top: "rpn_rois"
        python_param { layer: "ProposalLayer" } }
"""
)
SECOND_STAGE = """
layer { name: "roi-data" type: "Python" bottom: "rpn_rois" bottom: "gt_boxes" top: "rois"
        top: "labels" python_param { layer: "ProposalTargetLayer" } }
layer { name: "pool" type: "ROIPooling" bottom: "c" bottom: "rois" top: "pool" }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
        inner_product_param { num_output: 2 } }
layer { name: "cls_loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "labels" top: "cls_loss" }
"""


def test_a_region_proposal_net_loses_its_ground_truth_and_keeps_its_proposals():
    net = done(FASTER_RCNN, input_shapes=(1, 3, 8, 8)).net
    assert summary(net) == [
        ("in", "Input", [], ["data", "im_info"]),
        ("c", "Convolution", ["data"], ["c"]),
        ("prob", "Softmax", ["c"], ["prob"]),
        ("proposal", "Python", ["c", "im_info"], ["rpn_rois"]),
    ]
    assert input_shapes(net) == {"data": (1, 3, 8, 8), "im_info": (1, 3)}


def test_a_faster_rcnn_keeps_what_its_second_stage_needs():
    net = done(FASTER_RCNN + SECOND_STAGE, input_shapes=(1, 3, 8, 8)).net
    assert [name for name, *_ in summary(net)] == [
        *("in", "c", "proposal", "roi-data", "pool", "fc", "prob")
    ]
    assert input_shapes(net) == {"data": (1, 3, 8, 8), "im_info": (1, 3), "gt_boxes": (1, 5)}


def test_fast_rcnns_regions_are_inputs_and_its_targets_are_not():
    text = """
    layer { name: "data" type: "Python" top: "data" top: "rois" top: "labels" top: "bbox_targets"
            top: "bbox_inside_weights" python_param { layer: "RoIDataLayer" } }
    """
    text += CONV + SECOND_STAGE.replace('bottom: "rpn_rois" bottom: "gt_boxes" top: "rois"', "")
    text = text.replace(
        'layer { name: "roi-data" type: "Python" \n        top: "labels" python_param '
        '{ layer: "ProposalTargetLayer" } }',
        "",
    )
    text += 'layer { name: "b" type: "SmoothL1Loss" bottom: "fc" bottom: "bbox_targets" '
    text += 'bottom: "bbox_inside_weights" top: "b" }'
    net = done(text, input_shapes={"data": (1, 3, 8, 8)}).net
    assert summary(net)[0] == ("data", "Input", [], ["data", "rois"])
    assert input_shapes(net) == {"data": (1, 3, 8, 8), "rois": (1, 5)}


def test_a_layer_that_changes_images_and_labels_together_is_the_source():
    text = f"""
    layer {{ name: "d" type: "Data" top: "raw" transform_param {{ mean_value: 7 }} }}
    layer {{ name: "l" type: "Data" top: "label" }}
    layer {{ name: "t" type: "MyTransformation" bottom: "raw" bottom: "label"
             top: "data" top: "target" }}
    {CONV}
    layer {{ name: "loss" type: "L1Loss" bottom: "c" bottom: "target" top: "loss" }}
    """
    result = done(text, input_shapes=(1, 3, 8, 8))
    assert summary(result.net) == [
        ("t", "Input", [], ["data"]),
        ("c", "Convolution", ["data"], ["c"]),
    ]
    assert list(result.net.layer[0].transform_param.mean_value) == [7]
    assert "transforms images and labels together" in result.notes[0]


# -- constants -------------------------------------------------------------------------------------


def test_the_dummy_that_the_first_convolution_reads_is_the_image():
    text = """
    layer { name: "in" type: "DummyData" top: "data" top: "im_info"
            dummy_data_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } shape { dim: 1 dim: 3 } } }
    """
    result = done(text + CONV)
    assert summary(result.net) == [
        ("data", "Input", [], ["data"]),
        ("in", "DummyData", [], ["im_info"]),
        ("c", "Convolution", ["data"], ["c"]),
    ]
    assert input_shapes(result.net) == {"data": (1, 3, 8, 8)}
    (shape,) = result.net.layer[1].dummy_data_param.shape
    assert list(shape.dim) == [1, 3]
    assert "DummyData 'data' is used" in result.notes[0]


def test_a_dummy_in_the_legacy_form_is_the_image_too():
    dummy = "dummy_data_param { num: 2 channels: 3 height: 8 width: 9 }"
    net = done(f'layer {{ name: "in" type: "DummyData" top: "data" {dummy} }}' + CONV).net
    assert summary(net)[0] == ("in", "Input", [], ["data"])
    assert input_shapes(net) == {"data": (2, 3, 8, 9)}


def test_a_dummy_beside_an_input_is_a_constant():
    dummy = f'layer {{ name: "k" type: "DummyData" top: "k" dummy_data_param {{ {SHAPE} }} }}'
    add = 'layer { name: "e" type: "Eltwise" bottom: "data" bottom: "k" top: "e" }'
    net = done(INPUT + dummy + add + CONV.replace('"data"', '"e"')).net
    assert [layer.type for layer in net.layer] == ["Input", "DummyData", "Eltwise", "Convolution"]


SHAPE = "shape { dim: 1 dim: 3 dim: 8 dim: 8 }"


def test_a_dummy_is_the_image_beside_an_input_that_the_convolution_does_not_read():
    info = 'layer { name: "i" type: "Input" top: "info" input_param { shape { dim: 1 dim: 3 } } }'
    dummy = f'layer {{ name: "k" type: "DummyData" top: "data" dummy_data_param {{ {SHAPE} }} }}'
    net = done(info + dummy + CONV).net
    assert input_shapes(net) == {"info": (1, 3), "data": (1, 3, 8, 8)}


def test_an_input_of_another_phase_may_be_overwritten_in_place():
    """As a train file does that scales its images itself."""
    train = 'layer { name: "d" type: "Data" top: "data" include { phase: TRAIN } '
    train += "transform_param { crop_size: 8 } }"
    scale = 'layer { name: "s" type: "Power" bottom: "data" top: "data" power_param { scale: 2 } }'
    net = done(train + scale + CONV).net
    assert summary(net) == [
        ("d", "Input", [], ["data"]),
        ("s", "Power", ["data"], ["data"]),
        ("c", "Convolution", ["data"], ["c"]),
    ]

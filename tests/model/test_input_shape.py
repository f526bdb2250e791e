"""Input shapes that the file does not state, against the shapes for which the weights were made.

Each net is described with its real input size, its weights get the shapes that real Caffe gives
them at that size (written by hand if they are few), and then the size is removed from the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from google.protobuf import text_format

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.deploy import Deployed, deploy
from deepvis_caffe.model.dialects import translate
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.input_shape import image_input
from deepvis_caffe.model.prototxt import read_prototxt
from deepvis_caffe.model.schema_pb2 import LayerParameter, NetParameter
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.resources import resource

Shapes = Mapping[str, Sequence[tuple[int, ...]]]

DATA = 'layer { name: "src" type: "Data" top: "data" top: "label" %s }'
LENET = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 20 kernel_size: 5 } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
        pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
        convolution_param { num_output: 50 kernel_size: 5 } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
        pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1"
        inner_product_param { num_output: 500 } }
"""
CONV = """
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 4 kernel_size: 3 } }
"""
FC = """
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
        inner_product_param { num_output: 2 } }
"""


def parsed(text: str) -> NetParameter:
    return text_format.Parse(text, NetParameter())


def arrays(shapes: Shapes) -> dict[str, list[np.ndarray]]:
    return {
        name: [np.broadcast_to(np.float32(0), shape) for shape in some]
        for name, some in shapes.items()
    }


def fitted(text: str, shapes: Shapes | None = None, **options: object) -> Deployed:
    weights = None if shapes is None else arrays(shapes)
    return deploy(parsed(text), weights=weights, **options)  # type: ignore[arg-type]


def input_shapes(done: Deployed) -> dict[str, tuple[int, ...]]:
    return {
        blob: tuple(shape.dim)
        for layer in done.net.layer
        if layer.type == "Input"
        for blob, shape in zip(layer.top, layer.input_param.shape, strict=False)
    }


# -- what the file tells ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        # SSD
        (
            'type: "AnnotatedData" transform_param { force_color: true resize_param { prob: 1 '
            "resize_mode: WARP height: 30 width: 40 } expand_param { max_expand_ratio: 4 } "
            "distort_param { hue_delta: 18 } } annotated_data_param { batch_sampler { sampler { "
            "max_scale: 1 } } }",
            (1, 3, 30, 40),
        ),
        ('type: "AnnotatedData" transform_param { crop_h: 12 crop_w: 14 }', (1, 3, 12, 14)),
        # MSCNN: the crop counts, not what it is cut from
        (
            'type: "ImageGtData" image_gt_data_param { resize_width: 64 resize_height: 48 '
            "crop_width: 44 crop_height: 40 min_gt_height: 4 }",
            (1, 3, 40, 44),
        ),
        # YOLO
        ('type: "YoloData" yolo_data_param { new_height: 22 new_width: 24 }', (1, 3, 22, 24)),
        # CaffeOnSpark
        (
            'type: "CoSData" cos_data_param { top { name: "data" channels: 1 height: 28 width: 28 }'
            ' top { name: "label" channels: 1 height: 1 width: 1 } }',
            (1, 1, 28, 28),
        ),
        # Y. Xiong's videos: two channels for each frame of a flow, of each segment
        (
            'type: "VideoData" video_data_param { new_length: 5 num_segments: 3 modality: FLOW } '
            "transform_param { crop_size: 24 mean_value: 128 }",
            (1, 30, 24, 24),
        ),
        (
            'type: "VideoData" video_data_param { modality: RGB new_height: 20 new_width: 24 } '
            "transform_param { mean_value: 104 mean_value: 117 mean_value: 123 }",
            (1, 3, 20, 24),
        ),
        (
            'type: "VideoData" video_data_param { modality: RGB new_length: 2 grayscale: true } '
            "transform_param { crop_size: 24 }",
            (1, 2, 24, 24),
        ),
    ],
)
def test_data_layers_of_forks_tell_the_images_size(data, shape):
    text = f'layer {{ name: "d" top: "data" top: "label" {data} }}' + CONV
    assert input_shapes(fitted(text)) == {"data": shape}


C3D = "new_length: 16 new_height: 128 new_width: 171"


@pytest.mark.parametrize(
    "data",
    [
        f"image_data_param {{ {C3D} crop_size: 112 }}",  # C3D 1.0
        f"video_data_param {{ {C3D} }} transform_param {{ crop_size: 112 mean_value: 90 }}",
    ],
)
def test_a_videos_frames_are_an_axis(data):
    """With them, the shapes of the weights are those of C3D's published model."""
    net = read_prototxt(resource("prototxt", "c3d.prototxt"))
    blob = net.layer[0].top[0]
    del net.layer[0]
    text = f'layer {{ name: "d" type: "VideoData" top: "{blob}" top: "label" {data} }}'
    done = deploy(translate(parsed(text + text_format.MessageToString(net)), {}))
    assert input_shapes(done) == {blob: (1, 3, 16, 112, 112)}
    weights = infer(Graph.from_layers("c3d", done.net.layer)).weights
    assert weights["conv1a"][0] == (64, 3, 3, 3, 3)
    assert weights["fc6-1"][0] == (4096, 8192)


def test_a_shape_that_is_given_may_have_the_frames_that_the_file_does_not_tell():
    net = read_prototxt(resource("prototxt", "c3d.prototxt"))
    blob = net.layer[0].top[0]
    net.layer[0].Clear()
    net.layer[0].MergeFrom(
        text_format.Parse(
            f'name: "d" type: "VideoSegmentationData" top: "{blob}" '
            "image_data_param { crop_size: 112 }",
            LayerParameter(),
        )
    )
    done = deploy(translate(net, {}), {blob: (1, 3, 16, 112, 112)})
    assert infer(Graph.from_layers("c3d", done.net.layer)).weights["fc6-1"][0] == (4096, 8192)


def test_of_a_video_without_a_size_the_shape_is_asked_for_with_its_frames():
    text = 'layer { name: "d" type: "VideoData" top: "data" video_data_param { new_length: 16 } }'
    with pytest.raises(ModelError, match=r"frames, height.*'data:1,3,16,224,224'"):
        fitted(text + CONV)


def test_what_one_phase_does_not_tell_the_other_does():
    train = DATA % "include { phase: TRAIN } transform_param { crop_size: 24 }"
    test = DATA % "include { phase: TEST } transform_param { force_gray: true }"
    assert input_shapes(fitted(train + test + CONV)) == {"data": (1, 1, 24, 24)}


def test_a_size_of_zero_or_less_in_the_file_is_none():
    net = parsed('layer { name: "d" type: "Input" top: "data" } ' + CONV)
    net.layer[0].input_param.shape.add(dim=[1, 3, -1, -1])
    done = deploy(net, weights=arrays({"c": [(4, 3, 3, 3), (4,)]}))
    assert input_shapes(done) == {"data": (1, 3, 224, 224)}


# -- what the weights tell -------------------------------------------------------------------------


def test_a_lenet_is_28_by_28_in_gray():
    # 28 -5+1-> 24 /2-> 12 -5+1-> 8 /2-> 4, and 50 x 4 x 4 = 800
    weights = {"conv1": [(20, 1, 5, 5), (20,)], "ip1": [(500, 800), (500,)]}
    done = fitted(DATA % "" + LENET, {**weights, "conv2": [(50, 20, 5, 5), (50,)]})
    assert input_shapes(done) == {"data": (1, 1, 28, 28)}
    assert done.notes == (
        "input 'data' is assumed to be 1 x 1 x 28 x 28, because layer 'conv1' has weights for 1 "
        "channel and layer 'ip1' has weights for 800 inputs",
    )


def test_weights_in_the_legacy_shape_of_four_axes_tell_as_much():
    weights = {"conv1": [(20, 1, 5, 5), (1, 1, 1, 20)], "ip1": [(1, 1, 500, 800), (1, 1, 1, 500)]}
    assert input_shapes(fitted(DATA % "" + LENET, weights)) == {"data": (1, 1, 28, 28)}


def test_channels_come_from_the_weights_if_only_the_size_is_given():
    weights = {"conv1": [(20, 1, 5, 5), (20,)], "ip1": [(500, 800), (500,)]}
    done = fitted(DATA % "transform_param { crop_size: 28 }" + LENET, weights)
    assert input_shapes(done) == {"data": (1, 1, 28, 28)}
    colour = {"conv1": [(20, 3, 5, 5), (20,)], "ip1": [(500, 800), (500,)]}
    done = fitted(DATA % "transform_param { crop_size: 28 }" + LENET, colour)
    assert input_shapes(done) == {"data": (1, 3, 28, 28)}
    assert done.notes == ()


@pytest.mark.parametrize(
    ("height", "width", "found"),
    [
        (32, 40, (32, 40)),  # landscape before portrait
        (40, 32, (32, 40)),
        (36, 36, (36, 36)),
        (30, 30, (32, 32)),  # the same maps as 29 to 32, and 32 is in use
        (37, 37, (40, 40)),  # of 39 and 40 the one that pooling cuts nothing off
        (52, 52, (52, 52)),  # the roundest of 49 to 52
    ],
)
def test_an_inner_product_tells_the_size(height, width, found):
    # Two times: minus 4, halved and rounded up.
    rows, columns = (math.ceil((math.ceil((side - 4) / 2) - 4) / 2) for side in (height, width))
    weights = {"conv1": [(20, 3, 5, 5)], "ip1": [(500, 50 * rows * columns)]}
    assert input_shapes(fitted(DATA % "" + LENET, weights)) == {"data": (1, 3, *found)}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("bvlc_reference_caffenet", (1, 3, 227, 227)),
        ("bvlc_googlenet", (1, 3, 224, 224)),
        ("vgg16", (1, 3, 224, 224)),
        ("resnet50", (1, 3, 224, 224)),
        ("lenet", (1, 1, 28, 28)),
        ("squeezenet_v1.1", (1, 3, 227, 227)),
        ("nin_imagenet", (1, 3, 227, 227)),  # it works at 224, too, cutting off three pixels
    ],
)
def test_the_sizes_of_known_nets(name, shape):
    net = read_prototxt(resource("prototxt", f"{name}.prototxt"))
    whole = deploy(net).net
    weights = arrays(infer(Graph.from_layers(whole.name, whole.layer)).weights)
    for layer in net.layer:
        layer.ClearField("input_param")
    assert input_shapes(deploy(net, weights=weights)) == {"data": shape}


def test_a_net_that_works_at_any_size_gets_224():
    done = fitted(DATA % "" + CONV, {"c": [(4, 2, 3, 3), (4,)]})
    assert input_shapes(done) == {"data": (1, 2, 224, 224)}
    assert "its layers work at this size, and require no other" in done.notes[0]


def test_a_size_that_a_pooling_layer_needs():
    # 224 has maps of 5 x 5 there, and 299 the first ones of 8 x 8.
    layers = "".join(
        f'layer {{ name: "c{i}" type: "Convolution" bottom: "{"data" if not i else f"c{i - 1}"}" '
        f'top: "c{i}" convolution_param {{ num_output: 2 kernel_size: 3 stride: 2 }} }}'
        for i in range(5)
    )
    pool = 'layer { name: "p" type: "Pooling" bottom: "c4" top: "p" pooling_param { kernel_size: 8 '
    weights = {"c0": [(2, 3, 3, 3), (2,)]}
    done = fitted(DATA % "" + layers + pool + "} }", weights)
    assert input_shapes(done) == {"data": (1, 3, 299, 299)}


def test_a_size_that_a_reshape_asks_for():
    """The maps of c are 2 pixels smaller than the image, here than SegNet's 360 x 480."""
    reshape = 'layer { name: "r" type: "Reshape" bottom: "c" top: "r" reshape_param { shape { '
    reshape += "dim: 0 dim: 4 dim: 358 dim: 478 } } }"
    done = fitted(DATA % "" + CONV + reshape, {"c": [(4, 3, 3, 3), (4,)]})
    assert input_shapes(done) == {"data": (1, 3, 360, 480)}


def test_channels_behind_a_slice_add_up():
    text = """
    layer { name: "s" type: "Slice" bottom: "data" top: "x" top: "y"
            slice_param { slice_point: 3 } }
    """
    text += CONV.replace("data", "x") + CONV.replace("data", "y").replace('"c"', '"d"')
    done = fitted(DATA % "" + text, {"c": [(4, 3, 3, 3), (4,)], "d": [(4, 2, 3, 3), (4,)]})
    assert input_shapes(done) == {"data": (1, 5, 224, 224)}


@pytest.mark.parametrize(
    ("inputs", "shape"),
    [
        (784, (1, 1, 28, 28)),
        (3072, (1, 3, 32, 32)),
        (4, (1, 4)),  # the four numbers of an iris, not 2 x 2 pixels
        (1000, (1, 1000)),
    ],
)
def test_a_net_that_begins_with_an_inner_product(inputs, shape):
    done = fitted(DATA % "" + FC, {"fc": [(2, inputs), (2,)]})
    assert input_shapes(done) == {"data": shape}
    assert f"because layer 'fc' has weights for {inputs} inputs" in done.notes[0]


def test_a_generator_begins_with_a_list_of_numbers():
    text = CONV.replace("Convolution", "Deconvolution")
    done = fitted('input: "z" ' + text.replace("data", "z"), {"c": [(100, 4, 3, 3), (4,)]})
    assert input_shapes(done) == {"z": (1, 100, 1, 1)}


def test_two_images_of_a_pair_get_one_size():
    text = (DATA % "").replace('top: "label"', 'top: "data_p"') + CONV
    text += CONV.replace("data", "data_p").replace('"c"', '"d"')
    text += 'layer { name: "e" type: "Concat" bottom: "c" bottom: "d" top: "e" }'
    text += FC.replace("data", "e")
    # 32 - 3 + 1 = 30, and 8 channels of 30 x 30
    weights = {"c": [(4, 1, 3, 3)], "d": [(4, 1, 3, 3)], "fc": [(2, 7200)]}
    assert input_shapes(fitted(text, weights)) == {"data": (1, 1, 32, 32), "data_p": (1, 1, 32, 32)}


# -- where nothing tells ---------------------------------------------------------------------------


def test_an_inner_product_without_weights_asks_for_the_size():
    with pytest.raises(
        ModelError, match=r"shape of input data; .*data:1,1,224,224.* weights would"
    ):
        fitted(DATA % "transform_param { force_gray: true }" + LENET)


def test_weights_that_fit_at_no_size_ask_for_it():
    with pytest.raises(ModelError, match=r"does not give the shape of input data; .*data:1,1,224,"):
        fitted(DATA % "" + LENET, {"conv1": [(20, 1, 5, 5)], "ip1": [(500, 801), (500,)]})


def test_an_input_that_is_not_the_image_does_not_stop_the_net():
    more = 'layer { name: "more" type: "Input" top: "more" } '
    more += 'layer { name: "m" type: "MyLayer" bottom: "c" bottom: "more" top: "m" }'
    done = fitted(DATA % "transform_param { crop_size: 8 }" + CONV + more)
    assert input_shapes(done) == {"data": (1, 3, 8, 8)}
    assert done.faults == {
        "more": "the file does not give its shape; pass --input-shape more:1,..."
    }
    given = fitted(DATA % "" + CONV + more, input_shapes={"more": (1, 7), "data": (1, 3, 8, 8)})
    assert not given.faults


def test_a_shape_without_a_name_is_the_images():
    text = 'layer { name: "i" type: "Input" top: "im_info" } ' + DATA % "" + CONV
    done = fitted(text, input_shapes=(1, 3, 8, 9))
    assert input_shapes(done) == {"im_info": (1, 3), "data": (1, 3, 8, 9)}


def test_a_missing_batch_axis_is_added_where_that_makes_it_work():
    text = 'layer { name: "d" type: "Input" top: "data" input_param { shape { dim: 3 dim: 32 '
    text += "dim: 30 } } }" + CONV
    done = fitted(text, {"c": [(4, 3, 3, 3), (4,)]})
    assert input_shapes(done) == {"data": (1, 3, 32, 30)}
    assert done.notes == ("input 'data', 3 x 32 x 30, has no batch axis; 1 x 3 x 32 x 30 is used",)
    # Over one axis of space it means what it says.
    assert input_shapes(fitted(text, {"c": [(4, 32, 3), (4,)]})) == {"data": (3, 32, 30)}


# -- which input is the image ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "image"),
    [
        ({"a": (1, 3, 8, 8), "b": (1, 3, 8, 8)}, "a"),
        ({"im_info": (1, 3), "data": (1, 3, 8, 8)}, "data"),
        ({"code": (1, 512, 1, 1), "data": (1, 1, 8, 8)}, "data"),
        ({"features": (1, 64, 8, 8), "info": (1, 3)}, "features"),
        ({"info": (1, 3), "code": (1, 512, 1, 1)}, "code"),
        ({"x": (5, 3), "y": (5,)}, "x"),
    ],
)
def test_the_first_input_of_an_images_shape_is_the_image(shapes, image):
    assert image_input(shapes) == image

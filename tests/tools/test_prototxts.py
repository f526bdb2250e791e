"""The files in prototxt/: as their generator writes them, and as their papers describe them.

Oracles: published numbers of parameters, map sizes and numbers of boxes, with their sources in each
row. Statistics of batch normalizations are not parameters.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deepvis_caffe.model.model import Model, load_model
from tools.prototxts.__main__ import FOLDER, NETS
from tools.prototxts.net import Net


@dataclass(frozen=True)
class Published:
    """What is known about an architecture without this package.

    Attributes
    ----------
    parameters
        Their number; or in millions, as far as it was printed.
    source
        Who says so.
    maps
        Blobs, and their channels, rows and columns in the paper.
    """

    parameters: int | float
    source: str
    maps: dict[str, tuple[int, ...]] = field(default_factory=dict)


TORCHVISION = "torchvision's table of models"
HAN = "Han et al. 2016 (Deep Compression), Table 1"
DSOD = "Shen et al. 2017 (DSOD), Table 4"
OWN_FILE = "counted in the deploy file of the release"
PUBLISHED = {
    "lenet": Published(0.431, HAN, {"conv1": (20, 24, 24), "pool2": (50, 4, 4)}),
    "lenet_digits": Published(
        16 * 26 + 32 * 401 + 64 * 513 + 10 * 65, "by hand", {"pool2": (32, 4, 4)}
    ),
    "bvlc_alexnet": Published(61.0, HAN, {"pool5": (256, 6, 6)}),
    "bvlc_reference_caffenet": Published(61.0, HAN, {"pool2": (256, 13, 13)}),
    "caffenet_yos": Published(61.0, HAN, {"conv1": (96, 55, 55)}),
    "zfnet": Published(
        (3 * 49 + 1) * 96
        + (96 * 25 + 1) * 256
        + (256 * 9 + 1) * 384
        + (384 * 9 + 1) * (384 + 256)
        + (256 * 36 + 1) * 4096
        + 4097 * (4096 + 1000),
        "by hand, from Figure 3",
        {
            "conv1": (96, 110, 110),
            "pool1": (96, 55, 55),
            "conv2": (256, 26, 26),
            "pool2": (256, 13, 13),
            "pool5": (256, 6, 6),
        },
    ),
    "nin_imagenet": Published(7.6, "Caffe model zoo: 29 MB", {"cccp8": (1000, 6, 6)}),
    "vgg16": Published(138_357_544, TORCHVISION, {"pool5": (512, 7, 7)}),
    "vgg19": Published(143_667_240, TORCHVISION, {"pool5": (512, 7, 7)}),
    "bvlc_googlenet": Published(
        7.0,
        "ONNX model zoo: 28 MB; maps: Table 1",
        {
            "pool2/3x3_s2": (192, 28, 28),
            "inception_3b/output": (480, 28, 28),
            "inception_4e/output": (832, 14, 14),
            "inception_5b/output": (1024, 7, 7),
        },
    ),
    # Its conv1 has a bias of 64 values, which other releases have not.
    "resnet50": Published(25_557_032 + 64, TORCHVISION, {"res5c": (2048, 7, 7)}),
    "resnet101": Published(44_549_160, TORCHVISION, {"res4b22": (1024, 14, 14)}),
    "resnet152": Published(60_192_808, TORCHVISION, {"res4b35": (1024, 14, 14)}),
    "squeezenet_v1.0": Published(1_248_424, TORCHVISION, {"fire8/concat": (512, 27, 27)}),
    "squeezenet_v1.1": Published(1_235_496, TORCHVISION, {"fire9/concat": (512, 14, 14)}),
    "densenet121": Published(
        7_978_856,
        TORCHVISION,
        {"concat_2_6": (256, 56, 56), "concat_3_12": (512, 28, 28), "concat_5_16": (1024, 7, 7)},
    ),
    "mobilenet_v1": Published(
        4_231_976, "keras.applications, trainable", {"conv5_5/sep": (512, 14, 14)}
    ),
    # Its first block has a convolution of 32 channels to 32 that the paper leaves out.
    "mobilenet_v2": Published(3_504_872 + 32 * 32 + 2 * 32, TORCHVISION, {"conv6_4": (1280, 7, 7)}),
    "shufflenet_g3": Published(
        1_814_734,
        OWN_FILE,
        {"conv1": (24, 112, 112), "resx4_elewise": (240, 28, 28), "resx12_elewise": (480, 14, 14)},
    ),
    "sketch_a_net": Published(
        8.5,
        "its paper: 8.5 million; maps: Table 1",
        {"conv1": (64, 71, 71), "pool1": (64, 35, 35), "pool5": (256, 7, 7), "conv6": (512, 1, 1)},
    ),
    "fcn32s": Published(134 + 64 * 64 * 21 * 21 / 1e6, "its paper, Table 1, and the upsampling"),
    "fcn8s": Published(134.0, "its paper, Table 1", {"score": (21, 500, 500)}),
    "segnet": Published(
        29.46,
        "Paszke et al. 2016 (ENet), Table 3",
        {"pool5": (512, 12, 15), "pool5_D": (512, 23, 30), "conv1_1_D": (11, 360, 480)},
    ),
    "deeplab_largefov": Published(
        20.5, "its paper, Table 2", {"fc7": (1024, 65, 65), "fc8_interp": (21, 513, 513)}
    ),
    "pspnet50": Published(
        46_782_550, OWN_FILE, {"conv5_3": (2048, 60, 60), "conv5_3_concat": (4096, 60, 60)}
    ),
    "ssd300_vgg": Published(
        26.3,
        f"{DSOD}; boxes: its paper",
        {"mbox_loc": (4 * 8732,), "mbox_conf": (21 * 8732,), "mbox_priorbox": (2, 4 * 8732)},
    ),
    # Other strides than SSD300's, so more boxes: its last three maps have 5 x 5 positions.
    "res10_ssd_face": Published(
        10_666_211 / 4e6,
        "size of the release's weights; boxes by hand",
        {"mbox_loc": (4 * (4 * 38**2 + 6 * 19**2 + 6 * 10**2 + (6 + 4 + 4) * 5**2),)},
    ),
    # The table leaves out the net that proposes regions, of which 9 are at each position.
    "faster_rcnn_vgg16": Published(
        134.7 + (512 * 9 * 512 + 512 + 513 * 6 * 9) / 1e6,
        DSOD,
        {"conv5_3": (512, 38, 50), "rpn_bbox_pred": (36, 38, 50), "bbox_pred": (84,)},
    ),
    "yolo_v2": Published(
        50_962_889,
        "YAD2K, trainable",
        {"conv18": (1024, 13, 13), "reorg": (256, 13, 13), "region": (425, 13, 13)},
    ),
    "mnist_siamese": Published(
        2 * (20 * 26 + 50 * 501 + 500 * 801 + 10 * 501 + 2 * 11), "by hand", {"feat_p": (2,)}
    ),
    "m11": Published(1.8, "its paper, Table 1", {"pool1": (64, 1, 2000), "pool4": (256, 1, 32)}),
    "c3d": Published(
        80.2,
        "Qiu et al. 2017 (P3D), Table 1: 321 MB",
        {"pool1": (64, 16, 56, 56), "pool4": (512, 2, 7, 7), "pool5": (512, 1, 4, 4)},
    ),
    "lrcn": Published(
        2_334_080 + 9217 * 4096 + 4 * 256 * (4096 + 256 + 1) + 257 * 101,
        "by hand: AlexNet's convolutions, fc6, an LSTM, fc8",
        {"lstm1": (1, 256)},
    ),
}


@pytest.fixture(params=NETS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    """Each net, without weights; regions are given where a layer in Python would propose them."""
    text = (FOLDER / f"{request.param}.prototxt").read_text(encoding="utf-8")
    rois = 'layer { name: "rois" type: "Input" top: "rois" input_param { shape { dim: [9, 5] } } }'
    text = re.sub(r'layer \{\n  name: "proposal"(.|\n)*?\n\}', rois, text)
    path = tmp_path / f"{request.param}.prototxt"
    path.write_text(text, encoding="utf-8")
    return load_model(path, None, need_weights=False)


def test_the_files_are_those_that_the_generator_writes() -> None:
    committed = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.prototxt")}
    assert committed == {name: make().text for name, make in NETS.items()}


@pytest.mark.slow
def test_it_has_the_published_parameters_and_maps(model: Model) -> None:
    assert not model.opaque
    assert model.prototxt is not None
    published = PUBLISHED[model.prototxt.stem]
    types = {layer.name: layer.type for layer in model.graph}
    count = sum(
        math.prod(shape)
        for name, shapes in model.weight_shapes.items()
        for shape in shapes
        if types[name] != "BatchNorm"
    )
    if isinstance(published.parameters, int):
        assert count == published.parameters, published.source
    else:
        assert count / 1e6 == pytest.approx(published.parameters, rel=0.01), published.source
    for blob, expected in published.maps.items():
        assert model.shapes[model.graph.blobs[blob]][1:] == expected, blob


def test_a_layer_as_text() -> None:
    net = Net("n", "about it")
    net.conv("c", net.input(1, 2, 3, 4), 5, (1, 2), pad=1, bias=False, params=["w"])
    net.pool("p", "c", 2, kind="AVE", tops=["p", "mask"])
    net.relu("r", "p")
    assert (
        net.text
        == """# about it
name: "n"
layer {
  name: "data" type: "Input"
  top: "data"
  input_param { shape { dim: 1 dim: 2 dim: 3 dim: 4 } }
}
layer {
  name: "c" type: "Convolution"
  bottom: "data" top: "c"
  param { name: "w" }
  convolution_param { num_output: 5 kernel_h: 1 kernel_w: 2 pad: 1 bias_term: false }
}
layer {
  name: "p" type: "Pooling"
  bottom: "c" top: "p" top: "mask"
  pooling_param { pool: AVE kernel_size: 2 }
}
layer {
  name: "r" type: "ReLU"
  bottom: "p" top: "p"
}
"""
    )
    with pytest.raises(ValueError, match="named 'c' already"):
        net.relu("c", "p")

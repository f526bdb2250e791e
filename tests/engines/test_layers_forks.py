"""Layers of forks that the Caffe of ``make pycaffe`` has: the torch engine against it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from helpers.agreement import assert_engines_agree
from helpers.engine_nets import layer, load_text, net_text, noise, relu
from helpers.torch_layers import built

from deepvis_caffe.engines.pycaffe.library import is_anothers
from deepvis_caffe.errors import EngineError

pytestmark = pytest.mark.pycaffe

IMAGES = (2, 3, 5, 4)
WITHOUT_BACKWARD = ()  # the modes of layers whose backward pass does nothing in that Caffe


@pytest.mark.parametrize(
    ("params", "shape"),
    [("scale: 3", IMAGES), ("scale: 2 dims_num: 3", (2, 3, 5)), ("", IMAGES)],
)
def test_upsample(caffe: Any, params: str, shape: tuple[int, ...]) -> None:
    upsample = layer("x", "Upsample", "data", "", f"upsample_param {{ {params} }}")
    assert_engines_agree(net_text(upsample, data=shape), modes=WITHOUT_BACKWARD)


@pytest.mark.parametrize(
    ("kind", "params", "modes"),
    [
        ("ReLU6", "", ("gradient",)),
        ("ReLU6", "relu6_param { negative_slope: 0.5 threshold: 2 }", ("gradient",)),
        ("HardSigmoid", "", WITHOUT_BACKWARD),
        ("HardSigmoid", "hardsigmoid_param { alpha: 0.3 beta: 0.1 }", WITHOUT_BACKWARD),
        ("HardSwish", "", WITHOUT_BACKWARD),
    ],
)
def test_activation(caffe: Any, kind: str, params: str, modes: tuple[str, ...]) -> None:
    text = net_text(layer("x", kind, "data", "", params), data=IMAGES)
    assert_engines_agree(text, lambda noise: 4 * noise, modes)


@pytest.mark.parametrize(
    ("kind", "params", "shape"),
    [
        ("Pad", "pad_param { pad_u: 1 pad_r: 2 pad_value: 3 }", IMAGES),
        ("Pad", "pad_param { pad_u: 1 pad_d: 2 pad_l: 3 pad_r: 1 pad_type: REFLECT }", IMAGES),
        ("Pad", "pad_param { pad_u: 1 pad_d: 2 pad_l: 3 pad_r: 1 pad_type: REPLICATE }", IMAGES),
        ("Pad", "pad_param { pad_u: -1 pad_d: -2 pad_l: -1 pad_r: -1 }", IMAGES),
        ("PixelShuffle", "pixelshuffle_param { upscale_factor: 2 }", (2, 8, 3, 2)),
        ("Unsqueeze", "unsqueeze_param { dim: 1 }", (2, 3, 4)),
        ("BilinearInterpolate", "bilinear_interpolate_param { dst_h: 7 dst_w: 3 }", IMAGES),
        (
            "BilinearInterpolate",
            "bilinear_interpolate_param { scale_factor: 1.7 align_corners: false }",
            IMAGES,
        ),
    ],
)
def test_layout(caffe: Any, kind: str, params: str, shape: tuple[int, ...]) -> None:
    text = net_text(layer("x", kind, "data", "", params), data=shape)
    assert_engines_agree(text, modes=WITHOUT_BACKWARD)


def test_max_unpool(caffe: Any) -> None:
    pooling = layer("p", "Pooling", "data", "p mask", "pooling_param { kernel_size: 2 stride: 2 }")
    params = "max_unpool_param { dst_h: 4 dst_w: 6 }"
    text = net_text(pooling, layer("x", "MaxUnPool", "p mask", "", params), data=(2, 3, 4, 6))
    assert_engines_agree(text, modes=WITHOUT_BACKWARD)


def test_a_layer_whose_backward_pass_does_nothing_is_reported(caffe: Any, tmp_path: Path) -> None:
    """Otherwise its diff would be whatever was there before."""
    text = net_text(layer("x", "Upsample", "data"), relu("r", "x"), data=IMAGES)
    net = load_text("pycaffe", tmp_path, text)
    net.forward(noise(*IMAGES))
    with pytest.raises(EngineError, match=r"'x' \(Upsample\) has no backward pass in this Caffe"):
        net.backward("x", np.ones(IMAGES))


@pytest.mark.parametrize(
    "another",
    [
        layer("x", "Upsample", "p mask"),  # SegNet's, where this Caffe has YOLO's
        layer("x", "Normalize", "p", "x", "normalize_param { }"),  # where it has SSD's
        layer("x", "Pad", "p", "x", "pad_param { paddings: [0, 0, 0, 0, 1, 1, 1, 1] }"),
        layer("x", "PixelShuffle", "p", "x", "pixel_shuffle_param { upscale_factor: 1 }"),
    ],
)
def test_a_layer_that_this_caffe_has_with_another_meaning(
    caffe: Any, tmp_path: Path, another: str
) -> None:
    """It would compute something else, or end the process."""
    pooling = layer("p", "Pooling", "data", "p mask", "pooling_param { kernel_size: 2 stride: 2 }")
    net = load_text("pycaffe", tmp_path, net_text(pooling, another, data=(1, 1, 4, 4)))
    assert re.search(
        "the layer type '.*' in this Caffe .* is another fork's", net.opaque["x"].reason
    )


@pytest.mark.parametrize(
    ("kind", "bottoms", "params", "field", "anothers"),
    [
        ("Upsample", 1, "", "", False),
        ("Upsample", 2, "", "", True),
        ("Upsample", 1, "", "upsample_h", True),
        ("Upsample", 2, "", "upsample_h", False),
        ("Gather", 1, "gather_param { indices: 0 }", "", True),
    ],
)
def test_whose_layer_it_is_the_schema_tells(
    kind: str, bottoms: int, params: str, field: str, anothers: bool
) -> None:
    """Two small schemas of a Caffe, one with a size in its ``upsample_param``."""
    file = FileDescriptorProto(name=f"small{field}.proto", package=f"small{field}", syntax="proto2")
    upsample = file.message_type.add(name="UpsampleParameter")
    if field:
        upsample.field.add(name=field, number=6, label=1, type=13)
    kind_of_field = {"label": 1, "type": 11, "type_name": f".{file.package}.UpsampleParameter"}
    file.message_type.add(name="LayerParameter").field.add(
        name="upsample_param", number=1, **kind_of_field
    )
    pool = DescriptorPool()
    pool.Add(file)
    schema = pool.FindMessageTypeByName(f"small{field}.LayerParameter")
    tested = built(kind, params, bottoms=bottoms).layer
    assert is_anothers(tested, schema) is anothers

"""The layers below a ReLU, where a silent unit has a gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, relu

from deepvis_caffe.optimizer.relu_inputs import layers_below_relus, unit_below_relu

#  data - conv1 (relu) - pool1 -+- left (relu) ----+- cat - pool2 - fc - prob
#                               +- right - leaky --+
#                               +- far - relu6 ----+
NET = net_text(
    conv("conv1", "data", 2, 3),
    relu("relu1", "conv1"),
    layer("pool1", "Pooling", "conv1", "", "pooling_param { kernel_size: 2 stride: 2 }"),
    conv("left", "pool1", 2),
    relu("relu2", "left"),
    conv("right", "pool1", 2),
    layer("leaky", "ReLU", "right", "leaky", "relu_param { negative_slope: 0.1 }"),
    conv("far", "pool1", 3),
    layer("relu3", "ReLU6", "far", "far_on"),
    layer("cat", "Concat", "left leaky far_on"),
    layer("pool2", "Pooling", "cat", "", "pooling_param { pool: AVE global_pooling: true }"),
    layer("fc", "InnerProduct", "pool2", "", "inner_product_param { num_output: 3 }"),
    layer("prob", "Softmax", "fc"),
    data=(1, 3, 10, 10),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv1", []),  # the layer's own top
        ("relu1", ["conv1"]),
        ("pool1", ["conv1"]),
        ("leaky", []),
        ("cat", ["left", "far"]),
        ("pool2", ["left", "far"]),
        ("prob", []),  # weights are in between
    ],
)
def test_the_layers_below_the_relus(tmp_path: Path, name: str, expected: list[str]) -> None:
    assert layers_below_relus(load_text("torch", tmp_path, NET), name) == expected


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("conv1", 1, None),  # the layer's own top
        ("relu1", 1, ("conv1", 1)),
        ("pool1", 0, ("conv1", 0)),
        ("leaky", 1, None),
        ("cat", 1, ("left", 1)),  # left has 0 and 1, leaky 2 and 3, far 4 to 6
        ("cat", 2, None),
        ("cat", 4, ("far", 0)),
        ("pool2", 6, ("far", 2)),
        ("cat", 7, None),
        ("fc", 0, None),
        ("prob", 0, None),
    ],
)
def test_the_unit_below_its_relu(
    tmp_path: Path, name: str, unit: int, expected: tuple[str, int] | None
) -> None:
    assert unit_below_relu(load_text("torch", tmp_path, NET), name, unit) == expected

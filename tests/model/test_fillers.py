"""Random weights: spreads against the formula, and activations of a real net under Caffe."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from deepvis_caffe.model.deploy import deploy
from deepvis_caffe.model.fillers import random_weights
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.prototxt import read_prototxt
from deepvis_caffe.model.schema_pb2 import NetParameter
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.resources import resource

NET = """
layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 1 dim: 8 dim: 8 dim: 8 } } }
layer { name: "first" type: "Convolution" bottom: "x" top: "a"
        convolution_param { num_output: 64 kernel_size: 3 pad: 1 } }
layer { name: "grouped" type: "Convolution" bottom: "a" top: "b"
        convolution_param { num_output: 64 kernel_size: 3 pad: 1 group: 4 } }
layer { name: "up" type: "Deconvolution" bottom: "b" top: "c"
        convolution_param { num_output: 32 kernel_size: 4 stride: 2 pad: 1 } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "d" }
layer { name: "scale" type: "Scale" bottom: "d" top: "e" scale_param { bias_term: true } }
layer { name: "slopes" type: "PReLU" bottom: "e" top: "f" }
layer { name: "fc" type: "InnerProduct" bottom: "f" top: "g"
        inner_product_param { num_output: 50 transpose: true } }
layer { name: "twin" type: "InnerProduct" bottom: "g" top: "h" param { name: "w" }
        inner_product_param { num_output: 50 } }
layer { name: "twin2" type: "InnerProduct" bottom: "h" top: "i" param { name: "w" }
        inner_product_param { num_output: 50 } }
"""


def drawn(net: NetParameter, seed: int = 0) -> dict[str, tuple[np.ndarray, ...]]:
    graph = Graph.from_layers(net.name, net.layer)
    return random_weights(infer(graph), graph, np.random.default_rng(seed))


def test_layers_whose_weights_cannot_be_known_have_none():
    unknown = """
    layer { name: "own" type: "Own" bottom: "x" top: "y" }
    layer { name: "bn2" type: "BatchNorm" bottom: "y" top: "z" }
    layer { name: "conv2" type: "Convolution" bottom: "z" top: "w"
            convolution_param { num_output: 2 kernel_size: 1 } }
    """
    weights = drawn(text_format.Parse(NET + unknown, NetParameter()))
    assert list(weights) == list(drawn(text_format.Parse(NET, NetParameter())))


def test_spreads_are_he_et_als():
    weights = drawn(text_format.Parse(NET, NetParameter()))
    for name, std in {
        "first": np.sqrt(2 / (8 * 9)) / 64,  # it reads pixels, whose spread is about 64
        "grouped": np.sqrt(2 / (16 * 9)),
        "up": np.sqrt(2 / (64 * 16 / 4)),  # a quarter of the 4x4 kernel meets each output pixel
        "fc": np.sqrt(2 / (32 * 16 * 16)),
        "twin": np.sqrt(2 / 50),
    }.items():
        values = weights[name][0]
        np.testing.assert_allclose(values.std(), std, rtol=0.06, err_msg=name)
        assert abs(values.mean()) < 4 * std / np.sqrt(values.size), name
    mean, variance, factor = weights["bn"]
    assert factor.shape == (1,)
    assert 1.5 <= factor[0] <= 3
    assert 0.7 <= (variance / factor).min() < (variance / factor).max() <= 1.4
    assert 0.03 < (mean / factor).std() < 0.3
    scale, bias = weights["scale"]
    assert 0.4 <= scale.min() < scale.max() <= 0.8
    assert 0 < np.abs(bias).max() < 0.5
    assert 0.1 <= weights["slopes"][0].min() < weights["slopes"][0].max() <= 0.4
    assert weights["twin"][0] is weights["twin2"][0]
    assert {blob.dtype for blobs in weights.values() for blob in blobs} == {np.dtype(np.float32)}


def test_a_seed_tells_the_weights():
    net = text_format.Parse(NET, NetParameter())
    for (name, ours), again, other in zip(
        drawn(net).items(), drawn(net).values(), drawn(net, 1).values(), strict=True
    ):
        for a, b, c in zip(ours, again, other, strict=True):
            np.testing.assert_array_equal(a, b)
            assert not np.array_equal(a, c), name


@pytest.mark.pycaffe
def test_activations_stay_of_order_one_through_a_deep_net(caffe, tmp_path):
    params = deploy(
        read_prototxt(resource("prototxt", "squeezenet_v1.1.prototxt")), {"data": (1, 3, 99, 99)}
    ).net
    path = tmp_path / "net.prototxt"
    path.write_text(text_format.MessageToString(params))
    net = caffe.Net(str(path), caffe.TEST)
    for name, blobs in drawn(params).items():
        for theirs, ours in zip(net.params[name], blobs, strict=True):
            theirs.data[...] = ours
    net.blobs["data"].data[...] = np.random.default_rng(1).normal(0, 64, (1, 3, 99, 99))
    net.forward()
    for name, blob in net.blobs.items():
        if name not in ("data", "prob"):
            assert 0.1 < blob.data.std() < 30, name

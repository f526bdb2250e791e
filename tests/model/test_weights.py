"""Matching weights to layers, and the error for each mismatch."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from deepvis_caffe.errors import WeightsError
from deepvis_caffe.model.caffemodel import write_caffemodel
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.model import load_model
from deepvis_caffe.model.schema_pb2 import NetParameter
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.model.weights import match_weights

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 3 dim: 3 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "fc" type: "InnerProduct" bottom: "bn" top: "fc" inner_product_param { num_output: 5 } }
"""  # noqa: E501

SHARED = """
name: "twins"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "one" type: "InnerProduct" bottom: "data" top: "one"
        param { name: "w" } inner_product_param { num_output: 4 bias_term: false } }
layer { name: "two" type: "InnerProduct" bottom: "data" top: "two"
        param { name: "w" } inner_product_param { num_output: 4 } }
"""


THREE_OF_A_NAME = """
name: "triplets"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "one"
        param { name: "w" } param { name: "b" } inner_product_param { num_output: 4 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "two"
        param { name: "w" } param { name: "b" } inner_product_param { num_output: 4 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "three"
        param { name: "w" } inner_product_param { num_output: 4 } }
"""


def good() -> dict[str, list[np.ndarray]]:
    shapes = {"conv": [(4, 2, 3, 3), (4,)], "bn": [(4,), (4,), (1,)], "fc": [(5, 4), (5,)]}
    rng = np.random.default_rng(0)
    return {
        name: [rng.normal(0, 1, shape).astype(np.float32) for shape in blobs]
        for name, blobs in shapes.items()
    }


def match(found, text=NET):
    net = text_format.Parse(text, NetParameter())
    graph = Graph.from_layers(net.name, net.layer)
    return match_weights(graph, infer(graph), found, "net.caffemodel")


def test_each_layer_gets_its_own_and_strangers_are_left_out():
    found = good()
    matched = match({"stranger": [np.ones(3, np.float32)], **found})
    assert list(matched) == ["conv", "bn", "fc"]
    for name, blobs in found.items():
        for got, expected in zip(matched[name], blobs, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_legacy_shapes_become_todays():
    found = good()
    legacy = {
        name: [blob.reshape((1,) * (4 - blob.ndim) + blob.shape) for blob in blobs]
        for name, blobs in found.items()
    }
    for name, blobs in match(legacy).items():
        for got, expected in zip(blobs, found[name], strict=True):
            np.testing.assert_array_equal(got, expected)  # checks the shape, too


def test_other_number_types_become_float32():
    found = {name: [b.astype(np.float64) for b in blobs] for name, blobs in good().items()}
    assert {blob.dtype for blobs in match(found).values() for blob in blobs} == {
        np.dtype(np.float32)
    }


def with_nan():
    found = good()
    found["fc"][0][1, 2] = np.nan
    found["fc"][0][3, 3] = np.inf
    return found


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            {"ip1": [np.ones(2, np.float32)]},
            "net.caffemodel does not belong to net 'small': no layer name in common. The net's "
            "layers with weights: conv, bn, fc; the file's: ip1",
        ),
        (
            {**good(), "conv": [np.ones((4, 2, 5, 5), np.float32), np.ones(4, np.float32)]},
            r"layer 'conv' \(Convolution\) in net.caffemodel: weights: expected shape "
            r"\(4, 2, 3, 3\) from the prototxt, got \(4, 2, 5, 5\)",
        ),
        (
            {**good(), "conv": [good()["conv"][0], np.ones(8, np.float32)]},
            r"layer 'conv' .*: bias: expected shape \(4,\) from the prototxt, got \(8,\)",
        ),
        (
            {**good(), "conv": [good()["conv"][0], np.ones((2, 1, 1, 2), np.float32)]},
            r"bias: expected shape \(4,\) .* got \(2, 1, 1, 2\)",
        ),
        (
            {**good(), "bn": good()["bn"][:2]},
            r"layer 'bn' \(BatchNorm\) .*: expected 3 weight blobs \(\(4,\), \(4,\), \(1,\)\), "
            r"got 2 \(\(4,\), \(4,\)\)",
        ),
        (
            {**good(), "data": [np.ones(1, np.float32)], "fc": [*good()["fc"], np.ones(1)]},
            "expected 2 weight blobs .*, got 3",
        ),
        (
            {"conv": good()["conv"], "fc_new": good()["fc"]},
            "net.caffemodel lacks weights of 2 of the net's 3 layers with weights: bn, fc. "
            "Layers are matched by name; the file also has: fc_new",
        ),
        (
            with_nan(),
            r"layer 'fc' \(InnerProduct\) .*: 2 of the 20 values of weights are NaN or infinite",
        ),
    ],
)
def test_what_does_not_fit_is_a_clear_error(found, message):
    with pytest.raises(WeightsError, match=message):
        match(found)


def test_layers_that_share_a_parameter_get_one_array():
    weight, other = np.eye(4, dtype=np.float32), np.full((4, 4), 2, np.float32)
    bias = np.ones(4, np.float32)
    for found, expected in (
        ({"one": [weight], "two": [other, bias]}, other),  # Caffe copies both; the later one stays
        ({"two": [weight, bias]}, weight),
    ):
        matched = match(found, SHARED)
        assert matched["one"][0] is matched["two"][0]
        np.testing.assert_array_equal(matched["one"][0], expected)
        np.testing.assert_array_equal(matched["two"][1], bias)


@pytest.mark.pycaffe
def test_shared_parameters_are_what_caffe_loads(caffe, tmp_path):
    from deepvis_caffe.model.caffemodel import write_caffemodel

    rng = np.random.default_rng(0)
    found = {
        "one": [rng.normal(0, 1, (4, 4)).astype(np.float32)],
        "two": [rng.normal(0, 1, shape).astype(np.float32) for shape in ((4, 4), (4,))],
    }
    (tmp_path / "net.prototxt").write_text(SHARED)
    file = tmp_path / "net.caffemodel"
    write_caffemodel(file, "twins", {k: ("InnerProduct", v) for k, v in found.items()})
    net = caffe.Net(str(tmp_path / "net.prototxt"), str(file), caffe.TEST)
    for name, blobs in match(found, SHARED).items():
        for ours, theirs in zip(blobs, net.params[name], strict=True):
            np.testing.assert_array_equal(ours, theirs.data)


# "one" needs its weights as (8, 4), "two" as (4, 8).
UNEQUAL = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "one" type: "InnerProduct" bottom: "data" top: "one"
        param { name: "w" } inner_product_param { num_output: 8 bias_term: false } }
layer { name: "two" type: "InnerProduct" bottom: "one" top: "two"
        param { name: "w" SHARE } inner_product_param { num_output: 4 bias_term: false } }
"""


def test_sharing_needs_one_shape_or_permission():
    found = {"one": [np.arange(32, dtype=np.float32).reshape(8, 4)]}
    with pytest.raises(
        WeightsError,
        match=r"'one' and 'two' share parameter 'w', but need shapes \(8, 4\) and \(4, 8\)",
    ):
        match(found, UNEQUAL.replace("SHARE", ""))
    matched = match(found, UNEQUAL.replace("SHARE", "share_mode: PERMISSIVE"))
    np.testing.assert_array_equal(matched["two"][0], np.arange(32).reshape(4, 8))


def test_a_custom_layers_weights_pass_as_they_are():
    own = NET.replace('type: "BatchNorm"', 'type: "Own"')
    matched = match({**good(), "bn": [np.ones((1, 2, 3), np.float32)]}, own)
    assert matched["bn"][0].shape == (1, 2, 3)
    assert [blob.shape for blob in matched["fc"]] == [(5, 4), (5,)]


@pytest.mark.pycaffe
def test_of_layers_of_one_name_those_get_weights_that_get_them_in_caffe(caffe, tmp_path):
    rng = np.random.default_rng(0)
    blobs = [rng.normal(0, 1, shape).astype(np.float32) for shape in ((4, 4), (4,))]
    prototxt, caffemodel = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    prototxt.write_text(THREE_OF_A_NAME)
    write_caffemodel(caffemodel, "triplets", {"fc": ("InnerProduct", blobs)})
    theirs = caffe.Net(str(prototxt), str(caffemodel), caffe.TEST)
    whole = [
        all(np.array_equal(got.data, blob) for got, blob in zip(layer.blobs, blobs, strict=True))
        for layer in theirs.layers[-3:]  # before them is a Split
    ]
    ours = load_model(prototxt, caffemodel)
    assert whole == [ours.opaque.runs(name) for name in ("fc", "fc#2", "fc#3")]
    assert whole == [True, True, False]
    for name in ("fc", "fc#2"):
        for got, blob in zip(ours.weights[name], blobs, strict=True):
            np.testing.assert_array_equal(got, blob)
    assert "an earlier layer is also named 'fc'" in ours.faults["fc#3"]

"""The graph: versions of blobs written in place, names, and what a value depends on."""

import pytest
from google.protobuf import text_format

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.graph import Graph, Value
from deepvis_caffe.model.schema_pb2 import NetParameter

# data -> conv1 -> relu1 (in place) -> left, right -> sum
#                                 \-> tops a, b of slice
BRANCHES = """
layer { name: "data" type: "Input" top: "data" }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "left" type: "Convolution" bottom: "conv1" top: "left" }
layer { name: "right" type: "Convolution" bottom: "conv1" top: "right" }
layer { name: "sum" type: "Eltwise" bottom: "left" bottom: "right" top: "sum" }
layer { name: "halves" type: "Slice" bottom: "conv1" top: "a" top: "b" }
"""


def graph(text: str) -> Graph:
    return Graph.from_layers("test", text_format.Parse(text, NetParameter()).layer)


def test_each_in_place_writing_is_a_value_of_its_own():
    net = graph(BRANCHES)
    assert net.layer("conv1").tops == (Value("conv1", 0),)
    assert net.layer("relu1").bottoms == (Value("conv1", 0),)
    assert net.layer("relu1").tops == (Value("conv1", 1),)
    assert net.layer("left").bottoms == (Value("conv1", 1),)
    assert [layer.name for layer in net if layer.in_place] == ["relu1"]


# In place on blob a: BatchNorm, Scale, ReLU, Dropout.  On b: ReLU, BatchNorm.  On c: Dropout.
CHAINS = """
layer { name: "data" type: "Input" top: "data" }
layer { name: "a" type: "Convolution" bottom: "data" top: "a" }
layer { name: "a_bn" type: "BatchNorm" bottom: "a" top: "a" }
layer { name: "a_scale" type: "Scale" bottom: "a" top: "a" }
layer { name: "a_relu" type: "ReLU" bottom: "a" top: "a" }
layer { name: "a_drop" type: "Dropout" bottom: "a" top: "a" }
layer { name: "conv_b" type: "Convolution" bottom: "a" top: "b" }
layer { name: "b_relu" type: "ReLU" bottom: "b" top: "b" relu_param { negative_slope: 0.1 } }
layer { name: "b_bn" type: "BatchNorm" bottom: "b" top: "b" }
layer { name: "c" type: "InnerProduct" bottom: "b" top: "c" }
layer { name: "c_drop" type: "Dropout" bottom: "c" top: "c" }
layer { name: "d" type: "Convolution" bottom: "a" top: "e" }
layer { name: "e" type: "Convolution" bottom: "b" top: "d" }
layer { name: "e_relu" type: "ReLU" bottom: "d" top: "d" }
layer { name: "f" type: "InnerProduct" bottom: "c" top: "f" }
layer { name: "f_relu" type: "ReLU" bottom: "f" top: "f" }
layer { name: "f:raw" type: "InnerProduct" bottom: "f" top: "f:raw" }
"""


@pytest.mark.parametrize(
    ("name", "activation", "start", "blob"),
    [
        # As (blob, version). The start is below the trailing ReLU, and a Dropout does nothing.
        ("a", ("a", 4), ("a", 2), ("a", 4)),
        ("a:raw", ("a", 0), ("a", 0), ("a", 0)),
        ("a_bn", ("a", 1), ("a", 1), ("a", 1)),
        ("a_relu", ("a", 3), ("a", 3), ("a", 3)),
        ("a_relu:raw", ("a", 3), ("a", 3), ("a", 3)),
        ("conv_b", ("b", 2), ("b", 2), ("b", 2)),  # its ReLU does not come last
        ("b", ("b", 2), ("b", 2), ("b", 2)),  # no layer has this name
        ("b:raw", ("b", 0), ("b", 0), ("b", 0)),
        ("c", ("c", 1), ("c", 0), ("c", 1)),
        # Layer d writes blob e, and layer e blob d: a forward pass reads blobs.
        ("d", ("e", 0), ("e", 0), ("d", 1)),
        ("e", ("d", 1), ("d", 0), ("e", 0)),
        ("e:raw", ("d", 0), ("d", 0), ("e", 0)),
        ("f:raw", ("f:raw", 0), ("f:raw", 0), ("f:raw", 0)),  # there is such a layer
        ("f", ("f", 1), ("f", 0), ("f", 1)),
    ],
)
def test_what_a_name_means(name, activation, start, blob):
    net = graph(CHAINS)
    assert net.activation(name) == Value(*activation)
    assert net.gradient_start(name) == Value(*start)
    assert net.blob_value(name) == Value(*blob)
    assert net.blob_value(net.activation_name(name)) == Value(*activation)


def test_the_diff_that_is_read_is_a_blobs_first_and_an_in_place_layers_own():
    net = graph(CHAINS)
    assert net.blob_diff("a") == net.blob_diff("a:raw") == Value("a", 0)
    assert net.blob_diff("a_scale") == Value("a", 2)
    assert net.blob_diff("conv_b") == Value("b", 0)
    assert net.blob_diff("d") == Value("d", 0)


def test_a_value_has_a_name_that_a_pass_starts_from():
    net = graph(CHAINS)
    names = {value: net.start_name(value) for value in net.producer}
    assert names[Value("a", 2)] == "a"
    assert names[Value("a", 0)] == "a:raw"
    assert names[Value("a", 1)] == "a_bn"
    for value, name in names.items():
        assert net.gradient_start(name) == value


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("a", "a_scale"),  # not the convolution's own output
        ("conv_b", "b_bn"),
        ("d", None),
        ("e", None),  # a ReLU in place changes nothing
        ("c", None),  # nor does a Dropout
        ("a:raw", None),
        ("a_bn", None),
        ("b", None),  # a blob's final value
    ],
)
def test_where_the_start_needs_saying(name, layer):
    assert graph(CHAINS).start_layer(name) == layer


def test_a_layer_of_several_tops_means_no_value():
    for meaning in ("activation", "gradient_start", "own_output", "blob_value"):
        with pytest.raises(ModelError, match=r"'halves' has 2 tops; name one of them instead: a, "):
            getattr(graph(BRANCHES), meaning)("halves")


def test_ancestors_are_the_layers_that_must_run_and_no_others():
    net = graph(BRANCHES)

    def names(*args):
        return [layer.name for layer in net.ancestors(*args)]

    assert names([Value("conv1", 0)]) == ["data", "conv1"]
    assert names([Value("sum")]) == ["data", "conv1", "relu1", "left", "right", "sum"]
    assert names([Value("sum")], [Value("conv1", 1)]) == ["left", "right", "sum"]
    assert names([Value("sum"), Value("a")], [Value("left"), Value("conv1", 1)]) == [
        "right",
        "sum",
        "halves",
    ]
    assert names([Value("sum")], [Value("sum")]) == []


def test_inputs_and_outputs():
    net = graph(BRANCHES)
    assert net.inputs == ("data",)
    assert net.outputs == ("sum", "a", "b")
    assert list(net.blobs) == ["data", "conv1", "left", "right", "sum", "a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'layer { name: "conv1" type: "Convolution" bottom: "dta" top: "conv1" }',
            r"no blob named 'dta' in the bottoms of layer 'conv1' \(Convolution\); "
            r"did you mean 'data'\?",
        ),
        (
            'layer { name: "data" type: "ReLU" bottom: "data" top: "data" }',
            r"two layers have this name \(number 0 and number 1\)",
        ),
        (
            'layer { name: "again" type: "DummyData" top: "data" }',
            r"its top 'data' is already written by an earlier layer",
        ),
    ],
)
def test_a_net_that_does_not_link_says_why(text, message):
    with pytest.raises(ModelError, match=message):
        graph('layer { name: "data" type: "Input" top: "data" }\n' + text)


def test_unknown_names_come_with_the_nearest_known_one():
    with pytest.raises(UnknownNameError, match=r"no layer named 'con1' .*did you mean 'conv1'"):
        graph(BRANCHES).layer("con1")
    with pytest.raises(UnknownNameError, match=r"no layer or blob named 'somme'"):
        graph(BRANCHES).blob_value("somme")
    with pytest.raises(UnknownNameError, match=r"no layer or blob named 'rely1'.*'relu1'"):
        graph(BRANCHES).gradient_start("rely1:raw")


def test_a_name_of_both_a_layer_and_its_blob_is_listed_once():
    with pytest.raises(UnknownNameError, match=r"did you mean 'left'\? known") as caught:
        graph(BRANCHES).activation("lef")
    assert str(caught.value).count("right") == 1

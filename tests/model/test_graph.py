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


def test_a_seed_is_a_layers_own_top_before_a_blob():
    net = graph(BRANCHES)
    assert net.seed("conv1") == Value("conv1", 0)  # below its ReLU
    assert net.seed("relu1") == Value("conv1", 1)
    assert net.seed("b") == Value("b", 0)  # no layer has this name
    assert net.final("conv1") == Value("conv1", 1)  # what a forward pass leaves in the blob


def test_a_layer_of_several_tops_is_no_seed():
    with pytest.raises(ModelError, match=r"'halves' has 2 tops; name one of them instead: a, b"):
        graph(BRANCHES).seed("halves")


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
    with pytest.raises(UnknownNameError, match=r"no blob named 'somme'"):
        graph(BRANCHES).final("somme")
    with pytest.raises(UnknownNameError, match=r"no layer or blob named 'rely1'.*'relu1'"):
        graph(BRANCHES).seed("rely1")


def test_a_name_of_both_a_layer_and_its_blob_is_listed_once():
    with pytest.raises(UnknownNameError, match=r"did you mean 'left'\? known") as caught:
        graph(BRANCHES).seed("lef")
    assert str(caught.value).count("right") == 1

"""Loading whole models, against real Caffe; errors, with hand-made files."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from google.protobuf import text_format

from deepvis_caffe.engines.torch import TorchNet
from deepvis_caffe.errors import ModelError, UnknownShapeError, WeightsError
from deepvis_caffe.model.caffemodel import write_caffemodel
from deepvis_caffe.model.deploy import deploy
from deepvis_caffe.model.fillers import random_weights
from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.model import load_model
from deepvis_caffe.model.prototxt import read_prototxt
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.resources import resource

CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 stride: 2 } }
"""
FC = """
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 5 } }
"""
INPUT = 'input: "data" input_shape { dim: 2 dim: 1 dim: 9 dim: 9 }'
WEIGHTS = {
    "conv": [np.ones((4, 1, 3, 3), np.float32), np.zeros(4, np.float32)],
    "fc": [np.ones((5, 64), np.float32), np.zeros(5, np.float32)],
}


@pytest.fixture
def write(tmp_path):
    def _write(text: str):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return path

    return _write


def test_a_model_from_files(write, tmp_path):
    path, file = write(INPUT + CONV + FC), tmp_path / "net.caffemodel"
    write_caffemodel(file, "net", {name: ("Any", blobs) for name, blobs in WEIGHTS.items()})
    model = load_model(str(path), str(file))
    assert [layer.name for layer in model.graph] == ["input", "conv", "fc"]
    assert model.input_shapes == {"data": (2, 1, 9, 9)}
    assert model.shapes == {
        Value("data"): (2, 1, 9, 9),
        Value("conv"): (2, 4, 4, 4),
        Value("fc"): (2, 5),
    }
    np.testing.assert_array_equal(model.weights["fc"][0], WEIGHTS["fc"][0])
    assert (model.prototxt, model.caffemodel, model.generation) == (path, file, "V2")
    assert model.unknown_types == ()


def test_a_model_from_memory_at_another_size(write):
    model = load_model(write(INPUT + CONV), {"conv": WEIGHTS["conv"]}, {"data": (1, 1, 7, 11)})
    assert model.shapes[Value("conv")] == (1, 4, 3, 5)
    assert model.caffemodel is None
    same = load_model(model.params, model.weights)
    assert same.shapes == model.shapes
    assert same.prototxt is None


def test_custom_layers_are_named(write):
    text = INPUT + CONV + 'layer { name: "p" type: "Python" bottom: "conv" top: "p" }'
    model = load_model(write(text), {"conv": WEIGHTS["conv"]})
    assert model.unknown_types == ("Python",)
    assert Value("p") not in model.shapes


def test_none_for_nets_without_weights_only(write):
    relu = 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    assert load_model(write(INPUT + relu), None).weights == {}
    with pytest.raises(WeightsError, match=r"has 1 layer with weights \(conv\), but no weights"):
        load_model(write(INPUT + CONV), None)


def test_a_net_read_without_its_weights_has_layers_and_shapes(write):
    model = load_model(write(INPUT + CONV + FC), None, need_weights=False)
    assert model.shapes[Value("fc")] == (2, 5)
    assert model.weight_shapes == {"conv": ((4, 1, 3, 3), (4,)), "fc": ((5, 64), (5,))}
    with pytest.raises(WeightsError, match=r"has 2 layers with weights \(conv, fc\)"):
        TorchNet(model, None, "cpu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (INPUT + CONV.replace("3", "30"), r"net\.prototxt: layer 'conv' \(Convolution\): the kern"),
        (
            'input: "data" layer { name: "r" type: "ReLU" bottom: "data" top: "r" }',
            r"net\.prototxt: net '': the file does not give the shape of input data",
        ),
    ],
)
def test_a_wrong_net_is_refused_with_its_file(write, text, message):
    with pytest.raises(ModelError, match=message):
        load_model(write(text), WEIGHTS)


def test_an_input_whose_shape_nothing_gives_is_named_by_the_error(write):
    """Also once a worker process has pickled it. Its name may hold what ends a clause."""
    text = 'input: "a; b, c" layer { name: "r" type: "ReLU" bottom: "a; b, c" top: "r" }'
    with pytest.raises(UnknownShapeError, match=r"net\.prototxt: .* of input a; b, c;") as found:
        load_model(write(text), WEIGHTS)
    again = pickle.loads(pickle.dumps(found.value))
    assert (found.value.blob, again.blob) == ("a; b, c", "a; b, c")
    assert str(again) == str(found.value)


def test_weights_of_another_net_are_refused_with_their_file(write, tmp_path):
    file = tmp_path / "other.caffemodel"
    write_caffemodel(file, "net", {"ip": ("Any", WEIGHTS["fc"])})
    with pytest.raises(WeightsError, match=r"other\.caffemodel does not belong to net ''"):
        load_model(write(INPUT + CONV), file)


@pytest.mark.slow
@pytest.mark.pycaffe
@pytest.mark.parametrize(
    "name", ["lenet", "squeezenet_v1.1", "bvlc_googlenet", "resnet50", "nin_imagenet"]
)
def test_shipped_nets_have_caffes_shapes(caffe, name, tmp_path):
    params = deploy(read_prototxt(resource("prototxt", f"{name}.prototxt"))).net
    params.layer[0].input_param.shape[0].dim[0] = 1  # Caffe sets up a batch of 1 quickly
    path = tmp_path / "net.prototxt"
    path.write_text(text_format.MessageToString(params))
    net = caffe.Net(str(path), caffe.TEST)
    held = {name: [blob.data for blob in blobs] for name, blobs in net.params.items()}
    model = load_model(path, held)  # fails where a shape differs
    for blob, value in model.graph.blobs.items():
        assert model.shapes[value] == net.blobs[blob].data.shape, blob
    drawn = random_weights(infer(model.graph), model.graph, np.random.default_rng(0))
    assert {name: [blob.shape for blob in blobs] for name, blobs in drawn.items()} == {
        name: [blob.shape for blob in blobs] for name, blobs in held.items()
    }


def test_parameters_of_custom_layers_tell_nets_apart(write):
    """The schema has no own_param; comments and layout make no other net."""
    own = 'layer { name: "o" type: "Own" bottom: "data" top: "o" own_param { beta: 2 } }'
    texts = (own, "# again\n" + own.replace(" ", "  "), own.replace("2", "3"))
    first, same, other = (load_model(write(INPUT + text), None) for text in texts)
    assert first.params == other.params
    assert first.foreign == same.foreign != other.foreign
    assert load_model(write(INPUT + CONV), WEIGHTS).foreign == ""


def test_an_input_that_cannot_be_had_is_refused_with_its_number(write):
    with pytest.raises(
        ModelError, match=r"layer 'input' \(Input\): .* would have 1,000,000,000,000 values"
    ):
        load_model(write(INPUT + CONV), WEIGHTS, {"data": (1, 1, 10**6, 10**6)})


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        # Of one image conv is 4 x 4 x 4 values, its bottom 9 x 9 and its weights 40: 740 bytes.
        (
            739,
            r"layer 'conv' \(Convolution\) needs .* for one image of 1 x 9 x 9, but this machine",
        ),
        (740, None),  # together with fc, whose five values take 20 more, less than 740
    ],
)
def test_a_layer_that_this_machine_cannot_hold_is_refused(write, monkeypatch, limit, says):
    monkeypatch.setattr("deepvis_caffe.model.model.machine_memory", lambda: limit)
    text = INPUT + CONV
    if says:
        with pytest.raises(ModelError, match=says):
            load_model(write(text), None, need_weights=False)
    else:
        assert load_model(write(text), None, need_weights=False).shapes


def test_a_net_larger_than_the_whole_machine_gives_a_warning(write, monkeypatch, caplog):
    # data 81, conv 64 and two ReLUs of 64: 273 values of four bytes, no layer of more than 740.
    text = INPUT + CONV
    text += 'layer { name: "r" type: "ReLU" bottom: "conv" top: "r" }'
    text += 'layer { name: "s" type: "ReLU" bottom: "r" top: "s" }'
    monkeypatch.setattr("deepvis_caffe.model.model.machine_memory", lambda: 4 * 273)
    load_model(write(text), None, need_weights=False)
    assert not caplog.text
    monkeypatch.setattr("deepvis_caffe.model.model.machine_memory", lambda: 4 * 273 - 1)
    load_model(write(text), None, need_weights=False)
    assert "for one image of 1 x 9 x 9 its blobs need" in caplog.text

"""`Net` on one small classifier; real pycaffe is the oracle."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.pycaffe, pytest.mark.process]

CLASSIFIER = """
name: "classifier" force_backward: true
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 2 dim: 3 dim: 5 } shape { dim: 4 }
  data_filler { type: "constant" value: 0.5 } data_filler { type: "constant" value: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 2 pad: 1 }
  param { name: "conv_w" decay_mult: 1 } param { name: "conv_b" decay_mult: 0 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "scores"
  inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss" }
"""

MAKE = ("net = caffe.Net('net.prototxt', caffe.TRAIN)", "randomize(net, seed=1)")
DATA = "net.blobs['data'].data[...] = like(net.blobs['data'], seed=2)"
LABELS = "net.blobs['label'].data[...] = [0, 2, 1, 1]"


def test_arrays_outlive_their_net(check):
    check(
        CLASSIFIER,
        *MAKE,
        DATA,
        "net.forward(); net.backward()",
        "weights = [blob.data for blobs in net.params.values() for blob in blobs]",
        "diffs = [blob.diff for blobs in net.params.values() for blob in blobs]",
        "values = [blob.data for blob in net.blobs.values()]",
        "blobs = list(net.blobs.values())",
        "layers = list(net.layers)",
        "del net",
        "import gc; gc.collect() is None",
        "sum(float(array.sum()) for array in values + weights + diffs)",
        "values[0][...] = 7",
        "blobs[0].data[0, 0]",
        "[layer.type for layer in layers]",
    )


def test_layers_by_name_and_by_number(check):
    check(
        CLASSIFIER,
        *MAKE,
        "len(net.layers)",
        "list(net.layer_dict)",
        "[net.layer_dict[name].type for name in net._layer_names]",
        "[len(layer.blobs) for layer in net.layers]",
        "np.shares_memory(net.layer_dict['fc'].blobs[0].data, net.params['fc'][0].data)",
        "net.layer_dict['fc'].blobs[0].data[0] = 1",
        "net.layer_dict['nothing']",
    )


def test_names_of_tops_and_bottoms(check):
    check(
        CLASSIFIER,
        *MAKE,
        "[list(net._top_ids(i)) for i in range(len(net.layers))]",
        "[list(net._bottom_ids(i)) for i in range(len(net.layers))]",
        "list(net.top_names['data'])",
        "net.bottom_names['loss'] + ['more']",
        "net.inputs + net.outputs",
        "len(net._blobs)",
    )


def test_forward_and_backward(check):
    check(
        CLASSIFIER,
        *MAKE,
        "net.forward()",
        DATA,
        LABELS,
        "net.forward()",
        "net.backward()",
        "net.forward_all(blobs=['scores']) if False else None",
        "net._forward(0, 3)",
        "net._backward(3, 1)",
    )


def test_forward_from_a_layer_to_a_layer(check):
    check(
        CLASSIFIER,
        *MAKE,
        "conv = net.blobs['conv']; scores = net.blobs['scores']",
        "sentinel = -1234.0",
        "conv.data.flat[0] = sentinel",
        "net.forward(start='fc', end='fc')",
        "scores.data.flat[0] = sentinel",
        "net.forward(end='conv')",
        "net.forward(start='fc')",
        "net.forward(start='conv', end='fc', blobs=['data'])",
        "net.forward(start='scores')",
    )


def test_backward_from_a_layer_to_a_layer(check):
    check(
        CLASSIFIER,
        *MAKE,
        DATA,
        "net.forward()",
        "net.backward()",
        "conv = net.blobs['conv']; scores = net.blobs['scores']",
        "conv.diff.flat[0] = 99",
        "net.backward(end='fc')",
        "scores.diff.flat[0] = -99",
        "net.backward(start='fc', end='fc')",
        "net.backward(start='conv')",
        "net.backward(start='fc', diffs=['scores'])",
        "net.backward(end='scores')",
    )


def test_diffs_of_parameters_are_cleared(check):
    check(
        CLASSIFIER,
        *MAKE,
        DATA,
        "net.forward(); net.backward()",
        "net.backward()",
        "weights = net.params['conv'][0].diff",
        "net.clear_param_diffs()",
        "weights.any()",
        "net.backward()",
    )


def test_a_step_of_gradient_descent_by_hand(check):
    check(
        CLASSIFIER,
        *MAKE,
        DATA,
        LABELS,
        "def step():\n"
        "    net.clear_param_diffs()\n"
        "    loss = net.forward()['loss'].copy()\n"
        "    net.backward()\n"
        "    for blobs in net.params.values():\n"
        "        for blob in blobs:\n"
        "            blob.data[...] -= 0.1 * blob.diff\n"
        "    return loss",
        "losses = [step() for _ in range(5)]",
        "losses[-1] < losses[0]",
    )


def test_saved_weights_are_read_in_every_form_of_net(check):
    check(
        CLASSIFIER,
        *MAKE,
        "net.save('net.caffemodel')",
        "new = caffe.Net('net.prototxt', caffe.TEST, weights='net.caffemodel')",
        "old = caffe.Net('net.prototxt', 'net.caffemodel', caffe.TRAIN)",
        "named = caffe.Net(network_file='net.prototxt', phase=0, weights='net.caffemodel')",
        "copied = caffe.Net('net.prototxt', 0); copied.copy_from('net.caffemodel')",
        "[np.array_equal(n.params['fc'][1].data, net.params['fc'][1].data)"
        " for n in (new, old, named, copied)]",
        "new.params['fc'][0].data[...] = 0",
    )


def test_a_saved_net_says_what_its_layers_are(check):
    """For scripts that read the net from its weights, as converters do."""
    check(
        CLASSIFIER,
        "net = caffe.Net('net.prototxt', caffe.TRAIN)",
        "net.save('net.caffemodel')",
        "saved = caffe.io.caffe_pb2.NetParameter()",
        "saved.ParseFromString(open('net.caffemodel', 'rb').read()) > 0",
        "[blob.ClearField('data') for layer in saved.layer for blob in layer.blobs]",
        "str(saved)",
    )


def test_saved_hdf5_is_read(check):
    check(
        CLASSIFIER,
        *MAKE,
        "net.save_hdf5('net.h5')",
        "other = caffe.Net('net.prototxt', caffe.TEST)",
        "other.load_hdf5('net.h5')",
        "third = caffe.Net('net.prototxt', caffe.TEST, weights='net.h5')",
    )


# -- levels and stages ---------------------------------------------------------------------------

LEVELS = """
layer { name: "data" type: "DummyData" top: "data"
  dummy_data_param { shape { dim: 1 dim: 2 } data_filler { type: "constant" value: 1 } } }
layer { name: "always" type: "Sigmoid" bottom: "data" top: "always" }
layer { name: "low" type: "TanH" bottom: "always" top: "low" include { max_level: 0 } }
layer { name: "high" type: "AbsVal" bottom: "always" top: "high" include { min_level: 1 } }
"""
STAGES = """
layer { name: "data" type: "DummyData" top: "data"
  dummy_data_param { shape { dim: 1 dim: 2 } data_filler { type: "constant" value: 1 } } }
layer { name: "a" type: "Sigmoid" bottom: "data" top: "a" include { stage: "A" } }
layer { name: "b" type: "TanH" bottom: "data" top: "b" include { stage: "B" } }
layer { name: "a or b" type: "AbsVal" bottom: "data" top: "ab" include { stage: "A" }
  include { stage: "B" } }
layer { name: "a and b" type: "Exp" bottom: "data" top: "both" include { stage: "A" stage: "B" } }
layer { name: "not a" type: "Power" bottom: "data" top: "other" exclude { stage: "A" } }
layer { name: "train" type: "ELU" bottom: "data" top: "train" include { phase: TRAIN } }
"""
ALL_IN_ONE = """
layer { name: "train" type: "DummyData" top: "data" top: "label" include { phase: TRAIN }
  dummy_data_param { shape { dim: 3 dim: 2 } shape { dim: 3 } } }
layer { name: "val" type: "DummyData" top: "data" top: "label"
  include { phase: TEST not_stage: "deploy" }
  dummy_data_param { shape { dim: 2 dim: 2 } shape { dim: 2 } } }
layer { name: "deploy" type: "Input" top: "data" include { phase: TEST stage: "deploy" }
  input_param { shape { dim: 1 dim: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 2 weight_filler { type: "constant" value: 0.5 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss"
  include { phase: TRAIN } include { phase: TEST not_stage: "deploy" } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy"
  include { phase: TEST not_stage: "deploy" } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob"
  include { phase: TEST stage: "deploy" } }
"""


@pytest.mark.parametrize("level", ["", ", 0", ", level=1", ", level=-1", ", 2"])
def test_levels(check, level):
    check(LEVELS, f"net = caffe.Net('net.prototxt', caffe.TEST{level})", "net.forward()")


@pytest.mark.parametrize("stages", ["[]", "['A']", "['B']", "['A', 'B']", "['C']", "('B',)"])
@pytest.mark.parametrize("phase", ["TEST", "TRAIN"])
def test_stages(check, stages, phase):
    check(
        STAGES, f"net = caffe.Net('net.prototxt', caffe.{phase}, stages={stages})", "net.forward()"
    )


@pytest.mark.parametrize("state", ["TRAIN", "TEST", "TEST, stages=['deploy']"])
def test_one_file_for_training_validation_and_deployment(check, state):
    check(ALL_IN_ONE, f"net = caffe.Net('net.prototxt', caffe.{state})", "net.forward()")


def test_inputs_without_a_shape_beside_an_input_layer_are_dropped(check):
    check(
        """
        input: "data"
        layer { name: "image" type: "Input" top: "data"
                input_param { shape { dim: 1 dim: 2 dim: 3 dim: 3 } } }
        layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
                pooling_param { kernel_size: 2 } }
        """,
        "net = caffe.Net('net.prototxt', caffe.TEST)",
        "list(net._layer_names), net.inputs",
        "net.blobs['data'].data[...] = like(net.blobs['data'], seed=2)",
        "net.forward()",
    )


def test_no_diff_comes_through_a_relu_at_a_nan(check):
    check(
        """
        force_backward: true
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
        layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }
        layer { name: "leaky" type: "ReLU" bottom: "data" top: "leaky"
                relu_param { negative_slope: 0.5 } }
        """,
        "net = caffe.Net('net.prototxt', caffe.TEST)",
        "net.blobs['data'].data[...] = [float('nan'), 1, -1, 0]",
        "net.forward()",
        "net.blobs['relu'].diff[...] = 3; net.blobs['leaky'].diff[...] = 5",
        "net.backward()",
    )

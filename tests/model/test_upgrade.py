"""Upgrades of old generations, against real Caffe's own and against V2 written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.deploy import deploy
from deepvis_caffe.model.schema_pb2 import NetParameter
from deepvis_caffe.model.upgrade import generation, upgrade

V0 = """
name: "v0"
input: "data"
input_dim: 2 input_dim: 3 input_dim: 9 input_dim: 8
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers {
  layer {
    name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2 biasterm: false
    weight_filler { type: "gaussian" std: 0.1 } blobs_lr: 1 weight_decay: 0.5
  }
  bottom: "pad1" top: "conv1"
}
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers {
  layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.5 beta: 0.6 }
  bottom: "conv1" top: "norm1"
}
layers { layer { name: "pad2" type: "padding" pad: 1 } bottom: "norm1" top: "pad2" }
layers {
  layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 }
  bottom: "pad2" top: "pool1"
}
layers {
  layer { name: "conv2" type: "conv" num_output: 6 kernelsize: 2 group: 2 pad: 1 }
  bottom: "pool1" top: "conv2"
}
layers { layer { name: "tanh2" type: "tanh" } bottom: "conv2" top: "tanh2" }
layers {
  layer { name: "both" type: "concat" concat_dim: 1 } bottom: "conv2" bottom: "tanh2" top: "both"
}
layers { layer { name: "fc" type: "innerproduct" num_output: 5 } bottom: "both" top: "fc" }
layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.3 } bottom: "fc" top: "fc" }
layers { layer { name: "prob" type: "softmax" } bottom: "fc" top: "prob" }
"""

V1 = """
name: "v1"
input: "data" input: "more"
input_dim: 2 input_dim: 4 input_dim: 6 input_dim: 6
input_dim: 2 input_dim: 4 input_dim: 6 input_dim: 6
layers {
  name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2
  weight_decay: 1 weight_decay: 0 param: "w" param: "b"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } }
}
layers {
  name: "conv2" type: CONVOLUTION bottom: "more" top: "conv2" param: "w" param: "b"
  blob_share_mode: PERMISSIVE blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 }
}
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" relu_param { negative_slope: 0.1 } }
layers {
  name: "sum" type: ELTWISE bottom: "conv1" bottom: "conv2" top: "sum"
  eltwise_param { operation: SUM coeff: 1 coeff: -2 }
}
layers { name: "parts" type: SLICE bottom: "sum" top: "a" top: "b" slice_param { slice_dim: 1 } }
layers { name: "abs" type: ABSVAL bottom: "a" top: "abs" }
layers { name: "power" type: POWER bottom: "b" top: "b" power_param { power: 2 scale: 0.5 } }
layers { name: "joined" type: CONCAT bottom: "abs" bottom: "b" top: "joined" }
layers {
  name: "up" type: DECONVOLUTION bottom: "joined" top: "up"
  convolution_param { num_output: 2 kernel_size: 4 stride: 2 pad: 1 }
}
layers { name: "mvn" type: MVN bottom: "up" top: "mvn" mvn_param { normalize_variance: true } }
layers { name: "pool" type: POOLING bottom: "mvn" top: "pool" pooling_param { kernel_size: 5 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "pool" top: "fc"
  inner_product_param { num_output: 3 } }
layers { name: "prob" type: SOFTMAX bottom: "fc" top: "prob" }
"""


def parsed(text: str) -> NetParameter:
    return text_format.Parse(text, NetParameter())


@pytest.mark.pycaffe
@pytest.mark.parametrize("text", [V0, V1])
def test_an_upgraded_net_computes_what_caffes_own_upgrade_does(caffe, text, tmp_path):
    old, new = tmp_path / "old.prototxt", tmp_path / "new.prototxt"
    old.write_text(text)
    new.write_text(text_format.MessageToString(deploy(upgrade(parsed(text))).net))
    theirs, ours = (caffe.Net(str(path), caffe.TEST) for path in (old, new))
    assert list(ours._layer_names) == list(theirs._layer_names)
    assert [layer.type for layer in ours.layers] == [layer.type for layer in theirs.layers]
    rng = np.random.default_rng(0)
    for name, blobs in theirs.params.items():
        for mine, blob in zip(ours.params[name], blobs, strict=True):
            mine.data[...] = blob.data[...] = rng.normal(0, 0.3, blob.data.shape)
    for name in theirs.inputs:
        ours.blobs[name].data[...] = theirs.blobs[name].data[...] = rng.normal(
            0, 1, theirs.blobs[name].data.shape
        )
    theirs.forward()
    ours.forward()
    assert list(ours.blobs) == list(theirs.blobs)
    for name, blob in theirs.blobs.items():
        np.testing.assert_array_equal(ours.blobs[name].data, blob.data, err_msg=name)


def test_v0_by_hand():
    assert upgrade(
        parsed("""
            name: "small"
            input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
            layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "p" }
            layers {
              layer {
                name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2 group: 1
                biasterm: false blobs_lr: 1 blobs_lr: 2 weight_decay: 1
              }
              bottom: "p" top: "conv1"
            }
            layers {
              layer { name: "read" type: "data" source: "db" batchsize: 7 cropsize: 5 scale: 0.5
                      meanfile: "mean" mirror: true }
              top: "d"
            }
        """)
    ) == parsed("""
        name: "small"
        layer {
          name: "input" type: "Input" top: "data"
          input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } }
        }
        layer {
          name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
          param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 }
          convolution_param {
            num_output: 4 bias_term: false pad: 2 kernel_size: 3 group: 1 stride: 2
          }
        }
        layer {
          name: "read" type: "Data" top: "d"
          data_param { source: "db" batch_size: 7 }
          transform_param { crop_size: 5 scale: 0.5 mean_file: "mean" mirror: true }
        }
    """)


def test_v1_by_hand():
    assert upgrade(
        parsed("""
            layers {
              name: "read" type: IMAGE_DATA top: "d" top: "l" include { phase: TEST }
              image_data_param { source: "list" new_height: 9 crop_size: 5 mean_file: "m" }
            }
            layers {
              name: "conv1" type: CONVOLUTION bottom: "d" top: "c" param: "w" blobs_lr: 1
              blobs_lr: 2 weight_decay: 1 blob_share_mode: PERMISSIVE
              convolution_param { num_output: 4 kernel_size: 3 }
            }
            layers { name: "loss" type: SOFTMAX_LOSS bottom: "c" bottom: "l" loss_weight: 0.3 }
        """)
    ) == parsed("""
        layer {
          name: "read" type: "ImageData" top: "d" top: "l" include { phase: TEST }
          image_data_param { source: "list" new_height: 9 }
          transform_param { crop_size: 5 mean_file: "m" }
        }
        layer {
          name: "conv1" type: "Convolution" bottom: "d" top: "c"
          param { name: "w" share_mode: PERMISSIVE lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 }
          convolution_param { num_output: 4 kernel_size: 3 }
        }
        layer {
          name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "l" loss_weight: 0.3
        }
    """)


def test_inputs_become_one_layer_in_front_in_both_old_forms():
    layer = 'layer { name: "r" type: "ReLU" bottom: "b" top: "c" }'
    shapes = "input_shape { dim: 5 dim: 1 } input_shape { dim: 1 dim: 2 dim: 3 dim: 4 }"
    dims = " ".join(f"input_dim: {d}" for d in (5, 1, 1, 1, 1, 2, 3, 4))
    first = 'layer { name: "input" type: "Input" top: "a" top: "b" input_param { %s } }'
    both = "shape { dim: 1 dim: 2 dim: 3 dim: 4 }"
    assert upgrade(parsed(f'input: "a" input: "b" {shapes} {layer}')) == parsed(
        first % f"shape {{ dim: 5 dim: 1 }} {both}" + layer
    )
    assert upgrade(parsed(f'input: "a" input: "b" {dims} {layer}')) == parsed(
        first % f"shape {{ dim: 5 dim: 1 dim: 1 dim: 1 }} {both}" + layer
    )


def test_early_batch_norms_lose_their_three_params():
    three = 'layer { name: "bn" type: "BatchNorm" param { } param { } param { lr_mult: 0 } }'
    assert upgrade(parsed(three)) == parsed('layer { name: "bn" type: "BatchNorm" }')
    one = parsed('layer { name: "bn" type: "BatchNorm" param { lr_mult: 0 } }')
    assert upgrade(one) == one


def test_a_v2_net_stays_and_the_argument_is_never_changed():
    for text in (V0, V1, 'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }'):
        net, before = parsed(text), parsed(text)
        upgraded = upgrade(net)
        assert net == before
        assert upgrade(upgraded) == upgraded
        assert not upgraded.layers


def test_generations():
    assert generation(parsed(V0)) == "V0"
    assert generation(parsed(V1)) == "V1"
    assert generation(upgrade(parsed(V1))) == "V2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'layers { name: "a" type: RELU } layer { name: "b" type: "ReLU" }',
            "mixes 1 `layer` with 1 `layers` fields",
        ),
        (
            'layers { layer { name: "a" type: "relu" } } layers { name: "b" type: RELU }',
            r"of generation V0 .* but its layer 'b' is of V1",
        ),
        (
            'layers { layer { name: "a" type: "convolution" } }',
            r"layer 'a': 'convolution' is not a layer type of generation V0; known: accur",
        ),
        (
            'layers { layer { name: "p" type: "padding" } bottom: "x" top: "p" }'
            'layers { layer { name: "r" type: "relu" } bottom: "p" top: "r" }',
            r"layer 'r', above padding layer 'p', must be a conv or pool, is 'relu'",
        ),
        (
            'input: "x" input_dim: 1 input_dim: 3 layer { name: "r" type: "ReLU" }',
            r"1 input fields need 4 input_dim each .* got 2 in all",
        ),
        (
            'input: "x" input: "y" input_shape { dim: 1 } layer { name: "r" type: "ReLU" }',
            "2 input fields need as many input_shape, got 1",
        ),
    ],
)
def test_what_cannot_be_upgraded_says_why(text, message):
    with pytest.raises(ModelError, match=message):
        upgrade(parsed(text))


def test_a_v0_field_of_another_layer_type_is_ignored_with_a_warning(caplog):
    upgraded = upgrade(parsed('layers { layer { name: "r" type: "relu" kernelsize: 3 } }'))
    assert upgraded == parsed('layer { name: "r" type: "ReLU" }')
    assert "layer 'r' (relu): ignored kernelsize" in caplog.text

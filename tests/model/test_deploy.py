"""From train_val to deploy form, compared with deploy files written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from helpers.caffe_verdict import caffe_verdicts

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.deploy import Deployed
from deepvis_caffe.model.deploy import deploy as deploy_whole
from deepvis_caffe.model.schema_pb2 import NetParameter

# The shape of the reference CaffeNet's train_val file, cut to one layer of each kind.
TRAIN_VAL = """
name: "tiny"
layer {
  name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { mirror: true crop_size: 99 mean_file: "mean.binaryproto" }
  data_param { source: "train_lmdb" batch_size: 256 backend: LMDB }
}
layer {
  name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { mirror: false crop_size: 227 mean_file: "mean.binaryproto" }
  data_param { source: "val_lmdb" batch_size: 50 backend: LMDB }
}
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param {
    num_output: 8 kernel_size: 11 stride: 4 engine: CUDNN
    weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" value: 0 }
  }
}
layer { name: "drop" type: "Dropout" bottom: "conv1" top: "conv1" }
layer {
  name: "fc8" type: "InnerProduct" bottom: "conv1" top: "fc8"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } }
}
layer {
  name: "accuracy" type: "Accuracy" bottom: "fc8" bottom: "label" top: "accuracy"
  include { phase: TEST }
}
layer {
  name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss"
  softmax_param { axis: 1 }
}
"""

DEPLOYED = """
name: "tiny"
layer {
  name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 227 dim: 227 } }
  transform_param { mirror: false crop_size: 227 mean_file: "mean.binaryproto" }
}
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 8 kernel_size: 11 stride: 4 }
}
layer { name: "drop" type: "Dropout" bottom: "conv1" top: "conv1" }
layer {
  name: "fc8" type: "InnerProduct" bottom: "conv1" top: "fc8"
  inner_product_param { num_output: 10 }
}
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" softmax_param { axis: 1 } }
"""

FC = """
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
        inner_product_param { num_output: 2 } }
"""


def parsed(text: str) -> NetParameter:
    return text_format.Parse(text, NetParameter(), allow_unknown_field=True)


def deploy(net: NetParameter, *args: Any, **options: Any) -> NetParameter:
    return deploy_whole(net, *args, **options).net


def summary(net: NetParameter) -> list[tuple[str, str, list[str], list[str]]]:
    return [(layer.name, layer.type, [*layer.bottom], [*layer.top]) for layer in net.layer]


def input_shapes(net: NetParameter) -> dict[str, tuple[int, ...]]:
    return {
        blob: tuple(shape.dim)
        for layer in net.layer
        if layer.type == "Input"
        for blob, shape in zip(layer.top, layer.input_param.shape, strict=True)
    }


def test_a_train_val_file_becomes_the_deploy_file_a_person_would_write():
    net = parsed(TRAIN_VAL)
    before = parsed(TRAIN_VAL)
    assert deploy_whole(net) == Deployed(parsed(DEPLOYED))
    assert net == before
    assert deploy(deploy(net)) == deploy(net)


@pytest.mark.pycaffe
def test_caffe_builds_the_deployed_net(caffe, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(text_format.MessageToString(deploy(parsed(TRAIN_VAL))))
    net = caffe.Net(str(path), caffe.TEST)
    assert net.outputs == ["prob"]
    assert net.blobs["conv1"].data.shape == (1, 8, 55, 55)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ('type: "Data" transform_param { crop_size: 24 force_gray: true }', (1, 1, 24, 24)),
        (
            'type: "Data" transform_param { crop_size: 24 mean_value: 1 mean_value: 2 '
            "mean_value: 3 mean_value: 4 }",
            (1, 4, 24, 24),
        ),
        ('type: "Data" transform_param { crop_size: 24 mean_value: 127 }', (1, 3, 24, 24)),
        ('type: "ImageData" image_data_param { new_height: 20 new_width: 30 }', (1, 3, 20, 30)),
        (
            'type: "ImageData" image_data_param { new_height: 20 new_width: 30 is_color: false } '
            "transform_param { crop_size: 16 }",
            (1, 1, 16, 16),
        ),
        ('type: "WindowData" transform_param { crop_size: 227 }', (1, 3, 227, 227)),
        (
            'type: "MemoryData" memory_data_param { batch_size: 9 channels: 2 height: 5 width: 6 }',
            (1, 2, 5, 6),
        ),
    ],
)
def test_data_layers_tell_the_inputs_shape(data, shape):
    text = f'layer {{ name: "d" top: "data" top: "label" {data} }}' + FC
    assert input_shapes(deploy(parsed(text))) == {"data": shape}
    given = deploy(parsed(text), {"data": (7, 3, 8, 9)})
    assert input_shapes(given) == {"data": (7, 3, 8, 9)}


@pytest.mark.parametrize(
    "data",
    [
        'type: "Data" data_param { source: "lmdb" }',
        'type: "HDF5Data" hdf5_data_param { source: "list" batch_size: 3 }',
        'type: "ImageData"',
        'type: "OwnImageListData"',
        'type: "Python" python_param { module: "mine" layer: "Reader" }',
        'type: "Input"',
    ],
)
def test_a_shape_that_the_file_does_not_tell_is_asked_for(data):
    text = f'layer {{ name: "d" top: "data" top: "label" {data} }}' + FC
    text += 'layer { name: "l" type: "EuclideanLoss" bottom: "fc" bottom: "label" top: "l" }'
    with pytest.raises(
        ModelError,
        match=r"does not give the shape of input data; .* input_shape = \{'data': \(1, 3, 224, 224"
        r"\)\}, the flag --input-shape 'data:1,3,224,224', or in Python as input_shapes",
    ):
        deploy(parsed(text))
    net = deploy(parsed(text), {"data": (2, 3, 4, 4)})
    assert summary(net) == [
        ("d", "Input", [], ["data"]),
        ("fc", "InnerProduct", ["data"], ["fc"]),
    ]
    assert input_shapes(net) == {"data": (2, 3, 4, 4)}


INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 9 } } }'


@pytest.mark.parametrize(
    ("rules", "stages", "kept"),
    [
        ("", (), True),
        ("include { phase: TEST }", (), True),
        ("include { phase: TRAIN }", (), False),
        ("include { phase: TRAIN } include { phase: TEST }", (), True),
        ("exclude { phase: TEST }", (), False),
        ("exclude { phase: TRAIN }", (), True),
        ("include { min_level: 1 }", (), False),
        ("include { min_level: 0 max_level: 0 }", (), True),
        ("exclude { max_level: 2 }", (), False),
        ('include { stage: "one" }', (), False),
        ('include { stage: "one" }', ("one",), True),
        ('include { stage: "one" stage: "two" }', ("one",), False),
        ('include { not_stage: "one" }', ("one",), False),
        ('include { phase: TEST not_stage: "one" }', (), True),
        ('exclude { phase: TEST stage: "one" }', ("two", "one"), False),
        ("include { phase: TEST } exclude { phase: TRAIN }", (), True),
        ("include { phase: TEST } exclude { max_level: 0 }", (), False),
    ],
)
def test_rules_pick_the_layers_of_the_test_phase(rules, stages, kept):
    text = INPUT + FC + f'layer {{ name: "x" type: "ReLU" bottom: "fc" top: "x" {rules} }}'
    names = [layer.name for layer in deploy(parsed(text), stages=stages).layer]
    assert names == ["data", "fc"] + ["x"] * kept
    state = " ".join(f'stage: "{stage}"' for stage in stages)
    by_file = deploy(parsed(f"{text} state {{ {state} }}"))
    assert [layer.name for layer in by_file.layer] == names


@pytest.mark.pycaffe
def test_rules_agree_with_caffe(caffe, tmp_path):
    rules = [
        "include { phase: TEST } include { min_level: 5 }",
        'include { stage: "s" phase: TEST }',
        "exclude { min_level: -1 max_level: 3 phase: TRAIN }",
        'exclude { not_stage: "u" }',
        'include { not_stage: "s" } include { stage: "t" }',
    ]
    layers = "".join(
        f'layer {{ name: "x{i}" type: "ReLU" bottom: "fc" top: "x{i}" {rule} }}'
        for i, rule in enumerate(rules)
    )
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + FC + layers)
    for stages in ([], ["s"], ["s", "t"], ["u"]):
        theirs = caffe.Net(str(path), caffe.TEST, stages=stages)
        ours = deploy(parsed(path.read_text()), stages=stages)
        assert [layer.name for layer in ours.layer] == [
            name for name in theirs._layer_names if "split" not in name
        ]


def test_the_last_head_becomes_prob_and_earlier_ones_leave_their_logits():
    text = (
        INPUT
        + 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 } } }'
        + FC
        + FC.replace('"fc"', '"fc2"')
        + 'layer { name: "l1" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "l1" }'
        + 'layer { name: "l2" type: "SigmoidCrossEntropyLoss" bottom: "fc2" bottom: "label" '
        'top: "l2" }' + 'layer { name: "sum" type: "Eltwise" bottom: "l1" bottom: "l2" top: "sum" }'
    )
    assert summary(deploy(parsed(text)))[1:] == [
        ("fc", "InnerProduct", ["data"], ["fc"]),
        ("fc2", "InnerProduct", ["data"], ["fc2"]),
        ("prob", "Sigmoid", ["fc2"], ["prob"]),
    ]


def test_a_net_with_its_own_prob_keeps_it():
    text = TRAIN_VAL + 'layer { name: "p" type: "Softmax" bottom: "fc8" top: "prob" }'
    assert summary(deploy(parsed(text)))[-2:] == [
        ("fc8", "InnerProduct", ["conv1"], ["fc8"]),
        ("p", "Softmax", ["fc8"], ["prob"]),
    ]


def test_a_loss_that_is_named_prob_itself_becomes_it():
    text = TRAIN_VAL.replace('name: "loss"', 'name: "prob"').replace('top: "loss"', "")
    assert summary(deploy(parsed(text)))[-1] == ("prob", "Softmax", ["fc8"], ["prob"])


def test_a_losss_second_top_stays_for_those_who_read_it():
    text = (
        TRAIN_VAL.replace('top: "loss"', 'top: "loss" top: "soft"')
        + 'layer { name: "best" type: "ArgMax" bottom: "soft" top: "best" }'
    )
    assert summary(deploy(parsed(text)))[-2:] == [
        ("prob", "Softmax", ["fc8"], ["soft"]),
        ("best", "ArgMax", ["soft"], ["best"]),
    ]


def test_sliced_labels_go_and_so_does_all_that_reads_them():
    text = (
        'layer { name: "d" type: "HDF5Data" top: "data" top: "labels" }'
        + FC
        + """
        layer { name: "cut" type: "Slice" bottom: "labels" top: "a" top: "b" }
        layer { name: "one" type: "EuclideanLoss" bottom: "a" bottom: "fc" top: "one" }
        layer { name: "quiet" type: "Silence" bottom: "b" }
        """
    )
    net = deploy(parsed(text), {"data": (1, 9)})
    assert summary(net) == [
        ("d", "Input", [], ["data"]),
        ("fc", "InnerProduct", ["data"], ["fc"]),
    ]


def test_an_input_that_nothing_reads_in_this_phase_goes():
    label = 'layer { name: "l" type: "Input" top: "l" }'
    loss = (
        'layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "l" top: "loss" '
        "include { phase: TRAIN } }"
    )
    quiet = 'layer { name: "q" type: "Silence" bottom: "l" include { phase: TEST } }'
    for text in (label + loss, label + loss + quiet):
        names = [layer.name for layer in deploy(parsed(INPUT + FC + text)).layer]
        assert names == ["data", "fc"]


def test_a_net_without_weights_keeps_its_inputs():
    text = INPUT + 'layer { name: "y" type: "ReLU" bottom: "data" top: "y" }'
    text += 'layer { name: "q" type: "Silence" bottom: "data" }'
    assert deploy(parsed(text)).layer == parsed(text).layer


def test_an_autoencoders_target_is_its_input_and_stays():
    text = (
        INPUT
        + FC
        + """
        layer { name: "flat" type: "Flatten" bottom: "data" top: "flat" }
        layer { name: "l" type: "SigmoidCrossEntropyLoss" bottom: "fc" bottom: "flat" top: "l" }
        """
    )
    assert [layer.name for layer in deploy(parsed(text)).layer] == ["data", "fc", "flat", "prob"]


def test_a_second_input_and_constants_stay():
    text = INPUT + FC + FC.replace('"fc"', '"fc2"').replace('"data"', '"more"')
    more = 'layer { name: "m" type: "Input" top: "more" input_param { shape { dim: 2 dim: 1 } } }'
    assert input_shapes(deploy(parsed(more + text), {"data": (4, 9)})) == {
        "more": (2, 1),
        "data": (4, 9),
    }
    dummy = (
        'layer { name: "m" type: "DummyData" top: "more" dummy_data_param { shape { dim: 2 dim: 1 }'
        ' data_filler { type: "constant" value: 3 } } }'
    )
    net = deploy(parsed(dummy + text))
    assert net.layer[0] == parsed(dummy).layer[0]  # its filler is what it computes


def test_a_label_that_is_given_a_shape_stays_an_input():
    text = (
        'layer { name: "d" type: "Data" top: "data" top: "label" transform_param { crop_size: 4 } }'
        + FC
        + 'layer { name: "l" type: "EuclideanLoss" bottom: "fc" bottom: "label" top: "l" }'
    )
    net = deploy(parsed(text), {"label": (1, 2)})
    assert input_shapes(net) == {"data": (1, 3, 4, 4), "label": (1, 2)}


def test_layers_of_one_name_get_names_of_their_own():
    relu = 'layer { name: "r" type: "ReLU" bottom: "fc" top: "fc" }'
    done = deploy_whole(parsed(INPUT + FC + relu * 3))
    assert [layer.name for layer in done.net.layer] == ["data", "fc", "r", "r#2", "r#3"]
    assert done.notes == (
        "two layers are named 'r'; the later one is renamed 'r#2'",
        "two layers are named 'r'; the later one is renamed 'r#3'",
    )
    assert done.renamed == {}
    twice = deploy_whole(parsed(INPUT + FC + FC.replace('top: "fc"', 'top: "fc2"')))
    assert [layer.name for layer in twice.net.layer] == ["data", "fc", "fc#2"]
    assert twice.renamed == {"fc#2": "fc"}  # its weights are the first one's


def chain_of(*layers: str) -> NetParameter:
    """ReLUs behind an input, each as ``"name bottom top"``; one with two bottoms adds them up."""
    text = 'name: "chain"' + INPUT
    for name, *bottoms, top in map(str.split, layers):
        read = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        kind = "ReLU" if len(bottoms) == 1 else "Eltwise"
        text += f'layer {{ name: "{name}" type: "{kind}" {read} top: "{top}" }}'
    return parsed(text)


# Each as it is written, and with the names that a person would give.
WRITTEN_AGAIN = {
    "by two layers": (["a data x", "b data x", "c x y"], ["a data x", "b data x#2", "c x#2 y"]),
    "in place, but another layer has read it": (
        ["a data x", "b x y", "c x x", "d x z", "e z x"],
        ["a data x", "b x y", "c x x#2", "d x#2 z", "e z x#3"],
    ),
    "in place by a layer that reads it twice": (
        ["a data x", "b x x x", "c x x"],
        ["a data x", "b x x x#2", "c x#2 x#2"],
    ),
    "where the new name is another blob's": (
        ["a data x", "b data x", "c data x#2", "d x y", "e x#2 z"],
        ["a data x", "b data x#3", "c data x#2", "d x#3 y", "e x#2 z"],
    ),
}
IN_PLACE = ["a data x", "b x x", "c x x", "d x y", "e x z"]


@pytest.mark.parametrize(("written", "by_hand"), WRITTEN_AGAIN.values(), ids=WRITTEN_AGAIN.keys())
def test_a_blob_that_is_written_again_gets_a_new_name(written, by_hand):
    done = deploy_whole(chain_of(*written))
    assert done.net == chain_of(*by_hand)
    assert "writes blob 'x' again, which Caffe rejects; its top is renamed" in done.notes[0]


def test_a_blob_that_layers_overwrite_in_place_keeps_its_name():
    assert deploy_whole(chain_of(*IN_PLACE)) == Deployed(chain_of(*IN_PLACE))


@pytest.mark.process
@pytest.mark.pycaffe
def test_caffe_refuses_what_gets_a_new_name_and_takes_it_with_that(caffe):
    written, by_hand = zip(*WRITTEN_AGAIN.values(), strict=True)
    nets = [*by_hand, IN_PLACE, *written]
    texts = [text_format.MessageToString(chain_of(*net)) for net in nets]
    verdicts = [verdict is not None for verdict in caffe_verdicts(texts)]
    assert verdicts == [True] * (len(by_hand) + 1) + [False] * len(written)


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        (INPUT + FC, {"dta": (1, 9)}, "no input named 'dta'.*did you mean 'data'"),
        (INPUT + FC, {"data": (0, 9)}, r"input 'data' has shape \(0, 9\); sizes are 1 or more"),
        (
            'layer { name: "l" type: "Input" top: "l" top: "m" input_param { '
            "shape { } shape { } shape { } } }" + FC,
            {},
            "has 2 tops and 3 shapes",
        ),
        (INPUT, {}, "every layer needs labels"),
        (
            'layer { name: "c" type: "DummyData" top: "c" } '
            'layer { name: "s" type: "Split" bottom: "c" top: "s" }',
            {},
            "net '' has no input",
        ),
    ],
)
def test_what_cannot_be_deployed_says_why(text, given, message):
    with pytest.raises((ModelError, UnknownNameError), match=message):
        deploy(parsed(text), given)


def test_a_layer_without_a_type_is_at_fault():
    done = deploy_whole(parsed(INPUT + FC + 'layer { name: "x" bottom: "fc" top: "x" }'))
    assert done.faults == {"x": "it has no type"}


def test_a_shape_with_another_number_of_axes():
    with pytest.raises(ModelError, match=r"'data' has 2 axes.* but 1 in .* \(9,\); .* the batch"):
        deploy(parsed(INPUT + FC), {"data": (9,)})


def test_the_thousandth_layer_of_a_name_has_a_name_of_its_own() -> None:
    text = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 } } }'
    text += 'layer { name: "a" type: "ReLU" bottom: "x" top: "x" }' * 1000
    text += 'layer { name: "a#7" type: "ReLU" bottom: "x" top: "x" }'
    net = deploy_whole(text_format.Parse(text, NetParameter())).net
    names = ["in", "a", *(f"a#{number}" for number in range(2, 1001)), "a#7#2"]
    assert [layer.name for layer in net.layer] == names

"""Which of the nets in a file is used, compared with nets written by hand."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.deploy import deploy
from deepvis_caffe.model.schema_pb2 import NetParameter

DATA = 'transform_param { crop_size: 8 } data_param { source: "lmdb" }'
CONV = """
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 2 kernel_size: 3 } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "loss" %s }'
SOFTMAX = 'layer { name: "softmax" type: "Softmax" bottom: "c" top: "softmax" %s }'
# The form of NVIDIA DIGITS' all-in-one files.
DIGITS = f"""
layer {{ name: "train-data" type: "Data" top: "data" top: "label" {DATA}
         include {{ stage: "train" }} }}
layer {{ name: "val-data" type: "Data" top: "data" top: "label" {DATA} include {{ stage: "val" }} }}
{CONV}
{LOSS % 'exclude { stage: "deploy" }'}
{SOFTMAX % 'include { stage: "deploy" }'}
"""
HEAD = """
layer { name: "NAME" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } transform_param { crop_size: 8 } }
"""


def parsed(text: str) -> NetParameter:
    return text_format.Parse(f'name: "n" {text}', NetParameter())


def with_input(name: str, rest: str) -> NetParameter:
    return parsed(HEAD.replace("NAME", name) + rest)


def prob(bottom: str = "c") -> str:
    return f'layer {{ name: "prob" type: "Softmax" bottom: "{bottom}" top: "prob" }}'


def test_a_file_with_a_deploy_stage_is_taken_in_it():
    done = deploy(parsed(DIGITS))
    assert done.net == with_input("train-data", CONV + SOFTMAX % "")
    assert not done.faults
    said = " ".join(done.notes)
    assert "loaded in stage 'deploy', the deploy net" in said
    assert "name the stages train, val, deploy; choose one, for example" in said
    assert "stages = ('train',), the flag --stages train, or in Python stages=('train',)" in said


@pytest.mark.parametrize("by_file", [False, True])
def test_a_stage_that_is_asked_for_wins(by_file):
    text, stages = (DIGITS + 'state { stage: "val" }', ()) if by_file else (DIGITS, ("val",))
    done = deploy(parsed(text), stages=stages)
    assert done.net == with_input("val-data", CONV + prob())
    assert done.notes == ()


def test_an_input_of_the_deploy_stage_is_the_input():
    text = DIGITS + HEAD.replace("NAME", "own").replace(
        "transform_param { crop_size: 8 }", 'include { stage: "deploy" }'
    ).replace("8", "16")
    done = deploy(parsed(text))
    assert [layer.name for layer in done.net.layer] == ["own", "c", "softmax"]
    assert list(done.net.layer[0].input_param.shape[0].dim) == [1, 3, 16, 16]


def test_a_deploy_stage_that_is_not_whole_is_not_taken():
    head = 'layer { name: "more" type: "ReLU" bottom: "b" top: "e" include { stage: "deploy" } }'
    inner = 'layer { name: "b" type: "ReLU" bottom: "c" top: "b" include { stage: "val" } }'
    text = with_input("data", CONV + inner + head)
    done = deploy(text)
    assert [layer.name for layer in done.net.layer] == ["data", "c"]
    (note,) = done.notes
    assert "some of its layers belong to stages, but no stage is set" in note
    assert "val, deploy; choose" in note


def test_the_only_stage_in_which_a_net_is_whole_is_taken():
    reshape = 'layer { name: "r" type: "ReLU" bottom: "c" top: "r" include { %s stage: "%s" } }'
    end = 'layer { name: "end" type: "ReLU" bottom: "r" top: "end" }'
    text = CONV + reshape % ("phase: TRAIN", "one") + reshape % ("phase: TEST", "two") + end
    done = deploy(with_input("data", text))
    assert [layer.name for layer in done.net.layer] == ["data", "c", "r", "end"]
    (note,) = done.notes
    assert note.startswith(
        "loaded in stage 'two', because without a stage no layer writes blob 'r', which layer "
        "'end' reads"
    )


def test_two_layers_that_write_one_blob_because_of_stages_are_distinguished():
    relu = 'layer { name: "r" type: "ReLU" bottom: "c" top: "r" exclude { stage: "one" } }'
    tanh = 'layer { name: "t" type: "TanH" bottom: "c" top: "r" }'
    done = deploy(with_input("data", CONV + relu + tanh))
    assert [layer.name for layer in done.net.layer] == ["data", "c", "t"]
    assert "loaded in stage 'one', because without a stage layers 'r' and 't' both" in done.notes[0]


def test_a_stage_that_no_layer_names_gives_a_note():
    done = deploy(with_input("data", CONV), stages=["dploy"])
    assert done.notes == ("stage 'dploy' has no effect: no rule of a layer names it",)


def test_a_data_layer_of_training_alone_gives_the_input():
    train = f'layer {{ name: "src" type: "Data" top: "data" top: "label" {DATA} %s }}'
    text = train % "include { phase: TRAIN }" + CONV + LOSS % ""
    done = deploy(parsed(text))
    assert done.net == with_input("src", CONV + prob())
    assert done.notes == (
        "blob 'data' becomes an input; its layer, 'src', belongs to another phase or stage",
    )


@pytest.mark.parametrize(
    "text",
    [
        CONV.replace("layer {", "layer { include { phase: TRAIN }") + LOSS % "",
        CONV
        + 'layer { name: "r" type: "ReLU" bottom: "c" top: "r" include { phase: TRAIN } }'
        + LOSS.replace('"c"', '"r"') % ""
        + 'layer { name: "end" type: "TanH" bottom: "r" top: "end" }',
    ],
)
def test_a_net_of_training_alone_is_taken_in_phase_train(text):
    source = f'layer {{ name: "src" type: "Data" top: "data" top: "label" {DATA} }}'
    done = deploy(parsed(source + text))
    kept = [layer.name for layer in done.net.layer]
    assert kept in (["src", "c", "prob"], ["src", "c", "r", "prob", "end"])
    assert done.notes[0].startswith("loaded in phase TRAIN, because in phase TEST no layer")
    assert not done.faults


def test_a_net_that_is_whole_in_no_phase_is_taken_in_phase_test():
    text = CONV + 'layer { name: "r" type: "ReLU" bottom: "dat" top: "r" }'
    done = deploy(with_input("data", text))
    assert [layer.name for layer in done.net.layer] == ["data", "c", "r"]
    assert list(done.faults) == ["r"]


def test_nothing_but_losses_is_refused():
    with pytest.raises(ModelError, match="every layer needs labels"):
        deploy(with_input("data", LOSS.replace('"SoftmaxWithLoss"', '"HingeLoss"') % ""))

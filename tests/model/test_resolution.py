"""Stages of a net: as in the papers' tables, and as what the whole image passes through."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.engine_nets import conv, layer, net_text, relu

from deepvis_caffe.attribution.drivers import sources_below
from deepvis_caffe.model.graph import Layer, Value
from deepvis_caffe.model.model import Model, load_model
from deepvis_caffe.model.resolution import stage_below, stages
from deepvis_caffe.resources import resource

# The class layer; what reads the image; and what ends the stages between, from above, as in table 1
# of He et al. 2016 and Huang et al. 2017, table 1 of Szegedy et al. 2015, table 1 of Simonyan and
# Zisserman 2015, table 1 of Iandola et al. 2016 (but for v1.1's earlier poolings), and figure 2 of
# Krizhevsky et al. 2012.
NETS = {
    "squeezenet_v1.1": ("pool10", "conv1", ("fire9/", "fire5/", "fire3/")),
    "squeezenet_v1.0": ("pool10", "conv1", ("fire9/", "fire8/", "fire4/")),
    "bvlc_reference_caffenet": ("fc8", "conv1", ("conv5", "conv2")),
    "bvlc_googlenet": (
        *("loss3/classifier", "conv1/7x7_s2"),
        ("inception_5b/", "inception_4e/", "inception_3b/", "conv2/3x3"),
    ),
    "resnet50": ("fc1000", "conv1", ("res5c", "res4f", "res3d", "res2c")),
    "vgg16": ("fc8", "conv1_1", ("conv5_3", "conv4_3", "conv3_3", "conv2_2")),
    # Its last block is joined of its layers and of the transition below, which one may step over.
    "densenet121": (
        *("fc6", "conv1"),
        (
            *(("conv5_", "conv4_blk"), ("conv4_blk", "conv3_blk"), ("conv3_blk", "conv2_blk")),
            ("conv2_blk", "conv1"),
        ),
    ),
}


def model_of(name: str) -> Model:
    return load_model(resource("prototxt", f"{name}.prototxt"), None, need_weights=False)


def below(model: Model, name: str) -> list[str]:
    return [one.name for one in sources_below(model, name, 0, reach="stage")]


@pytest.mark.parametrize("name", NETS)
def test_five_steps_lead_from_the_class_to_the_first_layer_whichever_way_one_goes(
    name: str,
) -> None:
    model = model_of(name)
    top, first, ends = NETS[name]
    steps, here = [], {top}
    while here != {first}:
        here = {one for layer_ in here - {first} for one in below(model, layer_)}
        steps.append(here)
    assert len(steps) <= 5
    for step, expected in zip(steps, [*ends, first], strict=True):
        assert all(one.startswith(expected) for one in step)
    assert below(model, first) == ["data"]


@pytest.mark.parametrize(
    "name", [*NETS, "mobilenet_v2", "shufflenet_g3", "fcn8s", "segnet", "pspnet50", "yolo_v2"]
)
def test_all_of_the_image_passes_through_the_stage_below(name: str) -> None:
    model = model_of(name)
    for one in model.graph.layers[:: max(1, len(model.graph.layers) // 30)]:
        if one.type == "Input":
            continue
        ends = stage_below(model, one)
        assert ends, one.name
        assert all(end.index < one.index for end in ends)
        assert not reaches_an_input(model, one, {end.name for end in ends}), one.name


def reaches_an_input(model: Model, layer_: Layer, ends: set[str]) -> bool:
    """Whether a way down avoids the ends; of their second bottoms some take nothing but places."""
    todo, seen = [layer_], {layer_.name} | ends
    while todo:
        here = todo.pop()
        if here.type == "Input":
            return True
        for bottom in here.bottoms[: 1 if here.type in ("Crop", "Upsample") else None]:
            maker = model.graph.producer[bottom]
            if maker.name not in seen:
                seen.add(maker.name)
                todo.append(maker)
    return False


@pytest.mark.parametrize(
    ("name", "sizes"),  # of the papers' tables; VGG's pool5, which has no units, is a stage, too
    [
        ("squeezenet_v1.1", (113, 56, 28, 14, 1)),
        ("resnet50", (112, 56, 28, 14, 7, 1)),
        ("densenet121", (112, 56, 28, 14, 7, 1)),
        ("vgg16", (224, 112, 56, 28, 14, 7, 1)),
        ("bvlc_googlenet", (112, 56, 28, 14, 7, 1)),
    ],
)
def test_a_net_falls_into_stages_of_one_size(name: str, sizes: tuple[int, ...]) -> None:
    model = model_of(name)
    found = stages(model)
    assert [stage.extent for stage in found] == [(one, one) if one > 1 else () for one in sizes]
    assert [stage.reads for stage in found] == [(), *((place,) for place in range(len(sizes) - 1))]
    together = [one for stage in found for one in stage.layers]
    assert sorted(together, key=lambda one: one.index) == [
        one for one in model.graph if one.type != "Input"
    ]


def test_a_decoder_reads_the_stage_that_it_unpools_as() -> None:
    found = stages(model_of("segnet"))
    assert [(*stage.extent, *stage.reads) for stage in found] == [
        *((360, 480), (180, 240, 0), (90, 120, 1), (45, 60, 2), (23, 30, 3), (12, 15, 4)),
        *((23, 30, 5), (45, 60, 6), (90, 120, 7), (180, 240, 8), (360, 480, 9)),
    ]


def test_every_name_of_a_class_leads_to_the_same_stage() -> None:
    """The maps of conv10 are averaged to be the classes, so they are of the classes' stage."""
    squeezenet = model_of("squeezenet_v1.1")
    assert [below(squeezenet, name) for name in ("prob", "pool10", "conv10")] == [
        ["fire9/expand1x1", "fire9/expand3x3"]
    ] * 3
    caffenet = model_of("bvlc_reference_caffenet")
    assert [below(caffenet, name) for name in ("prob", "fc8", "fc7", "fc6")] == [["conv5"]] * 4


def test_inside_a_stage_the_next_one_is_as_near() -> None:
    squeezenet = model_of("squeezenet_v1.1")
    for name in ("fire9/concat", "fire9/squeeze1x1", "fire7/expand3x3", "fire6/concat", "pool5"):
        expected = "fire5" if name != "pool5" else "fire3"  # a pool's unit is that of its bottom
        assert {one.split("/")[0] for one in below(squeezenet, name)} == {expected}
    resnet = model_of("resnet50")
    for name in ("res4a_branch2c", "res4b_branch2a", "res4d", "res4f"):
        assert below(resnet, name) == ["res3d"]
    vgg = model_of("vgg16")
    assert [below(vgg, name) for name in ("conv2_1", "conv1_2", "conv1_1")] == [
        *(["conv1_1"], ["conv1_1"], ["data"]),
    ]


def net_of(folder: Path, *layers: str) -> Model:
    path = folder / "net.prototxt"
    path.write_text(net_text(*layers, data=(1, 3, 32, 32)))
    return load_model(path, None, need_weights=False)


POOL = "pooling_param { kernel_size: 2 stride: 2 }"


def test_borders_that_a_kernel_loses_are_no_change_of_resolution(tmp_path: Path) -> None:
    model = net_of(
        tmp_path,
        conv("a", "data", 4, 5),
        conv("b", "a", 4, 5),
        layer("pool", "Pooling", "b", "", POOL),
        conv("c", "pool", 4, 5),  # from 12 to 8 positions
        conv("d", "c", 4, 5),  # to 4
        layer("same", "Pooling", "d", "", "pooling_param { kernel_size: 2 stride: 1 }"),
        conv("e", "same", 4),
        conv("f", "e", 4, 3, "stride: 2"),
    )
    assert [below(model, name) for name in "fedcba"] == [
        *(["e"], ["a"], ["a"], ["a"], ["a"], ["data"]),
    ]


def test_the_factors_of_squeeze_and_excitation_are_no_stage(tmp_path: Path) -> None:
    model = net_of(
        tmp_path,
        conv("a", "data", 4),
        layer("pool", "Pooling", "a", "", POOL),
        conv("b", "pool", 4),
        layer("mean", "Pooling", "b", "", "pooling_param { pool: AVE global_pooling: true }"),
        conv("factor", "mean", 4),
        layer("flat", "Flatten", "factor"),
        layer("scaled", "Scale", "b flat", "", "scale_param { axis: 0 }"),
        layer("sum", "Eltwise", "scaled pool"),
        conv("c", "sum", 4),
        layer("last", "Pooling", "c", "", POOL),
        conv("d", "last", 4),
    )
    assert [below(model, name) for name in ("d", "c", "sum", "b")] == [["c"], ["a"], ["a"], ["a"]]


def test_below_an_upsampling_lies_another_stage(tmp_path: Path) -> None:
    model = net_of(
        tmp_path,
        conv("a", "data", 4),
        relu("relu", "a"),
        layer("pool", "Pooling", "a", "", POOL),
        conv("b", "pool", 4),
        layer(
            "up",
            "Deconvolution",
            "b",
            "",
            "convolution_param { num_output: 4 kernel_size: 2 stride: 2 }",
        ),
        layer("join", "Concat", "up a"),
        conv("c", "join", 4),
    )
    assert [below(model, name) for name in ("c", "up", "b", "a")] == [
        *(["a", "b"], ["b"], ["a"], ["data"]),
    ]
    assert model.graph.blobs["a"] == Value("a", 1)

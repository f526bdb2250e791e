"""Results with their net: layers in its order, and its stages; top images one by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.results_folder import add_pictures, add_run, record

from deepvis_caffe.model.model import Model, load_model
from deepvis_caffe.resources import resource
from deepvis_caffe.results.additions import with_net
from deepvis_caffe.results.index import ShownAs, read_results


@pytest.fixture(scope="module")
def squeezenet() -> Model:
    path = resource("prototxt", "squeezenet_v1.1.prototxt")
    return load_model(path, None, need_weights=False)


def add_layer(folder: Path, name: str, net: str = "squeezenet_v1.1_deploy") -> None:
    about = record(name, 0, 0, model={"name": net, "prototxt": "a", "weights": "b"})
    add_run(folder, name.replace("/", "_"), about)


def test_layers_are_in_the_order_of_the_net_and_in_its_stages(
    squeezenet: Model, tmp_path: Path
) -> None:
    name = squeezenet.graph.name
    for one in ("pool10", "fire9/expand1x1", "conv1", "fire2/concat", "conv10"):
        add_layer(tmp_path, one, name)
    add_layer(tmp_path, "conv10000", name)
    add_pictures(tmp_path, "max_im/fire4_squeeze1x1/fire4_squeeze1x1_0002.jpg")  # the toolbox's
    before = read_results(tmp_path)
    found = with_net(before, squeezenet)
    order = [
        *("conv1", "fire2/concat", "fire4_squeeze1x1", "fire9/expand1x1", "fire9/concat"),
        *("conv10", "pool10"),
    ]
    assert [one.name for one in found.layers] == [*order, "conv10000"]
    own = [one for one in found.layers if one.name != "fire9/concat"]  # what it joins has pictures
    assert sorted(own, key=lambda one: one.name) == sorted(before.layers, key=lambda one: one.name)
    assert [(one.extent[:1], one.reads) for one in found.stages] == [
        *(((113,), ()), ((56,), (0,)), ((28,), (1,)), ((14,), (2,)), ((), (3,))),
    ]
    assert found.stages[0].layers == ("conv1",)
    assert found.stages[1].layers == (
        *("fire2/squeeze1x1", "fire2/expand1x1", "fire2/expand3x3", "fire2/concat"),
        *("fire3/squeeze1x1", "fire3/expand1x1", "fire3/expand3x3"),
    )
    assert found.stages[2].layers[0] == "fire4_squeeze1x1"
    assert found.stages[4].layers == ("conv10", "pool10")


def test_what_a_stage_without_units_reads_its_reader_reads(tmp_path: Path) -> None:
    path = resource("prototxt", "vgg16.prototxt")
    vgg = load_model(path, None, need_weights=False)
    add_layer(tmp_path, "fc8", vgg.graph.name)
    found = with_net(read_results(tmp_path), vgg)
    assert [one.extent[:1] for one in found.stages] == [
        *((224,), (112,), (56,), (28,), (14,), ()),  # without pool5
    ]
    assert [one.reads for one in found.stages] == [(), (0,), (1,), (2,), (3,), (4,)]


def test_units_of_a_concatenation_have_the_pictures_of_what_it_joins(
    squeezenet: Model, tmp_path: Path
) -> None:
    name = squeezenet.graph.name
    for layer, unit in (("fire3/expand1x1", 5), ("fire3/expand3x3", 6), ("fire3/concat", 5)):
        about = record(layer, unit, 0, model={"name": name, "prototxt": "a", "weights": "b"})
        add_run(tmp_path, layer.replace("/", "_"), about)
    add_pictures(tmp_path, "max_im/fire3_expand3x3/fire3_expand3x3_0063.jpg")  # the toolbox's
    add_layer(tmp_path, "pool10", name)
    found = {one.name: one for one in with_net(read_results(tmp_path), squeezenet).layers}
    own, third, last = found["fire3/concat"].units  # 64 of each make it up
    assert [own.unit, third.unit, last.unit] == [5, 70, 127]
    assert own.shown_as is None
    (recipe,) = found["fire3/expand3x3"].recipes
    assert third.shown_as == ShownAs("fire3/expand3x3", "fire3_expand3x3", 6, {recipe.name: ""})
    assert third.optimized == found["fire3/expand3x3"].units[0].optimized
    assert (last.pictures, last.optimized) == ({"max_im"}, ())
    assert "prob" not in found
    named = with_net(read_results(tmp_path), squeezenet, {"prob": "pool10", "none": "pool10"})
    (unit,) = next(one for one in named.layers if one.name == "prob").units
    assert unit.shown_as is not None
    assert (unit.shown_as.layer, unit.shown_as.unit) == ("pool10", 0)


def test_another_net_s_results_stay_as_they_are(squeezenet: Model, tmp_path: Path) -> None:
    add_layer(tmp_path, "conv1", "another")
    before = read_results(tmp_path)
    assert with_net(before, squeezenet) is before


def test_top_images_have_their_names_and_activations_where_each_is_there(tmp_path: Path) -> None:
    images = [
        {"name": "a/cat.jpg", "value": 7.5, "file": None, "class_name": "tabby"},
        {"name": "dog.jpg", "value": 6.25, "file": "/x/dog.jpg", "class_name": None},
    ]
    for unit in (1, 2):
        stem = f"max_im/pool1/pool1_{unit:04d}"
        add_pictures(tmp_path, f"{stem}.jpg", f"{stem}_0.png")
        about = {"layer": "pool1", "unit": unit, "columns": 3, "images": images, "recipe": {}}
        model = {"model": {"name": "net", "prototxt": "a", "weights": "b"}, "label": None}
        (tmp_path / f"{stem}.json").write_text(json.dumps(about | model))
    add_pictures(tmp_path, "max_im/pool1/pool1_0002_1.png")
    (layer,) = read_results(tmp_path).layers
    assert [(one.unit, [(top.name, top.value) for top in one.top]) for one in layer.units] == [
        (1, []),  # its second one is gone
        (2, [("a/cat.jpg", 7.5), ("dog.jpg", 6.25)]),
    ]

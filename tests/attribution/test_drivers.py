"""Drivers of a unit: by hand, against real Caffe, by finite differences, and by their sums."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise, relu, weights_for

import deepvis_caffe as dv
from deepvis_caffe.attribution.pictures import summed
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ModelError, SettingsError, UnknownNameError
from deepvis_caffe.model.model import load_model
from deepvis_caffe.resources import resource

# Two channels of 1 x 2 pixels, each what it is and its double, rectified; then w = (3, -1):
#   x = [2 -1]  ->  low = [2 -1], [4 -2]  ->  rectified = [2 0], [4 0]  ->  high = [2 0] + 1
HAND = net_text(
    conv("low", "data", 2), relu("relu", "low"), conv("high", "low", 1), data=(1, 1, 1, 2)
)
HAND_WEIGHTS = arrays(low=([[[[1]]], [[[2]]]], [0, 0]), high=([[[[3]], [[-1]]]], [1]))
HAND_IMAGE = np.array([[[[2, -1]]]], np.float32)


def test_by_hand(engine: str, tmp_path: Path) -> None:
    net = load_text(engine, tmp_path, HAND, HAND_WEIGHTS)
    found = dv.drivers(net, HAND_IMAGE, "high", 0, position=(0, 0))
    assert [(one.layer, one.unit, one.contribution) for one in found] == [
        ("low", 0, 6.0),
        ("low", 1, -4.0),
    ]
    np.testing.assert_array_equal(found[0].map, [[6, 0]])
    np.testing.assert_array_equal(found[1].activation, [[4, 0]])
    assert (found.score, found.total, found.rest, found.activation) == (3, 2, 1, 3)
    assert [one.share for one in found] == pytest.approx([2, -4 / 3])
    assert (found.raising, found.lowering) == ((found[0],), (found[1],))


def test_the_whole_map_is_weighted_by_the_units_activations(engine: str, tmp_path: Path) -> None:
    """high = [3 1], so the first position counts three times."""
    net = load_text(engine, tmp_path, HAND, HAND_WEIGHTS)
    found = dv.drivers(net, HAND_IMAGE, "high", 0)
    assert [one.contribution for one in found] == [18, -12]
    assert (found.score, found.rest) == (10, 4)  # 9 + 1, and the bias of 1 times 3 and times 1


# Branches that join, sums, and every way to write a rectifier. The layers that drive `top` are
# `left`, behind a PReLU in place; `right`, whose leaky ReLU is not in place; and, around a
# convolution that is `right`'s, too, `stem`, behind its normalization and its ReLU in place.
UPPER = (
    layer("join", "Concat", "left rectified"),
    layer("pool", "Pooling", "join", "", "pooling_param { kernel_size: 2 stride: 2 }"),
    layer("same", "Eltwise", "pool shortcut"),
    layer("relu_same", "ReLU", "same", "same", "relu_param { negative_slope: 0.3 }"),
    conv("top", "same", 4, 3, "pad: 1"),
    relu("relu_top", "top"),
)
TEXT = net_text(
    conv("stem", "data", 6, 3, "pad: 1"),
    layer("norm", "BatchNorm", "stem", "stem"),
    layer("scale", "Scale", "stem", "stem", "scale_param { bias_term: true }"),
    relu("relu_stem", "stem"),
    conv("left", "stem", 3, 3, "pad: 1"),
    layer("prelu", "PReLU", "left", "left"),
    conv("right", "stem", 3),
    layer("relu_right", "ReLU", "right", "rectified", "relu_param { negative_slope: 0.1 }"),
    layer(
        "shortcut", "Pooling", "stem", "", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }"
    ),
    *UPPER,
    data=(1, 2, 10, 8),
)
READ = {"left": "left", "right": "rectified", "stem": "stem"}
ABOVE = net_text(
    layer(
        "shortcut", "Pooling", "stem", "", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }"
    ),
    *UPPER,
    **{blob: (1, 6 if blob == "stem" else 3, 10, 8) for blob in READ.values()},
)


@pytest.fixture
def branched(engine: str, tmp_path: Path) -> tuple[Net, Net]:
    """A net, and what of it lies above the layers that drive `top`."""
    (tmp_path / "above").mkdir()
    net = load_text(engine, tmp_path, TEXT, seed=3)
    weights = {"top": net.model.weights["top"]}
    return net, load_text(engine, tmp_path / "above", ABOVE, weights)


@pytest.mark.parametrize("position", ["center", "all", (0, 0), (4, 3), (0, 3)])
@pytest.mark.parametrize("unit", range(4))
def test_a_contribution_is_what_a_channel_that_fades_takes_along(
    branched: tuple[Net, Net], unit: int, position: Any
) -> None:
    net, above = branched
    x = noise(1, 2, 10, 8, seed=unit)
    found = dv.drivers(net, x, "top", unit, position, count=None)
    assert {one.layer for one in found} == set(READ)
    weights = _weights_of_positions(net, x, unit, position)
    maps = net.forward(x, READ.values())

    def score(scaled: Mapping[str, np.ndarray]) -> float:
        return float((above.forward(scaled, ["top:raw"])["top:raw"][0, unit] * weights).sum())

    step = 1 / 512
    scale = max(abs(one.contribution) for one in found)
    for one in found:
        ends = []
        for factor in (1 - step, 1 + step):
            changed = {name: values.copy() for name, values in maps.items()}
            changed[READ[one.layer]][0, one.unit] *= factor
            ends.append(score(changed))
        expected = (ends[1] - ends[0]) / (2 * step)
        assert one.contribution == pytest.approx(expected, abs=2e-3 * scale)
    assert found.score == pytest.approx(score(maps), rel=1e-5)


# -- a stage below ---------------------------------------------------------------------------------

# Two blocks with shortcuts, as in He et al. 2016, and what reads the image at full size. Between
# the stages lie two or three rectifiers.
RESIDUAL = (
    conv("a", "stem", 4, 3, "pad: 1 stride: 2"),
    relu("relu_a", "a"),
    conv("b", "a", 5, 3, "pad: 1"),
    conv("short", "stem", 5, 1, "stride: 2"),
    layer("sum", "Eltwise", "b short"),
    relu("relu_sum", "sum"),
)
FURTHER = (
    conv("c", "sum", 4, 3, "pad: 1 stride: 2"),
    relu("relu_c", "c"),
    conv("d", "c", 5, 3, "pad: 1"),
    layer("half", "Pooling", "sum", "", "pooling_param { kernel_size: 2 stride: 2 }"),
    layer("top", "Eltwise", "d half"),
    relu("relu_top", "top"),
)
STEM = (conv("stem", "data", 3, 3, "pad: 1"), relu("relu_stem", "stem"))
STAGES = {  # of a unit: what ends the stage below, its shape, and the layers between
    "top": ("sum", (1, 5, 6, 5), FURTHER),
    "sum": ("stem", (1, 3, 12, 10), RESIDUAL),
    "a": ("stem", (1, 3, 12, 10), RESIDUAL),
}


@pytest.mark.parametrize("position", ["all", (1, 2)])
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_below_a_channel_that_fades_takes_as_much_along(
    name: str, position: Any, engine: str, tmp_path: Path
) -> None:
    end, shape, between = STAGES[name]
    net = load_text(
        engine, tmp_path, net_text(*STEM, *RESIDUAL, *FURTHER, data=(1, 2, 12, 10)), seed=5
    )
    (tmp_path / "above").mkdir()
    weights = {key: net.model.weights[key] for key in ("a", "b", "short", "c", "d")}
    made = {one.split('"')[1] for one in between}
    own = {key: value for key, value in weights.items() if key in made}
    above = load_text(engine, tmp_path / "above", net_text(*between, **{end: shape}), own)
    x = noise(1, 2, 12, 10, seed=8)
    values = net.forward(x, [end, name])
    unit = int(values[name][0].max(axis=(1, 2)).argmax())
    found = dv.drivers(net, x, name, unit, position, count=None, reach="stage")
    assert [(one.layer, len(found)) for one in found] == [(end, shape[1])] * shape[1]
    factors = values[name][0, unit]
    if position != "all":
        factors = np.zeros_like(factors)
        factors[position] = 1

    def score(maps: np.ndarray) -> float:
        upper = above.forward({end: maps}, [f"{name}:raw"])[f"{name}:raw"][0, unit]
        return float((upper * factors).sum(dtype=np.float64))

    step = 1 / 1024
    scale = max(abs(one.contribution) for one in found)
    for one in found:
        ends = []
        for factor in (1 - step, 1 + step):
            maps = values[end].copy()
            maps[0, one.unit] *= factor
            ends.append(score(maps))
        expected = (ends[1] - ends[0]) / (2 * step)
        assert one.contribution == pytest.approx(expected, abs=3e-3 * scale)
    assert found.score == pytest.approx(score(values[end]), rel=1e-5)


def test_a_channel_of_a_sum_is_gone_down_from_and_come_down_to(engine: str, tmp_path: Path) -> None:
    net = load_text(engine, tmp_path, net_text(*STEM, *RESIDUAL, *FURTHER, data=(1, 2, 12, 10)))
    x, name, walk = noise(1, 2, 12, 10), "top", []
    unit = int(net.forward(x, [name])[name][0].max(axis=(1, 2)).argmax())
    while name != "data":
        found = dv.drivers(net, x, name, unit, reach="stage")
        assert found.score > 0
        name, unit = found[0].layer, found.raising[0].unit
        walk.append(name)
    assert walk == ["sum", "stem", "data"]
    nearest = dv.drivers(net, x, "sum", 1, count=None)
    assert set(nearest.contributions) == {"b", "short"}


def _weights_of_positions(net: Net, x: np.ndarray, unit: int, position: Any) -> np.ndarray:
    own = net.forward(x, ["top"])["top"][0, unit]
    if position == "all":
        return own
    weights = np.zeros_like(own)
    weights[(2, 2) if position == "center" else position] = 1
    return weights


def test_all_but_biases_is_a_contribution(branched: tuple[Net, Net]) -> None:
    """Above the sources the only bias is the unit's own."""
    net, _ = branched
    bias = net.model.weights["top"][1]
    for unit in range(4):
        found = dv.drivers(net, noise(1, 2, 10, 8), "top", unit, (1, 2))
        assert found.rest == pytest.approx(float(bias[unit]), abs=1e-4 * abs(found.score))


def test_real_caffe_gives_the_same(caffe: Any, tmp_path: Path) -> None:
    """Its own backward pass, data times diff, where each of its blobs is written once."""
    text = net_text(
        conv("low", "data", 5, 3),
        layer("relu", "ReLU", "low", "on"),
        layer("pool", "Pooling", "on", "", "pooling_param { kernel_size: 3 stride: 2 }"),
        conv("high", "pool", 4, 3),
        layer("sum", "InnerProduct", "high", "", "inner_product_param { num_output: 3 }"),
        data=(1, 2, 13, 15),
    )
    net = load_text("torch", tmp_path, text)
    x = noise(1, 2, 13, 15)
    path = tmp_path / "forced.prototxt"
    path.write_text(f"force_backward: true\n{text}")
    theirs = caffe.Net(str(path), caffe.TEST)
    for name, blobs in net.model.weights.items():
        for mine, other in zip(blobs, theirs.params[name], strict=True):
            other.data[...] = mine.reshape(other.data.shape)
    theirs.blobs["data"].data[...] = x
    theirs.forward()
    theirs.blobs["high"].diff[...] = 0
    theirs.blobs["high"].diff[0, 2, 1, 3] = 1
    theirs.backward(start="high", end="low")
    expected = theirs.blobs["on"].data[0] * theirs.blobs["on"].diff[0]
    found = dv.drivers(net, x, "high", 2, (1, 3), count=None)
    got = np.stack([one.map for one in sorted(found, key=lambda one: one.unit)])
    np.testing.assert_allclose(got, expected, atol=1e-6 * np.abs(expected).max())


# -- what the contributions sum to -----------------------------------------------------------------

NETS = {
    "squeezenet_v1.1": ("conv10", "pool10", "fire5/concat", "fire4/squeeze1x1", "pool5", "conv1"),
    "lenet": ("ip2", "ip1", "pool2", "conv2"),
    "bvlc_reference_caffenet": ("fc8", "fc7", "fc6", "conv5", "conv4"),
    "resnet50": ("fc1000", "res3b", "res4c_branch2a", "res2a"),
    "densenet121": ("conv3_5/x1", "fc6"),
}
STAGED = {  # layers below which, to the stage below, all is piecewise linear
    "squeezenet_v1.1": ("pool10", "fire9/concat", "fire7/squeeze1x1", "fire3/concat", "conv1"),
    "lenet": ("ip2", "conv2"),
    "bvlc_reference_caffenet": ("fc8", "fc6"),
    "resnet50": ("fc1000", "res5c", "res4b", "res2a_branch2a"),
    "densenet121": ("fc6", "conv5_9/x2", "conv3_blk"),
}
SHIFTS = {"BatchNorm": 0}  # which of a layer's weights is added to its values; mostly the second
SLOW = ("bvlc_reference_caffenet", "resnet50", "densenet121")


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.slow] * (one in SLOW)) for one in NETS]
)
def test_without_biases_the_contributions_sum_to_the_score(name: str, engine: str) -> None:
    path = resource("prototxt", f"{name}.prototxt")
    types = {one.name: one.type for one in load_model(path, None, need_weights=False).graph}
    weights = {
        one: [blob * (place != SHIFTS.get(types[one], 1)) for place, blob in enumerate(blobs)]
        for one, blobs in weights_for(path).items()
    }
    net = dv.load_net(path, weights, engine, device="cpu")
    x = 50 * noise(1, *net.inputs[net.image_input()][1:])
    for layer_name, reach in [
        *((one, "nearest") for one in NETS[name]),
        *((one, "stage") for one in STAGED[name]),
    ]:
        values = net.forward(x, [layer_name])[layer_name][0]
        unit = int(values.reshape(len(values), -1).max(axis=1).argmax())
        for position in ("all", "center"):
            found = dv.drivers(net, x, layer_name, unit, position, reach=reach)
            rounding = 1e-5 * sum(np.abs(one).sum() for one in found.contributions.values())
            assert found.score != 0
            assert found.rest == pytest.approx(0, abs=rounding)


def test_shortcuts_count_once(engine: str, tmp_path: Path) -> None:
    """What a sum passes on beside a convolution is not what it passes on through it."""
    text = net_text(
        conv("one", "data", 3),
        conv("two", "one", 3),
        layer("sum", "Eltwise", "one two"),
        layer("on", "ReLU", "sum"),
        conv("three", "on", 2),
        data=(1, 1, 1, 1),
    )
    weights = arrays(
        one=(np.ones((3, 1, 1, 1)), np.zeros(3)),
        two=(2 * np.eye(3).reshape(3, 3, 1, 1), np.zeros(3)),
        three=(np.full((2, 3, 1, 1), 5), np.zeros(2)),
    )
    net = load_text(engine, tmp_path, text, weights)
    found = dv.drivers(net, np.ones((1, 1, 1, 1), np.float32), "three", 0)
    assert {name: values.tolist() for name, values in found.contributions.items()} == {
        "one": [5, 5, 5],
        "two": [10, 10, 10],
    }
    assert (found.score, found.rest) == (45, 0)


# -- which units -----------------------------------------------------------------------------------


def test_units_of_a_concat_are_those_of_the_layers_that_make_them(engine: str) -> None:
    net = _squeezenet(engine)
    x = 50 * noise(1, 3, 227, 227)
    by_concat = dv.drivers(net, x, "fire5/concat", 128 + 7, count=None)
    by_layer = dv.drivers(net, x, "fire5/expand3x3", 7, count=None)
    assert by_layer.score > 0
    assert {one.layer for one in by_concat} == {"fire5/squeeze1x1"}
    assert [(a.unit, a.contribution) for a in by_concat] == [
        (b.unit, b.contribution) for b in by_layer
    ]
    below = dv.drivers(net, x, "fire5/squeeze1x1", 3, (3, 4), count=None)
    assert set(below.contributions) == {"fire4/expand1x1", "fire4/expand3x3"}
    assert {len(one) for one in below.contributions.values()} == {128}
    assert [one.unit for one in below if one.layer == "fire4/expand3x3"] != []


def _squeezenet(engine: str) -> Net:
    path = resource("prototxt", "squeezenet_v1.1.prototxt")
    return dv.load_net(path, weights_for(path), engine, device="cpu")


def test_below_names_layers(engine: str) -> None:
    net = _squeezenet(engine)
    x = 50 * noise(1, 3, 227, 227)
    nearest = dv.drivers(net, x, "fire4/squeeze1x1", 3)
    assert dv.drivers(net, x, "fire4/squeeze1x1", 3, below="pool3").record() == nearest.record()
    assert dv.drivers(net, x, "fire4/squeeze1x1", 3, below="fire3/concat")[0].layer in (
        *("fire3/expand1x1", "fire3/expand3x3"),
    )
    one = dv.drivers(net, x, "fire4/squeeze1x1", 3, below="fire3/expand3x3")
    both = nearest.contributions["fire3/expand3x3"]
    np.testing.assert_array_equal(one.contributions["fire3/expand3x3"], both)
    assert set(one.contributions) == {"fire3/expand3x3"}
    # Two layers deep, the gradient is that of a backward pass which nothing holds up.
    deep = dv.drivers(net, x, "fire4/squeeze1x1", 3, (5, 5), below=["fire2/expand1x1"], count=None)
    diff = np.zeros((1, 32, 28, 28), np.float32)
    diff[0, 3, 5, 5] = 1
    net.forward(x, [])
    name = "fire2/relu_expand1x1"
    product = net.backward("fire4/squeeze1x1", diff, blobs=[name])[name] * net.read([name])[name]
    expected = product[0].sum(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(
        deep.contributions["fire2/expand1x1"], expected, atol=1e-6 * np.abs(expected).max()
    )


def test_the_first_layer_is_driven_by_the_image(engine: str) -> None:
    net = _squeezenet(engine)
    x = 50 * noise(1, 3, 227, 227)
    found = dv.drivers(net, x, "conv1", 5, (10, 12))
    kernel, bias = net.model.weights["conv1"]
    patch = x[0, :, 20:23, 24:27]  # no padding, stride 2
    expected = (kernel[5] * patch).sum(axis=(1, 2))
    got = {one.unit: one.contribution for one in found}
    assert [got[channel] for channel in range(3)] == pytest.approx(expected.tolist(), rel=1e-4)
    assert {one.layer for one in found} == {"data"}
    assert found.rest == pytest.approx(float(bias[5]), abs=1e-3)


def test_a_unit_that_is_off(engine: str, tmp_path: Path) -> None:
    weights = {**HAND_WEIGHTS, **arrays(high=([[[[3]], [[-1]]]], [-9]))}
    text = HAND + "\n" + relu("off", "high")
    net = load_text(engine, tmp_path, text, weights)
    found = dv.drivers(net, HAND_IMAGE, "high", 0)
    assert [one.contribution for one in found] == [0, 0]
    assert (found.score, found.activation, [one.share for one in found]) == (0, 0, [0, 0])
    at_first = dv.drivers(net, HAND_IMAGE, "high", 0, (0, 0))  # why it is off
    assert [one.contribution for one in at_first] == [6, -4]
    assert (at_first.score, at_first.rest, at_first.activation) == (-7, -9, 0)
    assert at_first[0].share == pytest.approx(6 / 7)


# -- what it refuses, and how it looks -------------------------------------------------------------


def test_errors(small: Net) -> None:
    x = noise(1, 3, 12, 16)
    with pytest.raises(UnknownNameError, match="conv9"):
        dv.drivers(small, x, "conv9", 0)
    with pytest.raises(SettingsError, match="no unit 8"):
        dv.drivers(small, x, "conv2", 8)
    with pytest.raises(SettingsError, match=r"position \(9, 9\) is not in"):
        dv.drivers(small, x, "conv2", 0, (9, 9))
    with pytest.raises(UnknownNameError, match="conv9"):
        dv.drivers(small, x, "conv2", 0, below="conv9")
    with pytest.raises(SettingsError, match=r"'ip' does not lead to unit 0 of 'conv2'.* conv1"):
        dv.drivers(small, x, "conv2", 0, below=["conv1", "ip"])
    with pytest.raises(SettingsError, match="reach must be one of nearest, stage; got 'far'"):
        dv.drivers(small, x, "conv2", 0, reach="far")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="give either below"):
        dv.drivers(small, x, "conv2", 0, below="conv1", reach="stage")
    with pytest.raises(SettingsError, match="count must be a whole number"):
        dv.drivers(small, x, "conv2", 0, count=0)
    with pytest.raises(ModelError, match="no layers with units below"):
        dv.drivers(small, x, "data", 0)


def test_values_of_neighbors_in_a_large_map_are_added_up(small: Net) -> None:
    values = np.random.default_rng(3).normal(size=(55, 40)).astype(np.float32)
    padded = np.zeros((56, 40))
    padded[:55] = values
    expected = padded.reshape(14, 4, 10, 4).sum(axis=(1, 3))
    np.testing.assert_allclose(summed(values, 16), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(summed(values[:16, :14], 16), values[:16, :14])
    # One value of 120 x 160 is shown as one of 24 x 32 squares
    found = dv.drivers(small, noise(1, 3, 12, 16), "ip", 2, count=1)
    point = np.zeros((120, 160), np.float32)
    point[40, 64] = 1
    far = replace(found, drivers=(replace(found[0], map=point),))
    large = replace(far, image=np.zeros((3, 120, 160), np.float32))
    (picture,) = large.pictures()
    red = picture[..., 0].astype(int) - picture[..., 2]
    assert {(y, x) for y, x in np.argwhere(red > 20)} == {
        (y, x) for y in range(40, 45) for x in range(60, 65)
    }


def test_its_record_and_its_looks(small: Net) -> None:
    found = dv.drivers(small, noise(1, 3, 12, 16), "ip", 2, count=3)
    record = json.loads(json.dumps(found.record()))
    assert [(one["layer"], one["unit"]) for one in record["drivers"]] == [
        (one.layer, one.unit) for one in found
    ]
    assert record["rest"] == pytest.approx(found.score - found.total)
    html = found._repr_html_()
    assert html.count("<img") == 3
    assert all(f"<td>{one.unit}</td>" in html for one in found)
    for one, picture in zip(found, found.pictures(), strict=True):
        y, x = np.unravel_index(np.abs(one.map).argmax(), one.map.shape)
        rows, columns = one.map.shape
        red, _, blue = picture[y * 12 // rows + 1, x * 16 // columns + 1].astype(int)
        assert (red > blue) == (one.map[y, x] > 0)

"""Drivers by weights, against what a net computes from maps that are constant at their means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise, relu

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ModelError, SettingsError, UnknownNameError

# Two branches whose join is pooled and read by a convolution in groups with a normalization of its
# own, by a deconvolution, and by an inner product.
ABOVE = (
    layer("join", "Concat", "left right"),
    layer("pool", "Pooling", "join", "", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }"),
    conv("grouped", "pool", 6, 3, "group: 3"),
    layer("norm", "BatchNorm", "grouped", "grouped"),
    layer("scale", "Scale", "grouped", "grouped", "scale_param { bias_term: true }"),
    relu("relu", "grouped"),
    layer(
        "larger",
        "Deconvolution",
        "pool",
        "",
        "convolution_param { num_output: 4 kernel_size: 2 stride: 2 group: 2 }",
    ),
    layer("flat", "Flatten", "pool"),
    layer("ip", "InnerProduct", "flat", "", "inner_product_param { num_output: 5 }"),
)
LEFT, RIGHT = 2, 4
TEXT = net_text(
    conv("left", "data", LEFT, 3, "pad: 1"),
    relu("relu_left", "left"),
    conv("right", "data", RIGHT),
    relu("relu_right", "right"),
    *ABOVE,
    data=(1, 3, 8, 10),
)
MEANS = {"left": np.array([1.5, -0.5]), "right": np.array([0.25, 2.0, 0.0, 1.0])}


@pytest.fixture
def whole(tmp_path: Path) -> Net:
    return load_text("torch", tmp_path, TEXT, seed=4)


def _of_means(whole: Net, folder: Path, means: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """The middle values of a layer's units where the maps of the layers below are flat."""
    (folder / "above").mkdir(exist_ok=True)
    text = net_text(*ABOVE, left=(1, LEFT, 8, 10), right=(1, RIGHT, 8, 10))
    weights = {
        key: whole.model.weights[key] for key in ("grouped", "norm", "scale", "larger", "ip")
    }
    above = load_text("torch", folder / "above", text, weights)
    maps = {key: np.tile(one[None, :, None, None], (1, 1, 8, 10)) for key, one in means.items()}
    start = {"grouped": "scale"}.get(name, name)
    values = above.forward({k: np.float32(v) for k, v in maps.items()}, [start])[start][0]
    if name == "larger":  # each of its positions is reached by one weight of four
        return values[:, 2:4, 2:4].sum(axis=(1, 2))
    return values[(slice(None), *(size // 2 for size in values.shape[1:]))]


@pytest.mark.parametrize(("name", "units"), [("grouped", 6), ("larger", 4), ("ip", 5)])
def test_contributions_are_what_means_make(
    whole: Net, tmp_path: Path, name: str, units: int
) -> None:
    """Each channel's: the unit with all means, less that with the channel's at 0."""
    values = _of_means(whole, tmp_path, MEANS, name)
    for unit in range(units):
        found = dv.drivers_by_weights(whole, name, unit, MEANS, count=None)
        assert {(one.layer, one.unit) for one in found} == {
            *(("left", number) for number in range(LEFT)),
            *(("right", number) for number in range(RIGHT)),
        }
        for one in found:
            less = {
                key: np.where((np.arange(len(mean)) == one.unit) & (key == one.layer), 0, mean)
                for key, mean in MEANS.items()
            }
            without = _of_means(whole, tmp_path, less, name)[unit]
            expected = float(values[unit] - without)
            assert one.mean == MEANS[one.layer][one.unit]
            assert one.contribution == pytest.approx(expected, abs=1e-5)


def test_weights_alone(tmp_path: Path) -> None:
    """w = [1 -2 4] and [-3 0 0] over three positions: 3, and -3."""
    text = net_text(
        conv("low", "data", 2),
        layer(
            "high",
            "Convolution",
            "low",
            "",
            "convolution_param { num_output: 1 kernel_h: 1 kernel_w: 3 }",
        ),
        data=(1, 1, 1, 3),
    )
    weights = arrays(
        low=(np.ones((2, 1, 1, 1)), np.zeros(2)), high=([[[[1, -2, 4]], [[-3, 0, 0]]]], [7])
    )
    net = load_text("torch", tmp_path, text, weights)
    for means in (None, {}, {"high": np.ones(1)}):  # of none of the layers below
        first, second = dv.drivers_by_weights(net, "high", 0, means)
        assert (first.unit, first.positive, first.negative, first.weight) == (0, 5, -2, 3)
        assert (second.unit, second.positive, second.negative, second.weight) == (1, 0, -3, -3)
        assert (first.contribution, second.contribution, first.mean) == (3, -3, None)
    first, second = dv.drivers_by_weights(net, "high", 0, {"low": np.array([2.0, 10.0])})
    assert (first.unit, first.contribution, second.contribution) == (1, -30, 6)
    assert dv.drivers_by_weights(net, "high", 0).raising[0].unit == 0
    assert dv.drivers_by_weights(net, "high", 0).lowering[0].unit == 1


def test_means_of_a_scan(whole: Net) -> None:
    """The means of the activations that the layer above reads, of the layers by their names."""
    images = noise(4, 3, 8, 10)
    maps = whole.forward(images, ["left", "right"])
    means = {name: one.mean(axis=(0, 2, 3)) for name, one in maps.items()}
    found = dv.drivers_by_weights(whole, "ip", 2, means, count=None)
    for one in found:
        assert one.mean == pytest.approx(float(means[one.layer][one.unit]))
    before = {name: one.mean(axis=(0, 2, 3)) for name, one in whole.read(["left:raw"]).items()}
    raw = dv.drivers_by_weights(whole, "ip", 2, {**before, "right": means["right"]})
    assert raw[0].mean is None  # below the rectifier is another value


def test_units_of_a_concat_and_the_image(whole: Net) -> None:
    joined = dv.drivers_by_weights(whole, "pool", LEFT + 3, count=None)
    assert [(one.layer, one.unit, one.weight) for one in joined] == [
        (one.layer, one.unit, one.weight)
        for one in dv.drivers_by_weights(whole, "right", 3, count=None)
    ]
    kernel = whole.model.weights["right"][0][3, :, 0, 0]
    assert {one.unit: one.weight for one in joined} == pytest.approx(dict(enumerate(kernel)))


def test_errors(whole: Net, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="conv9"):
        dv.drivers_by_weights(whole, "conv9", 0)
    with pytest.raises(SettingsError, match="no unit 6"):
        dv.drivers_by_weights(whole, "grouped", 6)
    with pytest.raises(SettingsError, match="count must be"):
        dv.drivers_by_weights(whole, "grouped", 0, count=-1)
    text = net_text(
        conv("a", "data", 2),
        conv("b", "data", 2),
        layer("sum", "Eltwise", "a b"),
        layer("soft", "Softmax", "sum"),
        data=(1, 1, 2, 2),
    )
    net = load_text("torch", tmp_path, text)
    for name in ("sum", "soft"):
        with pytest.raises(
            ModelError, match=f"unit 1 of layer '{name}' is not computed by one layer"
        ):
            dv.drivers_by_weights(net, name, 1)
    with pytest.raises(ModelError, match=r"unit 0 of layer .data. has no weights"):
        dv.drivers_by_weights(net, "data", 0)

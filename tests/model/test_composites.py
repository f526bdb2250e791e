"""Layers of forks that become several stock layers: their published definitions, in numpy."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from helpers.engine_nets import arrays, layer, load_text, net_text, noise

from deepvis_caffe.model.dialects import translate
from deepvis_caffe.model.schema_pb2 import NetParameter

X = noise(3, 2, 4, 5)
SLOPE, BIAS = np.float32([2, -3]), np.float32([0.5, 7])
MEAN, VARIANCE = np.float32([0.25, -1]), np.float32([4, 0.5])


def per_channel(values: np.ndarray) -> np.ndarray:
    return values.reshape(1, 2, 1, 1)


def bn(params: str, top: str = "b", more: str = "") -> str:
    return net_text(
        layer("b", "BN", "data", top, f"{more} bn_param {{ {params} }}"), data=(1, 2, 4, 5)
    )


@pytest.mark.parametrize("params", ["eps: 0.125", "eps: 0.125 frozen: true"])
def test_xiongs_bn_normalizes_by_what_it_stores(engine: str, params: str, tmp_path: Path) -> None:
    blobs = [blob.reshape(1, 2) for blob in (SLOPE, BIAS, MEAN, VARIANCE)]
    net = load_text(engine, tmp_path, bn(params), arrays(b=blobs))
    unit = (X - per_channel(MEAN)) / np.sqrt(per_channel(VARIANCE) + 0.125)
    expected = per_channel(SLOPE) * unit + per_channel(BIAS)
    np.testing.assert_allclose(net.forward(X)["b"], expected, rtol=1e-5, atol=1e-5)


def test_nohs_bn_in_inference_is_scale_and_shift(engine: str, tmp_path: Path) -> None:
    params = "bn_mode: INFERENCE scale_filler { type: 'constant' value: 1 }"
    blobs = [blob.reshape(1, 2, 1, 1) for blob in (SLOPE, BIAS)]
    net = load_text(engine, tmp_path, bn(params), arrays(b=blobs))
    expected = per_channel(SLOPE) * X + per_channel(BIAS)
    np.testing.assert_allclose(net.forward(X)["b"], expected, rtol=1e-5, atol=1e-5)


def test_nohs_bn_in_learn_normalizes_by_the_batch(engine: str, tmp_path: Path) -> None:
    net = load_text(engine, tmp_path, bn("shift_filler { value: 0 }"), arrays(b=(SLOPE, BIAS)))
    mean, variance = X.mean((0, 2, 3)), X.var((0, 2, 3))
    unit = (X - per_channel(mean)) / np.sqrt(per_channel(variance) + 1e-9)
    expected = per_channel(SLOPE) * unit + per_channel(BIAS)
    np.testing.assert_allclose(net.forward(X)["b"], expected, rtol=1e-4, atol=1e-5)


def test_the_eps_of_w_lius_bn() -> None:
    written = text_format.Parse(bn("scale_filler { } var_eps: 0.25"), NetParameter())
    assert translate(written, {}).layer[1].batch_norm_param.eps == 0.25


@pytest.mark.parametrize(
    ("params", "more", "blobs", "parts"),
    [
        ("", "", 0, ["BatchNorm", "Scale"]),  # says nothing
        ("", "", 2, ["BatchNorm of the batch", "Scale"]),
        ("", "", 4, ["BatchNorm", "Scale"]),
        ("bn_mode: LEARN", "", 4, ["BatchNorm", "Scale"]),  # the blobs say more than the fields
        ("bn_mode: LEARN", "", 0, ["BatchNorm of the batch", "Scale"]),
        ("bn_mode: INFERENCE", "", 0, ["Scale"]),
        ("scale_filler { value: 1 }", "", 0, ["BatchNorm of the batch", "Scale"]),
        ("slope_filler { value: 1 }", "", 0, ["BatchNorm", "Scale"]),
        ("scale_filler { value: 1 }", "param { } " * 4, 0, ["BatchNorm", "Scale"]),
    ],
)
def test_which_bn_it_is(params: str, more: str, blobs: int, parts: list[str]) -> None:
    written = text_format.Parse(bn(params, more=more), NetParameter())
    found = {"b": [SLOPE] * blobs}
    faults: dict[str, str] = {}
    layers = translate(written, faults, found).layer[1:]
    assert not faults
    assert [
        one.type + " of the batch" * one.batch_norm_param.HasField("use_global_stats")
        for one in layers
    ] == parts
    assert layers[-1].name == "b"
    assert not any(one.HasField("bn_param") for one in layers)


def test_shared_blobs_stay_shared() -> None:
    """Two BNs of one name for each blob, as in a Siamese net."""
    named = " ".join(f"param {{ name: '{name}' }}" for name in ("w", "b", "m", "v"))
    written = text_format.Parse(bn("", more=named), NetParameter())
    norm, scale = translate(written, {}).layer[1:]
    assert [spec.name for spec in norm.param] == ["m", "v"]
    assert [spec.name for spec in scale.param] == ["w", "b"]


def test_a_bn_that_gives_its_statistics_is_opaque(tmp_path: Path) -> None:
    text = bn("scale_filler { }", "b mean variance") + layer("r", "ReLU", "data")
    net = load_text("torch", tmp_path, text, {})
    assert "the batch's mean and variance, are not supported" in net.opaque["b"].reason


def test_a_part_whose_name_is_taken(tmp_path: Path) -> None:
    text = net_text(layer("b", "BN", "data"), layer("b/norm", "ReLU", "data"), data=(1, 2, 4, 5))
    net = load_text("torch", tmp_path, text, {})
    assert re.search("named 'b/norm', the name of another layer", net.opaque["b"].reason)


@pytest.mark.parametrize("factor", [(1, 2, 1, 1), (1, 2)])
def test_axpy(engine: str, factor: tuple[int, ...], tmp_path: Path) -> None:
    axpy = layer("s", "Axpy", "a x y")
    text = net_text(axpy, a=factor, x=(1, 2, 4, 5), y=(1, 2, 4, 5))
    net = load_text(engine, tmp_path, text)
    a, y = noise(3, *factor[1:], seed=2), noise(3, 2, 4, 5, seed=3)
    expected = a.reshape(3, 2, 1, 1) * X + y
    got = net.forward({"a": a, "x": X, "y": y})["s"]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("params", "axis", "slope"),
    [("", 1, 0.0), ("crelu_param { negative_slope: 0.25 concat_axis: 2 engine: CAFFE }", 2, 0.25)],
)
def test_crelu(engine: str, params: str, axis: int, slope: float, tmp_path: Path) -> None:
    net = load_text(
        engine, tmp_path, net_text(layer("c", "CReLU", "data", "", params), data=X.shape)
    )
    both = np.concatenate([X, -X], axis)
    expected = np.where(both > 0, both, slope * both)
    np.testing.assert_allclose(net.forward(X)["c"], expected, rtol=1e-6)
    dy = noise(*expected.shape, seed=2)
    first, second = np.split(dy * np.where(both > 0, 1, slope), 2, axis)
    np.testing.assert_allclose(net.backward("c", dy)["data"], first - second, rtol=1e-5, atol=1e-6)


def test_a_crelu_in_place_is_opaque(tmp_path: Path) -> None:
    text = net_text(layer("c", "CReLU", "data", "data"), data=X.shape)
    assert "cannot work in place" in load_text("torch", tmp_path, text, {}).opaque["c"].reason


def test_xiongs_gather_in_one_process_is_what_came(engine: str, tmp_path: Path) -> None:
    """It joins features and labels in his nets of videos, which are the same without it."""
    data = 'layer { name: "d" type: "VideoData" top: "data" top: "label" %s }'
    data %= "video_data_param { modality: RGB } transform_param { crop_size: 5 }"
    weights = arrays(c=[noise(2, 3, 2, 2)], fc=[noise(4, 32)])
    params = "convolution_param { num_output: 2 kernel_size: 2 bias_term: false }"
    nets = []
    for image, label, gather in (
        ("c", "label", ""),
        ("g", "l", layer("gather", "Gather", "c label", "g l")),
    ):
        ip = "inner_product_param { num_output: 4 bias_term: false }"
        fc, loss = layer("fc", "InnerProduct", image, "", ip), f"fc {label}"
        convolution = layer("c", "Convolution", "data", "", params)
        text = "".join([data, convolution, gather, fc, layer("loss", "SoftmaxWithLoss", loss)])
        nets.append(load_text(engine, tmp_path, text, weights))
    x, diff = noise(1, 3, 5, 5), noise(1, 4, seed=2)
    without, behind = (
        {**net.forward(x, blobs=["c", "fc", "prob"]), **net.backward("fc", diff)} for net in nets
    )
    assert behind.keys() == without.keys() == {"c", "fc", "prob", "data"}
    for blob, expected in without.items():
        np.testing.assert_array_equal(behind[blob], expected)
    np.testing.assert_array_equal(nets[1].forward(x, blobs=["gather"])["gather"], without["c"])


def test_a_gather_with_fewer_tops_than_bottoms(tmp_path: Path) -> None:
    text = net_text(layer("g", "Gather", "x y"), layer("r", "ReLU", "x"), x=(1, 2), y=(1, 2))
    net = load_text("torch", tmp_path, text, {})
    assert net.opaque["g"].reason == "without indices it needs one top for each bottom"

"""Kernels against the engines: a unit's value for an image with a single 1 is a weight."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, noise

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ModelError, UnknownNameError, WeightsError
from deepvis_caffe.model.kernels import Kernels, kernels_of
from deepvis_caffe.model.model import load_model


def load(engine: str, folder: Path, *layers: str, shape: tuple[int, ...]) -> Net:
    """A net whose biases are 0, so that it is linear."""
    net = load_text(engine, folder, net_text(*layers, data=shape))
    weights = {
        name: (blobs[0], *(np.zeros_like(one) for one in blobs[1:]))
        for name, blobs in net.model.weights.items()
    }
    return load_text(engine, folder, net_text(*layers, data=shape), weights)


def impulses(shape: tuple[int, ...]) -> np.ndarray:
    """An image for each value of an input, 1 there and 0 elsewhere."""
    return np.eye(prod(shape), dtype=np.float32).reshape(-1, *shape)


def spread(kernels: Kernels, channels: int) -> np.ndarray:
    """(units, channels of the bottom, *window): 0 where a unit does not read."""
    units, _, *window = kernels.values.shape
    whole = np.zeros((units, channels, *window), np.float32)
    for unit in range(units):
        whole[unit, list(kernels.channels_of(unit))] = kernels.values[unit]
    return whole


@pytest.mark.parametrize(
    ("params", "shape"),
    [
        ("num_output: 5 kernel_size: 2 kernel_size: 3", (3, 2, 3)),
        ("num_output: 4 kernel_size: 2 kernel_size: 3 group: 2", (6, 2, 3)),
        ("num_output: 4 kernel_size: 2 group: 4 bias_term: false", (4, 2, 2)),
        ("num_output: 7 kernel_size: 1", (5, 1, 1)),
        ("num_output: 3 kernel_size: 2 kernel_size: 3 kernel_size: 4", (2, 2, 3, 4)),
        ("num_output: 3 kernel_size: 4", (2, 4)),
    ],
)
def test_convolutions(engine: str, tmp_path: Path, params: str, shape: tuple[int, ...]) -> None:
    one = layer("c", "Convolution", "data", "", f"convolution_param {{ {params} }}")
    net = load(engine, tmp_path, one, shape=(1, *shape))
    kernels = kernels_of(net.model, "c")
    # The window covers the whole image: the top has one position.
    answers = net.forward(impulses(shape), ["c"])["c"].reshape(prod(shape), -1)
    expected = answers.T.reshape(-1, *shape)
    np.testing.assert_allclose(spread(kernels, shape[0]), expected, rtol=1e-4, atol=1e-7)
    assert expected.any()


@pytest.mark.parametrize("group", [1, 2])
def test_transposed_convolutions(engine: str, tmp_path: Path, group: int) -> None:
    params = f"convolution_param {{ num_output: 6 kernel_size: 2 kernel_size: 3 group: {group} }}"
    one = layer("d", "Deconvolution", "data", "", params)
    net = load(engine, tmp_path, one, shape=(1, 4, 1, 1))
    kernels = kernels_of(net.model, "d")
    # Of a single position the top is the kernel itself.
    answers = net.forward(impulses((4, 1, 1)), ["d"])["d"]  # (channels, units, 2, 3)
    np.testing.assert_allclose(spread(kernels, 4), answers.swapaxes(0, 1), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("transpose", ["", "transpose: true"])
@pytest.mark.parametrize("flatten", [False, True])
def test_inner_products_have_the_shape_of_the_map_below(
    engine: str, tmp_path: Path, transpose: str, flatten: bool
) -> None:
    params = f"inner_product_param {{ num_output: 5 {transpose} }}"
    layers = [
        conv("c", "data", 4, 3),
        *([layer("flat", "Flatten", "c"), layer("drop", "Dropout", "flat", "flat")] * flatten),
        layer("ip", "InnerProduct", "flat" if flatten else "c", "", params),
        layer("fc", "InnerProduct", "ip", "", "inner_product_param { num_output: 2 }"),
    ]
    net = load(engine, tmp_path, *layers, shape=(1, 3, 5, 6))
    kernels = kernels_of(net.model, "ip")
    assert kernels.values.shape == (5, 4, 3, 4)
    assert not kernels.reads_image
    x = noise(2, 3, 5, 6)
    values = net.forward(x, ["c", "ip", "fc"])
    sums = np.einsum("nchw,uchw->nu", values["c"], kernels.values)
    np.testing.assert_allclose(sums, values["ip"], rtol=1e-4, atol=1e-4)
    above = kernels_of(net.model, "fc")
    np.testing.assert_allclose(values["ip"] @ above.values.T, values["fc"], rtol=1e-4, atol=1e-4)


def test_a_shared_parameter_is_every_layers(tmp_path: Path) -> None:
    shared = 'param { name: "w" } param { name: "b" }'
    own = "convolution_param { num_output: 3 kernel_size: 2 }"
    net = load_text(
        "torch",
        tmp_path,
        net_text(
            layer("one", "Convolution", "data", "", f"{shared} {own}"),
            layer("other", "Convolution", "data", "", f"{shared} {own}"),
            data=(1, 3, 4, 4),
        ),
    )
    one, other = (kernels_of(net.model, name).values for name in ("one", "other"))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, net.model.weights["one"][0])


def test_which_layers_read_the_image(tmp_path: Path) -> None:
    ip = "inner_product_param { num_output: 2 }"
    text = net_text(
        layer("norm", "BatchNorm", "data"),
        layer("scale", "Scale", "norm", "norm"),
        conv("first", "norm", 4, 2),
        conv("depthwise", "data", 3, 2, "group: 3"),
        conv("second", "first", 3, 2),  # as many channels as the image
        conv("third", "second", 3, 2),
        layer("rows", "InnerProduct", "data", "", ip),
        layer("flat", "Flatten", "data"),
        layer("flat_rows", "InnerProduct", "flat", "", ip),
        data=(1, 3, 8, 8),
    )
    model = load_text("torch", tmp_path, text).model
    reading = {
        name: kernels_of(model, name).reads_image
        for name in ("first", "depthwise", "second", "third", "rows", "flat_rows")
    }
    assert reading == {
        "first": True,
        "depthwise": False,
        "second": False,
        "third": False,
        "rows": True,
        "flat_rows": True,
    }
    assert kernels_of(model, "flat_rows").values.shape == (2, 3, 8, 8)


def test_names_and_errors(tmp_path: Path) -> None:
    text = net_text(
        layer(
            "c", "Convolution", "data", "blob", "convolution_param { num_output: 2 kernel_size: 1 }"
        ),
        layer("relu", "ReLU", "blob", "blob"),
        layer("bn", "BatchNorm", "blob", "bn"),
        data=(1, 3, 4, 4),
    )
    model = load_text("torch", tmp_path, text).model
    for name in ("c", "c:raw", "blob", "blob:raw"):
        assert kernels_of(model, name).layer == "c"
    with pytest.raises(ModelError, match=r"layer 'relu' \(ReLU\) has no weights; .*: c, bn"):
        kernels_of(model, "relu")
    with pytest.raises(
        ModelError, match=r"'bn' \(BatchNorm\) has weights \(mean \(2,\), .* no ker"
    ):
        kernels_of(model, "bn")
    with pytest.raises(UnknownNameError, match="no layer or blob named 'blub'"):
        kernels_of(model, "blub")
    unread = load_model(tmp_path / "net.prototxt", None, need_weights=False)
    with pytest.raises(WeightsError, match="no weights were given"):
        kernels_of(unread, "c")

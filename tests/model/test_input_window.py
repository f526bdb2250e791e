"""Windows: on its receptive field alone, a unit has the same value and gradient as on the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, noise, weights_for

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.load import load_net
from deepvis_caffe.model.input_window import InputWindow, keeps_shapes, window_of
from deepvis_caffe.resources import resource

SLIDING = ("Convolution", "Pooling", "LRN", "Concat", "Eltwise")


def window(net: Net, name: str, where: tuple[int, int]) -> InputWindow | None:
    return window_of(net.model, net.model.graph.gradient_start(name), where)


def value_and_gradient(net: Net, name: str, x: np.ndarray, unit: int, where: tuple[int, int]):
    value = net.ops.numpy(net.evaluate(net.ops.asarray(x), name))
    diff = np.zeros_like(value)
    diff[:, unit, where[0], where[1]] = 1
    gradient = net.ops.numpy(net.input_gradient(net.ops.asarray(diff)))
    return value[0, :, where[0], where[1]], gradient


def assert_same_as_whole(net: Net, name: str, where: tuple[int, int], x: np.ndarray) -> float:
    """Returns the largest gradient, so that callers can see that there was one."""
    part = window(net, name, where)
    assert part is not None, name
    all_values, _ = value_and_gradient(net, name, x, 0, where)
    unit = int(all_values.argmax())
    whole, gradient = value_and_gradient(net, name, x, unit, where)
    cut = np.ascontiguousarray(x[:, :, part.rows, part.columns])
    values, inside = value_and_gradient(net, name, cut, unit, part.index)
    reach = np.abs(gradient).max()
    np.testing.assert_allclose(values, whole, atol=1e-4 * np.abs(whole).max(), err_msg=name)
    outside = gradient.copy()
    outside[:, :, part.rows, part.columns] = 0
    assert not outside.any(), name
    np.testing.assert_allclose(
        inside, gradient[:, :, part.rows, part.columns], atol=1e-3 * reach, err_msg=name
    )
    return float(reach)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet_v1.1", "caffenet_yos", "bvlc_googlenet"])
def test_every_convolution_and_pool_of_real_nets(name: str) -> None:
    path = resource("prototxt", f"{name}.prototxt")
    net = load_net(path, weights_for(path, 0), "torch", mean=(104, 117, 123), device="cpu")
    x = noise(1, *net.preprocessor.shape, seed=3) * 50
    reaches = []
    for one in net.layers:
        if one.type not in ("Convolution", "Pooling") or one.shape is None:
            continue
        rows, columns = one.shape[2:]
        if window(net, one.name, (rows // 2, columns // 2)) is not None:
            reaches.append(assert_same_as_whole(net, one.name, (rows // 2, columns // 2), x))
        else:  # it sees the image's full height or width, or all of it at once
            box = one.receptive_field.window(rows // 2, columns // 2)
            assert min(side.stop - side.start for side in box) >= 0.75 * x.shape[2], one.name
    assert len(reaches) >= {"squeezenet_v1.1": 14, "caffenet_yos": 6, "bvlc_googlenet": 30}[name]
    assert np.count_nonzero(reaches) >= 0.8 * len(reaches)


# strides 2 and 3, padding, a pool that rounds up, a branch, windows that reach over every edge
ODD = net_text(
    conv("a", "data", 3, 3, "pad: 1 stride: 2"),
    layer("norm", "LRN", "a", "", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }"),
    layer("pool", "Pooling", "norm", "", "pooling_param { kernel_size: 3 stride: 2 pad: 1 }"),
    conv("left", "pool", 2, 3, "pad: 2 dilation: 2"),
    conv("right", "pool", 2, 1),
    layer("both", "Eltwise", "left right"),
    layer("mean", "Pooling", "both", "", "pooling_param { pool: AVE kernel_size: 2 stride: 3 }"),
    data=(1, 2, 61, 74),
)


@pytest.mark.slow
@pytest.mark.parametrize("engine_name", ["torch", "pycaffe"])
def test_every_position_of_an_odd_net(
    engine_name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if engine_name == "pycaffe":
        request.getfixturevalue("caffe")
    net = load_text(engine_name, tmp_path, ODD)
    x = noise(1, 2, 61, 74)
    for name in ("a", "norm", "pool", "left", "both", "mean"):
        rows, columns = net.shapes[net.model.graph.gradient_start(name)][2:]
        for y in sorted({0, 1, rows // 2, rows - 1}):
            for z in sorted({0, columns // 3, columns - 2, columns - 1}):
                assert_same_as_whole(net, name, (y, z), x)


def test_a_window_by_hand(tmp_path: Path) -> None:
    # a: rows 2y-1..2y+1; pool: rows of a 2p..2p+2, so of the image 4p-1..4p+5: at p=3 11..17,
    # which begins at a multiple of the strides' 4, at 8; columns likewise at p=1: 3..9, from 0 on
    net = load_text(
        "torch",
        tmp_path,
        net_text(
            conv("a", "data", 1, 3, "pad: 1 stride: 2"),
            layer("pool", "Pooling", "a", "", "pooling_param { kernel_size: 3 stride: 2 }"),
            data=(1, 1, 40, 40),
        ),
    )
    found = window(net, "pool", (3, 1))
    assert found == InputWindow((8, 0, 18, 10), (1, 1), (2, 2))
    assert found.size == (10, 10)
    assert window(net, "a", (0, 19)).box == (0, 36, 2, 40)  # 37..39, from a multiple of 2


UP = "convolution_param { num_output: 1 kernel_size: 2 stride: 2 }"


@pytest.mark.parametrize(
    "more",
    [
        layer("end", "InnerProduct", "a", "", "inner_product_param { num_output: 2 }"),
        layer("end", "MVN", "a"),
        layer("end", "Pooling", "a", "", "pooling_param { pool: AVE global_pooling: true }"),
        layer("end", "Deconvolution", "a", "", UP),
        layer("end", "Upsample", "a", "", "upsample_param { scale: 2 }"),
        layer("end", "Interp", "a", "", "interp_param { shrink_factor: 2 }"),  # 7 to 4 rows
    ],
)
def test_what_sees_everything_or_does_not_slide_evenly_has_none(tmp_path: Path, more: str) -> None:
    net = load_text("torch", tmp_path, net_text(conv("a", "data", 2, 3), more, data=(1, 1, 9, 9)))
    assert window(net, "end", (0, 0)) is None
    value = net.model.graph.gradient_start("a")
    assert window_of(net.model, value, None) is None  # a whole channel
    assert window(net, "a", (3, 3)).box == (3, 3, 6, 6)


@pytest.mark.parametrize("where", [(0, 0), (5, 4), (6, 5), (11, 11)])
def test_what_is_repeated_again_has_a_window(tmp_path: Path, where: tuple[int, int]) -> None:
    """Down by 2 and up by 2: rows start at even ones, as those of the strided convolution."""
    up = layer("up", "Upsample", "a", "", "upsample_param { scale: 2 }")
    layers = [conv("a", "data", 2, 3, "stride: 2 pad: 1"), up, conv("b", "up", 2, 3, "pad: 1")]
    net = load_text("torch", tmp_path, net_text(*layers, data=(1, 1, 24, 24)))
    assert assert_same_as_whole(net, "b", where, noise(1, 1, 24, 24)) > 0


def test_a_second_input_has_a_size_of_its_own(tmp_path: Path) -> None:
    text = net_text(
        conv("a", "data", 1, 3), layer("sum", "Eltwise", "a more"),
        data=(1, 1, 9, 9), more=(1, 1, 7, 7),
    )  # fmt: skip
    net = load_text("torch", tmp_path, text)
    assert window(net, "sum", (3, 3)) is None
    assert window(net, "a", (3, 3)).box == (3, 3, 6, 6)


def test_what_is_pooled_over_the_whole_map_keeps_its_shape(tmp_path: Path) -> None:
    text = net_text(
        conv("a", "data", 4, 3),
        layer(
            "pooled", "Pooling", "a", "pooled", "pooling_param { pool: AVE global_pooling: true }"
        ),
        layer("fc", "InnerProduct", "a", "fc", "inner_product_param { num_output: 2 }"),
        layer("same", "InnerProduct", "pooled", "same", "inner_product_param { num_output: 2 }"),
        data=(1, 3, 12, 12),
    )
    net = load_text("torch", tmp_path, text)

    def keeps(name: str, size: tuple[int, int]) -> bool:
        return keeps_shapes(net.model, [net.model.graph.gradient_start(name)], size)

    assert keeps("pooled", (7, 9))
    assert keeps("same", (7, 9))
    assert not keeps("a", (7, 9))  # a smaller map
    assert not keeps("fc", (7, 9))  # other weights
    assert keeps("fc", (12, 12))
    assert not keeps("pooled", (2, 2))  # too small for the kernel
    x = noise(2, 3, 7, 9)
    assert net.evaluate(net.ops.asarray(x), "same").shape == (2, 2)

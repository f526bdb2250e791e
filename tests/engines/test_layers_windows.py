"""Layers with sliding windows: the torch engine against real Caffe."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.agreement import assert_engines_agree, few
from helpers.engine_nets import layer, net_text
from hypothesis import assume, given
from hypothesis import strategies as st

pytestmark = pytest.mark.pycaffe

sizes = st.integers(5, 11)
kernels = st.integers(1, 4)
strides = st.integers(1, 3)
pads = st.integers(0, 3)
dilations = st.integers(1, 2)
bools = st.booleans()


@pytest.mark.slow
@few
@given(
    size=st.tuples(sizes, sizes),
    kernel=st.tuples(kernels, kernels),
    stride=st.tuples(strides, strides),
    pad=st.tuples(pads, pads),
    dilation=dilations,
    group=st.integers(1, 3),
    bias=bools,
)
def test_convolution(
    caffe: Any,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    dilation: int,
    group: int,
    bias: bool,
) -> None:
    assume(all((k - 1) * dilation < s + 2 * p for k, s, p in zip(kernel, size, pad, strict=True)))
    geometry = " ".join(
        f"kernel_{axis}: {k} stride_{axis}: {s} pad_{axis}: {p}"
        for axis, k, s, p in zip("hw", kernel, stride, pad, strict=True)
    )
    params = f"num_output: {2 * group} group: {group} bias_term: {str(bias).lower()} {geometry}"
    convolution = layer(
        "conv", "Convolution", "data", "", f"convolution_param {{ {params} dilation: {dilation} }}"
    )
    assert_engines_agree(net_text(convolution, data=(2, 2 * group, *size)))


@pytest.mark.slow
@few
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=st.tuples(kernels, kernels),
    stride=strides,
    pad=st.integers(0, 1),
    dilation=dilations,
    group=st.integers(1, 3),
    bias=bools,
)
def test_deconvolution(
    caffe: Any,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    pad: int,
    dilation: int,
    group: int,
    bias: bool,
) -> None:
    assume(
        all(
            stride * (s - 1) + (k - 1) * dilation + 1 > 2 * pad
            for k, s in zip(kernel, size, strict=True)
        )
    )
    params = (
        f"num_output: {2 * group} group: {group} bias_term: {str(bias).lower()} stride: {stride} "
        f"kernel_h: {kernel[0]} kernel_w: {kernel[1]} pad: {pad} dilation: {dilation}"
    )
    deconvolution = layer("up", "Deconvolution", "data", "", f"convolution_param {{ {params} }}")
    assert_engines_agree(net_text(deconvolution, data=(2, 3 * group, *size)))


def test_bilinear_upsampling(caffe: Any) -> None:
    """As segmentation nets do it: one kernel a channel, no bias."""
    params = "num_output: 4 group: 4 kernel_size: 4 stride: 2 pad: 1 bias_term: false"
    up = layer("up", "Deconvolution", "data", "", f"convolution_param {{ {params} }}")
    assert_engines_agree(net_text(up, data=(1, 4, 5, 7)))


def test_convolution_over_other_axes(caffe: Any) -> None:
    """One spatial axis, and three."""
    line = "convolution_param { num_output: 3 kernel_size: 3 pad: 1 stride: 2 }"
    assert_engines_agree(net_text(layer("conv", "Convolution", "data", "", line), data=(2, 4, 9)))
    cube = "convolution_param { num_output: 3 kernel_size: 2 kernel_size: 3 kernel_size: 1 }"
    shape = "reshape_param { shape { dim: 0 dim: 0 dim: 0 dim: 5 dim: 3 } }"
    assert_engines_agree(
        net_text(
            layer("video", "Reshape", "data", "", shape),
            layer("conv", "Convolution", "video", "", cube),
            data=(2, 2, 4, 15),
        )
    )


def test_one_convolution_of_several_blobs(caffe: Any) -> None:
    """Caffe convolves each bottom with the same weights."""
    both = layer(
        "conv", "Convolution", "a b", "c d", "convolution_param { num_output: 3 kernel_size: 2 }"
    )
    assert_engines_agree(net_text(both, a=(1, 2, 5, 4), b=(1, 2, 5, 4)))


@pytest.mark.slow
@few
@given(
    method=st.sampled_from(["MAX", "AVE"]),
    size=st.tuples(sizes, sizes),
    kernel=st.tuples(kernels, kernels),
    stride=st.tuples(strides, strides),
    pad=st.tuples(pads, pads),
)
def test_pooling(
    caffe: Any,
    method: str,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
) -> None:
    assume(all(p < k for p, k in zip(pad, kernel, strict=True)))
    params = " ".join(
        f"kernel_{axis}: {k} stride_{axis}: {s} pad_{axis}: {p}"
        for axis, k, s, p in zip("hw", kernel, stride, pad, strict=True)
    )
    pool = layer("pool", "Pooling", "data", "", f"pooling_param {{ pool: {method} {params} }}")
    assert_engines_agree(net_text(pool, data=(2, 3, *size)))


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_global_pooling(caffe: Any, method: str) -> None:
    params = f"pooling_param {{ pool: {method} global_pooling: true }}"
    assert_engines_agree(net_text(layer("pool", "Pooling", "data", "", params), data=(2, 3, 5, 7)))


def test_equal_values_in_a_pooling_window(caffe: Any) -> None:
    """After a ReLU many windows hold only zeros: Caffe's gradient goes to the first of them."""
    params = "pooling_param { kernel_size: 3 stride: 2 pad: 1 }"
    net = net_text(
        layer("threshold", "ReLU", "data", "data"),
        layer("pool", "Pooling", "data", "", params),
        data=(2, 3, 8, 9),
    )
    assert_engines_agree(net, values=lambda noise: noise - 1)
    steps = net_text(layer("pool", "Pooling", "data", "", params), data=(2, 3, 8, 9))
    assert_engines_agree(steps, values=lambda noise: noise.round())


@pytest.mark.slow
@few
@given(
    region=st.sampled_from(["ACROSS_CHANNELS", "WITHIN_CHANNEL"]),
    size=st.sampled_from([1, 3, 5, 7]),
    shape=st.tuples(st.integers(1, 9), sizes, sizes),
    alpha=st.floats(0.1, 3),
    beta=st.floats(0.3, 1.2),
    k=st.floats(1, 3),
)
def test_lrn(
    caffe: Any,
    region: str,
    size: int,
    shape: tuple[int, int, int],
    alpha: float,
    beta: float,
    k: float,
) -> None:
    if region == "WITHIN_CHANNEL":
        k = 1  # Caffe ignores k here
    params = f"local_size: {size} alpha: {alpha} beta: {beta} k: {k} norm_region: {region}"
    lrn = layer("norm", "LRN", "data", "", f"lrn_param {{ {params} }}")
    assert_engines_agree(net_text(lrn, data=(2, *shape)))


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("height", [1, 2, 3])
def test_spatial_pyramid_pooling(caffe: Any, method: str, height: int) -> None:
    """Neither side is a multiple of 4: there is padding."""
    params = f"spp_param {{ pyramid_height: {height} pool: {method} }}"
    assert_engines_agree(net_text(layer("x", "SPP", "data", "", params), data=(2, 3, 11, 14)))


@pytest.mark.parametrize(
    "params",
    [
        "kernel_size: 3",
        "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0",
        "kernel_size: 2 dilation: 2 stride: 2 pad: 1",
        "kernel_size: 2 axis: 2",
        "kernel_size: 2 axis: 0",
    ],
)
def test_im2col(caffe: Any, params: str) -> None:
    im2col = layer("x", "Im2col", "data", "", f"convolution_param {{ {params} }}")
    assert_engines_agree(net_text(im2col, data=(2, 3, 6, 5)))

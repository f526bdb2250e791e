"""Layers that mix or normalise channels: the torch engine against real Caffe."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.agreement import assert_engines_agree, few
from helpers.engine_nets import layer, net_text
from hypothesis import assume, given
from hypothesis import strategies as st

pytestmark = pytest.mark.pycaffe

SHAPE = (2, 3, 5, 4)


def text(value: object) -> str:
    return str(value).lower()


@few
@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    axis=st.integers(-2, 3),
    transpose=st.booleans(),
    bias=st.booleans(),
)
def test_inner_product(
    caffe: Any, shape: list[int], axis: int, transpose: bool, bias: bool
) -> None:
    assume(-len(shape) <= axis < len(shape))
    params = f"num_output: 5 axis: {axis} transpose: {text(transpose)} bias_term: {text(bias)}"
    dense = layer("fc", "InnerProduct", "data", "", f"inner_product_param {{ {params} }}")
    assert_engines_agree(net_text(dense, data=shape))


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_softmax(caffe: Any, axis: int) -> None:
    softmax = layer("prob", "Softmax", "data", "", f"softmax_param {{ axis: {axis} }}")
    assert_engines_agree(net_text(softmax, data=SHAPE))


@pytest.mark.parametrize("global_stats", ["", "use_global_stats: true", "use_global_stats: false"])
@pytest.mark.parametrize("shape", [SHAPE, (4, 3)])
def test_batch_norm(caffe: Any, global_stats: str, shape: tuple[int, ...]) -> None:
    params = f"batch_norm_param {{ {global_stats} eps: 0.001 }}"
    norm = layer("bn", "BatchNorm", "data", "data", params)
    assert_engines_agree(net_text(norm, data=shape))


@few
@given(
    kind=st.sampled_from(["Scale", "Bias"]),
    axis=st.integers(-4, 3),
    num_axes=st.integers(-1, 3),
    bias=st.booleans(),
)
def test_scale_and_bias_with_weights(
    caffe: Any, kind: str, axis: int, num_axes: int, bias: bool
) -> None:
    start = axis % 4
    assume(num_axes == -1 or start + num_axes <= 4)
    params = f"axis: {axis} num_axes: {num_axes}"
    if kind == "Scale":
        params += f" bias_term: {text(bias)}"
    affine = layer("x", kind, "data", "data", f"{kind.lower()}_param {{ {params} }}")
    assert_engines_agree(net_text(affine, data=SHAPE))


@pytest.mark.parametrize("kind", ["Scale", "Bias"])
@pytest.mark.parametrize(
    ("axis", "shape"), [(0, (2, 3, 5, 4)), (0, (2, 3)), (1, (3,)), (1, (3, 5)), (-1, (4,))]
)
def test_scale_and_bias_by_another_blob(
    caffe: Any, kind: str, axis: int, shape: tuple[int, ...]
) -> None:
    affine = layer("x", kind, "data by", "", f"{kind.lower()}_param {{ axis: {axis} }}")
    assert_engines_agree(net_text(affine, data=SHAPE, by=shape))


@pytest.mark.parametrize("across_channels", ["true", "false"])
@pytest.mark.parametrize("variance", ["true", "false"])
def test_mvn(caffe: Any, across_channels: str, variance: str) -> None:
    params = f"across_channels: {across_channels} normalize_variance: {variance} eps: 0.001"
    mvn = layer("x", "MVN", "data", "", f"mvn_param {{ {params} }}")
    assert_engines_agree(net_text(mvn, data=SHAPE))


@pytest.mark.parametrize("across_spatial", ["true", "false"])
@pytest.mark.parametrize("shared", ["true", "false"])
def test_normalize(caffe: Any, across_spatial: str, shared: str) -> None:
    params = f"across_spatial: {across_spatial} channel_shared: {shared}"
    normalize = layer("x", "Normalize", "data", "", f"norm_param {{ {params} }}")
    assert_engines_agree(net_text(normalize, data=SHAPE))


@few
@given(
    operation=st.sampled_from(["SUM", "ASUM", "SUMSQ", "MEAN"]),
    axis=st.integers(-4, 3),
    coeff=st.floats(0.2, 3),
)
def test_reduction(caffe: Any, operation: str, axis: int, coeff: float) -> None:
    params = f"operation: {operation} axis: {axis} coeff: {coeff}"
    reduction = layer("x", "Reduction", "data", "", f"reduction_param {{ {params} }}")
    assert_engines_agree(net_text(reduction, data=SHAPE))


@few
@given(
    axis=st.one_of(st.none(), st.integers(-4, 3)),
    top_k=st.integers(1, 3),
    values=st.booleans(),
)
def test_arg_max(caffe: Any, axis: int | None, top_k: int, values: bool) -> None:
    params = f"top_k: {top_k} out_max_val: {text(values)}"
    if axis is not None:
        params += f" axis: {axis}"
    arg_max = layer("x", "ArgMax", "data", "", f"argmax_param {{ {params} }}")
    assert_engines_agree(net_text(arg_max, data=(3, 3, 5, 4)))

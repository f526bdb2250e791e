"""Layers that slice, concatenate and rearrange: the torch engine against real Caffe."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.agreement import assert_engines_agree, few
from helpers.engine_nets import layer, net_text, relu
from hypothesis import assume, given
from hypothesis import strategies as st

pytestmark = pytest.mark.pycaffe

SHAPE = (2, 6, 5, 4)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -2])
def test_concat(caffe: Any, axis: int) -> None:
    shapes = {f"in{i}": list(SHAPE) for i in range(3)}
    for i, shape in enumerate(shapes.values()):
        shape[axis] = i + 1
    concat = layer("x", "Concat", " ".join(shapes), "", f"concat_param {{ axis: {axis} }}")
    assert_engines_agree(net_text(concat, **shapes))


def test_concat_of_one_blob_twice(caffe: Any) -> None:
    assert_engines_agree(net_text(layer("x", "Concat", "data data"), data=SHAPE))


@pytest.mark.parametrize(
    ("tops", "params"),
    [
        ("a b", ""),
        ("a b c", ""),
        ("a b c", "axis: 1 slice_point: 1 slice_point: 5"),
        ("a b", "axis: 2 slice_point: 3"),
        ("a b", "axis: -1 slice_point: 1"),
        ("a", ""),
    ],
)
def test_slice(caffe: Any, tops: str, params: str) -> None:
    cut = layer("x", "Slice", "data", tops, f"slice_param {{ {params} }}")
    assert_engines_agree(net_text(cut, data=SHAPE))


def test_split(caffe: Any) -> None:
    """Written out, and the one that Caffe makes of several readers, one of them in place."""
    written = net_text(layer("x", "Split", "data", "a b"), layer("y", "Sigmoid", "a"), data=SHAPE)
    assert_engines_agree(written)
    readers = net_text(
        layer("base", "Power", "data", "", "power_param { scale: 2 }"),
        relu("relu", "base"),
        layer("left", "Sigmoid", "base"),
        layer("right", "TanH", "base"),
        layer("sum", "Eltwise", "left right base"),
        data=SHAPE,
    )
    assert_engines_agree(readers)


@few
@given(axis=st.integers(-4, 3), end=st.integers(-4, 3))
def test_flatten(caffe: Any, axis: int, end: int) -> None:
    assume(axis % 4 <= end % 4)
    flatten = layer("x", "Flatten", "data", "", f"flatten_param {{ axis: {axis} end_axis: {end} }}")
    assert_engines_agree(net_text(flatten, data=SHAPE))


@pytest.mark.parametrize(
    "params",
    [
        "shape { dim: 2 dim: 120 }",
        "shape { dim: 0 dim: -1 }",
        "shape { dim: 0 dim: 3 dim: -1 dim: 0 }",
        "shape { dim: 10 dim: 2 } axis: 2",
        "shape { dim: 3 dim: -1 } axis: 1 num_axes: 2",
        "shape { dim: 1 } axis: 1 num_axes: 0",
        "shape { dim: 2 dim: 2 } axis: -2",
        "shape { }  axis: 0 num_axes: 0",
    ],
)
def test_reshape(caffe: Any, params: str) -> None:
    reshape = layer("x", "Reshape", "data", "", f"reshape_param {{ {params} }}")
    after = layer("y", "Sigmoid", "x")
    assert_engines_agree(net_text(reshape, after, data=SHAPE))


@given(order=st.permutations(range(4)), given_axes=st.integers(1, 4))
@few
def test_permute(caffe: Any, order: list[int], given_axes: int) -> None:
    # Axes that are left out follow in their order.
    params = " ".join(f"order: {axis}" for axis in order[:given_axes])
    permute = layer("x", "Permute", "data", "", f"permute_param {{ {params} }}")
    assert_engines_agree(net_text(permute, data=SHAPE))


@pytest.mark.parametrize(
    ("like", "params"),
    [
        ((2, 6, 3, 2), ""),
        ((1, 1, 3, 2), "axis: 2 offset: 1"),
        ((1, 1, 3, 2), "axis: 2 offset: 1 offset: 2"),
        ((2, 4, 5, 2), "axis: 1 offset: 2 offset: 0 offset: 1"),
        ((1, 1, 1, 3), "axis: -1 offset: 1"),
    ],
)
def test_crop(caffe: Any, like: tuple[int, ...], params: str) -> None:
    crop = layer("x", "Crop", "data like", "", f"crop_param {{ {params} }}")
    assert_engines_agree(net_text(crop, data=SHAPE, like=like))


def test_crop_to_a_computed_blob(caffe: Any) -> None:
    """As in segmentation nets; nothing flows into what gives the size, also on a second pass."""
    net = net_text(
        layer("small", "Pooling", "data", "", "pooling_param { kernel_size: 2 stride: 2 }"),
        layer("crop", "Crop", "data small", "", "crop_param { axis: 2 offset: 1 }"),
        layer("both", "Eltwise", "crop small"),
        layer("crop2", "Crop", "data both", "", "crop_param { axis: 2 offset: 0 }"),
        data=SHAPE,
    )
    assert_engines_agree(net)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("tiles", [1, 3])
def test_tile(caffe: Any, axis: int, tiles: int) -> None:
    tile = layer("x", "Tile", "data", "", f"tile_param {{ axis: {axis} tiles: {tiles} }}")
    assert_engines_agree(net_text(tile, data=SHAPE))


def test_silence(caffe: Any) -> None:
    """What only a Silence reads still has its values and its gradient."""
    net = net_text(
        layer("cut", "Slice", "data", "a b"),
        layer("loud", "Sigmoid", "a"),
        layer("quiet", "TanH", "b"),
        layer("hush", "Silence", "quiet", tops=" "),
        data=SHAPE,
    )
    assert_engines_agree(net)


def test_dummy_data(caffe: Any) -> None:
    """Constants of the net's own; one filler and one shape may serve several tops."""
    params = (
        "dummy_data_param { shape { dim: 2 dim: 6 dim: 5 dim: 4 } "
        'data_filler { type: "constant" value: 0.5 } }'
    )
    legacy = (
        "dummy_data_param { num: 2 channels: 6 height: 5 width: 4 "
        'data_filler { type: "constant" value: -2 } }'
    )
    net = net_text(
        layer("halves", "DummyData", "", "a b", params),
        layer("twos", "DummyData", "", "twos", legacy),
        layer("sum", "Eltwise", "data a b twos", "", "eltwise_param { operation: PROD }"),
        data=SHAPE,
    )
    assert_engines_agree(net)


def test_batch_reindex(caffe: Any) -> None:
    """Of four images the second twice and the third; an index has no gradient."""
    filled = "dummy_data_param { shape { dim: %d } data_filler { type: 'constant' value: %d } }"
    text = net_text(
        layer("ones", "DummyData", "", "i", filled % (2, 1)),
        layer("two", "DummyData", "", "j", filled % (1, 2)),
        layer("all", "Concat", "i j", "", "concat_param { axis: 0 }"),
        layer("x", "BatchReindex", "data all"),
        data=(4, 3, 5),
    )
    assert_engines_agree(text)


def test_filter(caffe: Any) -> None:
    """The selector's zeros leave images out."""
    one = "dummy_data_param { shape { dim: %d dim: 1 } data_filler { type: 'constant' value: %d } }"
    text = net_text(
        layer("out", "DummyData", "", "o", one % (1, 0)),
        layer("in", "DummyData", "", "i", one % (2, 1)),
        layer("chosen", "Concat", "i o i", "", "concat_param { axis: 0 }"),
        layer("x", "Filter", "data more chosen", "a b"),
        data=(5, 3, 4),
        more=(5, 2),
    )
    assert_engines_agree(text)


def test_parameter(caffe: Any) -> None:
    """A learned blob that is added to the input."""
    learned = layer("p", "Parameter", "", "", "parameter_param { shape { dim: 2 dim: 3 } }")
    text = net_text(learned, layer("x", "Eltwise", "data p"), data=(2, 3))
    assert_engines_agree(text)

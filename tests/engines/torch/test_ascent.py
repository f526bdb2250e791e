"""The ascent's passes, in which layers are fused or partial, against forward and backward."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.engine_nets import conv, layer, load_text, net_text, noise, relu

from deepvis_caffe.engines.base import Net

# data -> a -> relu -> b -> leaky (slope) -> out
#                 \--> c ---------------------> out
BRANCHES = net_text(
    conv("a", "data", 3, 3, "pad: 1"),
    relu("relu_a", "a"),
    conv("b", "a", 2),
    layer("leaky", "ReLU", "b", "b", "relu_param { negative_slope: 0.5 }"),
    conv("c", "a", 2),
    layer("relu_c", "ReLU", "c", "relu_c"),
    layer("out", "Eltwise", "b c relu_c"),
    data=(1, 2, 8, 9),
)

# a -> relu -> pool (overlapping windows) -> b -> relu -> pool_b (padded)
POOLED = net_text(
    conv("a", "data", 6, 3, "pad: 1"),
    relu("relu_a", "a"),
    layer("pool", "Pooling", "a", "pool", "pooling_param { kernel_size: 3 stride: 2 }"),
    conv("b", "pool", 40, 2),
    relu("relu_b", "b"),
    layer("pool_b", "Pooling", "b", "pool_b", "pooling_param { kernel_size: 2 stride: 1 pad: 1 }"),
    data=(1, 2, 8, 9),
)

# one blob read by two sums: autograd hands one diff to both bottoms
SHARED = net_text(
    conv("a", "data", 3, 3, "pad: 1"),
    relu("relu_a", "a"),
    conv("b", "a", 3),
    relu("relu_b", "b"),
    layer("sum", "Eltwise", "a b"),
    layer("joined", "Concat", "sum b"),
    conv("end", "joined", 2),
    data=(1, 2, 8, 9),
)

# data -> a -> relu -> b -> relu -\
#                 \--> c (3 x 3) --- joined -> d -> relu -> e -> twice -> f -> end
#                 \--> pool -------/                         \-> twice -/
JOINED = net_text(
    conv("a", "data", 3, 3, "pad: 1"),
    relu("relu_a", "a"),
    conv("b", "a", 5),
    relu("relu_b", "b"),
    conv("c", "a", 2, 3, "pad: 1"),
    layer("pool", "Pooling", "a", "pool", "pooling_param { kernel_size: 3 stride: 1 pad: 1 }"),
    layer("joined", "Concat", "b c pool"),
    conv("d", "joined", 4, 3, "stride: 2 pad: 1"),
    relu("relu_d", "d"),
    layer("twice", "Concat", "d d"),
    conv("f", "twice", 6),
    conv("end", "f", 2),
    data=(1, 2, 8, 9),
)

# data -> relu -> a -> relu -> flat (a view) -> end
FLAT = net_text(
    layer("relu_data", "ReLU", "data", "positive"),
    conv("a", "positive", 3, 3),
    relu("relu_a", "a"),
    layer("flat", "Flatten", "a"),
    layer("end", "InnerProduct", "flat", "", "inner_product_param { num_output: 2 }"),
    data=(1, 2, 8, 9),
)

STARTS = [
    *((BRANCHES, name) for name in ("a", "relu_a", "b", "leaky", "relu_c", "out")),
    *((POOLED, name) for name in ("pool", "b", "relu_b", "pool_b")),
    *((SHARED, name) for name in ("sum", "joined", "end")),
    *((JOINED, name) for name in ("joined", "d", "relu_d", "twice", "f", "end")),
    *((FLAT, name) for name in ("relu_data", "relu_a", "flat", "end")),
]


@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
@pytest.mark.parametrize(("text", "name"), STARTS)
def test_the_ascent_equals_forward_and_backward(
    tmp_path: Path, text: str, name: str, mode: str
) -> None:
    net = load_text("torch", tmp_path, text)
    x, value = noise(3, 2, 8, 9), net.model.graph.gradient_start(name)
    final = net.forward(x, [value.blob])[value.blob]
    dy = noise(3, *net.shapes[value][1:], seed=4)
    dx = net.backward(name, dy, mode)["data"]
    for _ in range(2):
        top = net.evaluate(net.ops.asarray(x), name)
        if net.model.graph.blobs[value.blob] == value:
            np.testing.assert_allclose(net.ops.numpy(top), final, rtol=1e-5, atol=1e-5)
        given = net.ops.asarray(dy)
        found = net.ops.numpy(net.input_gradient(given, mode))
        np.testing.assert_allclose(found, dx, atol=1e-4)
        np.testing.assert_array_equal(net.ops.numpy(given), dy)  # the caller's own


@pytest.mark.parametrize("text", [BRANCHES, POOLED, SHARED, JOINED])
def test_every_blob_by_reduce_is_forwards(tmp_path: Path, text: str) -> None:
    """All at once, which leaves every blob, and one by one, which need not."""
    net = load_text("torch", tmp_path, text)
    x, blobs = noise(3, 2, 8, 9), list(net.model.graph.blobs)
    expected = net.forward(x, blobs)
    for wanted in (blobs, *([blob] for blob in blobs)):
        found = net.reduce(x, wanted, lambda blob, value: net.ops.numpy(value))
        for blob, value in found.items():
            np.testing.assert_allclose(value, expected[blob], rtol=1e-5, atol=1e-5)


def test_a_dead_unit_below_a_pooling_has_a_gradient_of_zero(tmp_path: Path) -> None:
    net = load_text("torch", tmp_path, POOLED)
    top = net.evaluate(net.ops.asarray(np.zeros((2, 2, 8, 9))), "pool")
    dx = net.input_gradient(torch.zeros_like(top))
    assert dx.shape == (2, 2, 8, 9)
    assert not net.ops.numpy(dx).any()


def test_some_channels_after_others(tmp_path: Path) -> None:
    net: Net = load_text("torch", tmp_path, POOLED)
    x = net.ops.asarray(noise(3, 2, 8, 9))
    whole = net.ops.numpy(net.evaluate(x, "pool_b"))
    for channels in ((5,), (7, 1), (5,), (30,)):
        some = net.ops.numpy(net.evaluate(x, "pool_b", channels))
        np.testing.assert_allclose(some, whole[:, list(channels)], rtol=1e-5, atol=1e-6)


def test_an_error_names_what_a_convolution_came_upon(tmp_path: Path) -> None:
    net = load_text("torch", tmp_path, POOLED)
    for act in (net.forward, lambda x: net.evaluate(net.ops.asarray(x), "relu_b")):
        with pytest.raises(Exception, match=r"'b' \(Convolution\) .* pool \(1, 6, 1, 1\)"):
            act(noise(1, 2, 3, 3))


# a convolution, a mean over its map, and an inner product
DENSE = net_text(
    conv("a", "data", 40, 3),
    relu("relu_a", "a"),
    layer("mean", "Pooling", "a", "mean", "pooling_param { pool: AVE global_pooling: true }"),
    layer("fc", "InnerProduct", "a", "fc", "inner_product_param { num_output: 30 }"),
    data=(1, 3, 20, 20),
)


@pytest.mark.parametrize("name", ["a", "mean", "fc"])
def test_an_image_alone_has_the_bits_that_it_has_in_a_batch(tmp_path: Path, name: str) -> None:
    """Of all channels or two, on a CPU; the values themselves are those of `forward`."""
    net = load_text("torch", tmp_path, DENSE, device="cpu")
    x = noise(5, 3, 20, 20)
    every = net.ops.numpy(net.evaluate(net.ops.asarray(x), name))
    start = "a:raw" if name == "a" else name
    np.testing.assert_allclose(every, net.forward(x, [start])[start], rtol=1e-4, atol=1e-4)
    diff = np.zeros_like(every)
    diff[:, 7] = 1
    gradient = net.ops.numpy(net.input_gradient(net.ops.asarray(diff)))
    for channels in (None, (7, 9)):
        for i in range(5):
            value = net.ops.numpy(net.evaluate(net.ops.asarray(x[i : i + 1]), name, channels))
            own = 7 if channels is None else 0
            assert value[0, own].tobytes() == every[i, 7].tobytes()
            diff = np.zeros_like(value)
            diff[:, own] = 1
            found = net.ops.numpy(net.input_gradient(net.ops.asarray(diff)))
            assert found[0].tobytes() == gradient[i].tobytes()


@pytest.mark.parametrize(("text", "name"), STARTS)
def test_a_gradient_overwrites_neither_the_image_nor_the_values(
    tmp_path: Path, text: str, name: str
) -> None:
    net = load_text("torch", tmp_path, text)
    x = net.ops.asarray(noise(3, 2, 8, 9))
    image, top = x.clone(), net.evaluate(x, name)
    values = top.clone()
    dy = net.ops.asarray(noise(*top.shape, seed=5))
    diff = dy.clone()
    net.input_gradient(dy)
    for now, before in ((x, image), (top, values), (dy, diff)):
        assert torch.equal(now, before)

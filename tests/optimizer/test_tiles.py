"""An image that is too large for one pass has the same gradient, computed in tiles."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, noise

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.optimizer.batching import bytes_per_image
from deepvis_caffe.optimizer.tiles import TiledNet, tiled_where_needed

# Strides, padding, a pool that rounds up, a branch: the map is 8 x 10.
SLIDING = net_text(
    conv("a", "data", 3, 3, "pad: 1 stride: 2"),
    layer("relu", "ReLU", "a", "a"),
    layer("pool", "Pooling", "a", "", "pooling_param { kernel_size: 3 stride: 2 pad: 1 }"),
    conv("left", "pool", 4, 3, "pad: 1"),
    conv("right", "pool", 4, 1),
    layer("both", "Eltwise", "left right"),
    layer("mean", "Pooling", "both", "", "pooling_param { pool: AVE global_pooling: true }"),
    data=(1, 3, 61, 77),
)


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, SLIDING, mean=(104, 117, 123))


def with_memory(net: Net, layer: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the net believe that only part of what a whole image needs is free."""
    free = int(bytes_per_image(net, layer) * share / 0.8)
    monkeypatch.setattr(net.ops, "free_memory", lambda: free)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_tiles_have_the_values_and_the_gradient_of_the_whole_image(
    net: Net, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = net.ops.asarray(noise(2, 3, 61, 77, seed=1))
    value = net.ops.numpy(net.evaluate(x, "both"))
    diff = noise(*value.shape, seed=2)
    expected = net.ops.numpy(net.input_gradient(net.ops.asarray(diff)))
    with_memory(net, "both", share, monkeypatch)
    tiled = tiled_where_needed(net, "both", value.shape[1:], 1)
    assert isinstance(tiled, TiledNet)
    np.testing.assert_allclose(net.ops.numpy(tiled.evaluate(x, "both")), value, atol=1e-5)
    found = net.ops.numpy(tiled.input_gradient(net.ops.asarray(diff)))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("target", [1, (0, 3), "layer"])
def test_an_ascent_in_tiles_is_the_ascent(
    net: Net, target: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def ascend() -> dv.AscentResult:
        (run,) = dv.optimize(
            net, "both", [target], position="all", preset=3, iterations=4, blur_every=2
        )
        return run

    whole = ascend()
    with_memory(net, "both", 0.3, monkeypatch)
    with caplog.at_level(logging.INFO):
        tiled = ascend()
    assert "tiles" in caplog.text
    np.testing.assert_allclose(tiled.activations, whole.activations, rtol=1e-4)
    np.testing.assert_allclose(tiled.image, whole.image, atol=1e-3 * np.abs(whole.image).max())


def test_with_memory_enough_nothing_is_cut(net: Net) -> None:
    assert tiled_where_needed(net, "both", (4, 8, 10), 1) is net


def test_a_layer_that_sees_the_whole_image_is_run_as_it_is_with_a_warning(
    net: Net, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_memory(net, "mean", 0.5, monkeypatch)
    assert tiled_where_needed(net, "mean", (4, 1, 1), 1) is net
    assert "use a smaller input_shape" in caplog.text

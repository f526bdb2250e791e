"""CUDA graphs: when passes are captured, dropped and kept, and that replays give the same.

Without a CUDA device it is a simulated one, whose captures compute nothing either.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.engine_nets import conv, layer, load_text, net_text, noise, relative_error, relu

from deepvis_caffe.engines.torch.graphs import EAGER, KEPT, Graphs, cuda_capture

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("cuda")]

NET = net_text(
    conv("conv1", "data", 6, 3, "stride: 2"),
    relu("relu1", "conv1"),
    layer("pool1", "Pooling", "conv1", "", "pooling_param { kernel_size: 3 stride: 2 }"),
    layer("norm1", "LRN", "pool1", "", "lrn_param { local_size: 3 alpha: 2 }"),
    conv("conv2", "norm1", 5, 2),
    relu("relu2", "conv2"),
    layer("fc", "InnerProduct", "conv2", "", "inner_product_param { num_output: 7 }"),
    data=(1, 3, 15, 17),
)


class Recorder:
    """Counts captures and replays; only some captures succeed."""

    def __init__(self, most: int = 99) -> None:
        self.captures, self.replays, self.most = 0, 0, most

    def __call__(self, run: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        if self.captures == self.most:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.captures += 1
        again, found = cuda_capture(run)

        def replay() -> None:
            self.replays += 1
            again()

        return replay, found


@pytest.fixture
def nets(tmp_path: Path) -> tuple[Any, Any, Recorder]:
    plain, graphed = (load_text("torch", tmp_path, NET, device="cuda") for _ in range(2))
    recorder = Recorder()
    graphed.cuda_graphs, graphed._graphs = True, Graphs(recorder)
    return plain, graphed, recorder


def passes(
    net: Any, seed: int, batch: int = 2, mode: str = "gradient", channels: Any = None
) -> Any:
    """Value and gradient, copied: replays write over them."""
    x = net.ops.asarray(30 * noise(batch, 3, 15, 17, seed=seed))
    value = net.ops.numpy(net.evaluate(x, "fc", channels))
    diff = net.ops.asarray(noise(*value.shape, seed=seed + 100))
    return value, net.ops.numpy(net.input_gradient(diff, mode))


def assert_same(nets: Any, *args: Any, **options: Any) -> None:
    for one, other in zip(*(passes(net, *args, **options) for net in nets[:2]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(one).max())


def test_replayed_passes_give_the_same(nets: Any) -> None:
    for seed in range(EAGER + 4):
        assert_same(nets, seed)
    # forward and backward once each; of the four passes the first one's way back is not replayed
    assert (nets[2].captures, nets[2].replays) == (2, 4 + 3)


def test_each_mode_shape_and_choice_of_channels_has_its_own(nets: Any) -> None:
    for seed in range(EAGER + 2):
        for mode in ("gradient", "deconv"):
            assert_same(nets, seed, mode=mode)
        assert_same(nets, seed, batch=3)
        assert_same(nets, seed, channels=(1, 4))
    assert nets[2].replays > 0


def test_several_layers_are_replayed_too(nets: Any) -> None:
    for seed in range(EAGER + 2):
        found = []
        for net in nets[:2]:
            x = net.ops.asarray(30 * noise(2, 3, 15, 17, seed=seed))
            values = net.evaluate_layers(x, ["conv1", "fc"])
            dx = net.layers_gradient({name: 2 * value for name, value in values.items()})
            found.append(net.ops.numpy(dx))
        assert relative_error(*found) < 1e-4
    assert nets[2].replays > 0


def test_changed_weights_are_captured_again(nets: Any) -> None:
    for seed in range(EAGER + 2):
        assert_same(nets, seed)
    before = nets[2].captures
    for net in nets[:2]:
        with torch.no_grad():
            net.module.conv2.weight.mul_(-2)
    assert_same(nets, 1)
    assert nets[2].captures == before + 2


def test_few_are_kept(nets: Any) -> None:
    for batch in (1, 2, 3, 4):
        for seed in range(EAGER + 1):
            assert_same(nets, seed, batch=batch)
    assert len(nets[1]._graphs._kept) == KEPT


@pytest.mark.parametrize("most", [0, 1])  # 1: a forward pass can be, and its way back cannot
def test_what_cannot_be_captured_runs_without(nets: Any, most: int) -> None:
    recorder = Recorder(most)
    nets[1]._graphs = Graphs(recorder)
    for seed in range(EAGER + 3):
        assert_same(nets, seed)
    assert recorder.captures == most

"""How many threads an ascent's passes get, against PyTorch's own count of their arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise, relu
from torch.utils.flop_counter import FlopCounterMode

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.torch import threads
from deepvis_caffe.engines.torch.net import TorchNet
from deepvis_caffe.engines.torch.passes import Pass
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.graph import Value

TEXT = net_text(
    conv("conv1", "data", 4, kernel=3, more="stride: 2"),
    relu("relu1", "conv1"),
    conv("conv2", "conv1", 6, kernel=3, more="group: 2"),
    layer("ip", "InnerProduct", "conv2", params="inner_product_param { num_output: 5 }"),
    data=(2, 3, 11, 9),
)
WEIGHTS = arrays(
    conv1=(noise(4, 3, 3, 3), noise(4)),
    conv2=(noise(6, 2, 3, 3), noise(6)),
    ip=(noise(5, 36), noise(5)),
)
MOST = 3  # threads


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    before = torch.get_num_threads()
    torch.set_num_threads(MOST)
    yield load_text("torch", tmp_path, TEXT, WEIGHTS)
    torch.set_num_threads(before)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of threads in each forward and backward pass."""
    found: list[int] = []

    def counted(run: Callable[..., Any]) -> Callable[..., Any]:
        def seen(*given: Any, **more: Any) -> Any:
            found.append(torch.get_num_threads())
            return run(*given, **more)

        return seen

    for run in (Pass.forward, Pass.backward):
        monkeypatch.setattr(Pass, run.__name__, counted(run))
    return found


def test_multiply_adds_are_half_of_the_operations_that_pytorch_counts(net: TorchNet) -> None:
    with FlopCounterMode(display=False) as counter:
        net.module(torch.zeros(2, 3, 11, 9))
    plan = net._plan((Value("ip"),), [Value("data")])
    assert 2 * threads.multiply_adds(net.model, plan) == counter.get_total_flops() > 0
    images = np.zeros((8, 3, 11, 9), np.float32)
    assert 2 * plan.work * images.size == pytest.approx(4 * counter.get_total_flops())


@pytest.mark.parametrize(
    ("share", "count"), [(0.1, 1), (1.4, 1), (1.6, 2), (2.9, MOST), (50, MOST)]
)
def test_a_pass_gets_a_thread_for_so_many_multiply_adds(
    net: TorchNet, used: list[int], share: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = noise(2, 3, 11, 9)
    plan = net._plan((Value("ip"),), [Value("data")])
    monkeypatch.setattr(threads, "PER_THREAD", plan.work * x.size / share)
    value = net.evaluate(net.ops.asarray(x), "ip")
    net.input_gradient(torch.ones_like(value))
    assert used == [count, count]  # forward and backward
    assert torch.get_num_threads() == MOST


def test_the_threads_are_back_after_a_failure(net: TorchNet, used: list[int]) -> None:
    with pytest.raises(EngineError, match="conv1"):
        net.evaluate(net.ops.asarray(noise(1, 2, 11, 9)), "ip")  # of two channels
    assert used == [1]
    assert torch.get_num_threads() == MOST

"""How often an ascent on a device waits for it: reads of the host, and uploads within the loop.

Whenever a tensor becomes a number, an array or a shape on the host, the host waits for all work
launched on the GPU before. These tests watch PyTorch's dispatcher and tensor methods, on a CPU
whose memory is treated as a device's.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.array_ops import DeviceOps
from helpers.engine_nets import conv, layer, load_text, net_text, relu
from torch.utils._python_dispatch import TorchDispatchMode

import deepvis_caffe as dv
from deepvis_caffe.optimizer import objectives as o
from deepvis_caffe.optimizer.ascent import CHECK_EVERY
from deepvis_caffe.optimizer.parameterizations import maco
from deepvis_caffe.optimizer.params import AscentParams

NET = net_text(
    conv("conv1", "data", 8, 3, "stride: 2"),
    relu("relu1", "conv1"),
    layer("pool1", "Pooling", "conv1", "", "pooling_param { kernel_size: 3 stride: 2 }"),
    conv("conv2", "pool1", 12, 3, "pad: 1"),
    relu("relu2", "conv2"),
    layer("fc", "InnerProduct", "conv2", "", "inner_product_param { num_output: 10 }"),
    data=(1, 3, 31, 29),
)
STEPS = 2 * CHECK_EVERY + 9

# Operators that give the host a number, or whose result's shape depends on values.
WAITING = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.unique")
METHODS = ("numpy", "tolist", "cpu")


class CountingOps(DeviceOps):
    """Counts what goes to the device."""

    uploads = 0

    def asarray(self, *args: Any, **options: Any) -> Any:
        self.uploads += 1
        return super().asarray(*args, **options)


class Waits(TorchDispatchMode):
    """Counts what makes the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = str(func).startswith("aten.index") and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if by_mask or str(func).startswith(WAITING):
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


PRESETS: dict[str, Any] = {
    "decay and blur": 3,
    "norms": 2,
    "contributions": 4,
    "random views": "best",
}


@pytest.fixture
def net(tmp_path: Path) -> Any:
    net = load_text("torch", tmp_path, NET)
    net.ops = CountingOps()
    return net


def waits_and_uploads(net: Any, monkeypatch: pytest.MonkeyPatch, *args: Any, **options: Any) -> Any:
    """What a run waits for and uploads after its first step, up to its last."""
    waits, at = Waits(), {}
    for name in METHODS:
        original = getattr(torch.Tensor, name)

        def counted(self: Any, *args: Any, _name: str = name, _original: Any = original) -> Any:
            waits.counts[_name] += 1
            return _original(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)

    def watch(snapshot: dv.optimizer.result.Snapshot) -> None:
        at[snapshot.step] = Counter(waits.counts), net.ops.uploads

    with waits:
        runs = dv.optimize(net, *args, iterations=STEPS, watch=watch, batch_size=4, **options)
    assert all(len(run.activations) == STEPS for run in runs)
    (first, before), (last, after) = at[0], at[STEPS - 1]
    return last - first, after - before


@pytest.mark.parametrize("name", PRESETS)
def test_an_ascent_waits_once_between_checks(
    net: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    waits, uploads = waits_and_uploads(
        net, monkeypatch, "fc", [1, 2], seeds=[2], preset=PRESETS[name], rate="auto"
    )
    assert waits.total() == 2, waits  # at steps 16 and 32
    assert uploads <= 5  # what is maximized, anew on fewer channels, once


def test_behind_a_relu_it_looks_for_silent_images_with_the_other_checks(
    net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, _ = waits_and_uploads(
        net, monkeypatch, "pool1", [4, 5], seeds=[2], preset=3, rate="auto", crop="off"
    )
    assert waits.total() == 4, waits  # two at each of the steps 16 and 32


def test_so_does_that_of_an_objective_with_magnitudes_of_photographs(
    net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = o.unit("fc", 3) + 0.5 * o.channel("conv2", 4) - 0.1 * o.unit("conv1", 2, (3, 4))
    params = AscentParams(
        iterations=STEPS, rate=dv.optimizer.GrayLevels(2), parameterization=maco()
    )
    waits, uploads = waits_and_uploads(net, monkeypatch, goal, seeds=[2], preset=params)
    assert waits.total() == 2, waits
    assert uploads == 0


def test_numbers_are_counted_as_waits() -> None:
    # the counter itself: one number, and one shape that depends on values
    with Waits() as waits:
        float(torch.ones(1))
        torch.arange(3)[torch.tensor([True, False, True])]
    assert waits.counts.total() == 2

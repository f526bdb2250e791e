"""How often an ascent on a GPU waits for it: reads by the host, and copies that are not pinned.

Whenever a tensor becomes a number, an array or a shape on the host, the host waits for all work
launched on the GPU before. PyTorch can warn of each such wait.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.device_waits import device_waits
from helpers.engine_nets import conv, layer, load_text, net_text, relu

import deepvis_caffe as dv
from deepvis_caffe.optimizer import objectives as o
from deepvis_caffe.optimizer.ascent import CHECK_EVERY
from deepvis_caffe.optimizer.parameterizations import maco
from deepvis_caffe.optimizer.params import AscentParams

pytestmark = pytest.mark.cuda

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


@pytest.fixture
def net(cuda: None, tmp_path: Path) -> Any:
    return load_text("torch", tmp_path, NET, device="cuda")


def waits_of_an_ascent(net: Any, *args: Any, **options: Any) -> list[str]:
    """What a run waits for after its first step, up to its last."""
    seen: dict[int, int] = {}
    with device_waits() as caught:
        runs = dv.optimize(
            net,
            *args,
            iterations=STEPS,
            batch_size=4,
            watch=lambda snapshot: seen.setdefault(snapshot.step, len(caught)),
            **options,
        )
    assert all(len(run.activations) == STEPS for run in runs)
    return caught[seen[0] : seen[STEPS - 1]]


PRESETS: dict[str, Any] = {
    "decay and blur": 3,
    "norms": 2,
    "contributions": 4,
    "random views": "best",
}


@pytest.mark.parametrize("name", PRESETS)
def test_an_ascent_waits_once_between_checks(net: Any, name: str) -> None:
    found = waits_of_an_ascent(net, "fc", [1, 2], seeds=[2], preset=PRESETS[name], rate="auto")
    assert len(found) == 2, found  # at steps 16 and 32


def test_behind_a_relu_it_looks_for_silent_images_with_the_other_checks(net: Any) -> None:
    found = waits_of_an_ascent(net, "pool1", [4, 5], seeds=[2], preset=3, rate="auto", crop="off")
    assert len(found) == 4, found  # two at each of the steps 16 and 32


def test_so_does_that_of_an_objective_with_magnitudes_of_photographs(net: Any) -> None:
    goal = o.unit("fc", 3) + 0.5 * o.channel("conv2", 4) - 0.1 * o.unit("conv1", 2, (3, 4))
    params = AscentParams(
        iterations=STEPS, rate=dv.optimizer.GrayLevels(2), parameterization=maco()
    )
    found = waits_of_an_ascent(net, goal, seeds=[2], preset=params)
    assert len(found) == 2, found


def test_a_number_a_mask_and_an_upload_are_waits(cuda: None) -> None:
    ones = torch.ones(3, device="cuda")
    with device_waits() as caught:
        float(ones[0])
        ones[ones > 0]
        torch.arange(3).to("cuda")
    assert len(caught) == 3, caught

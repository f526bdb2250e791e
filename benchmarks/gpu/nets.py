"""The nets that are measured, in every precision and memory format: ``(name, way) -> net``.

The engine computes in float32. Other ways are tried here. TF32 lets the GPU round factors to 10
bits; bfloat16 stores weights and values in 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.cases import load
from deepvis_caffe.engines.torch import net as torch_net
from deepvis_caffe.engines.torch.net import TorchNet

FLOAT32, TF32, BFLOAT16 = "float32", "tf32", "bfloat16"
LAYERS = {"squeezenet_v1.1": "pool10", "bvlc_reference_caffenet": "fc8"}


@dataclass(frozen=True)
class Way:
    """How a net runs.

    Attributes
    ----------
    precision
        One of the three.
    graphs
        Whether passes are replayed as CUDA graphs.
    channels_last
        Whether images and filters are in channels-last memory format.
    tuned
        Whether cuDNN tries its algorithms and takes the fastest.
    """

    precision: str = FLOAT32
    graphs: bool = False
    channels_last: bool = False
    tuned: bool = False

    def __str__(self) -> str:
        extras = {
            "graphs": self.graphs,
            "channels last": self.channels_last,
            "tuned": self.tuned,
        }
        return ", ".join([self.precision, *(name for name, on in extras.items() if on)])


@contextmanager
def running(name: str, way: Way, device: str) -> Iterator[TorchNet]:
    """A net with random weights, with the process configured for that way."""
    with ExitStack() as stack:
        if way.channels_last:
            for module in ("module", "layers.convolution"):
                path = f"deepvis_caffe.engines.torch.{module}.memory_format"
                stack.enter_context(mock.patch(path, return_value=torch.channels_last))
        if way.precision == TF32:
            stack.enter_context(mock.patch.object(torch_net, "full_precision", _with_tf32))
        stack.callback(setattr, torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
        torch.backends.cudnn.benchmark = way.tuned
        held = BFLOAT16 if way.precision == BFLOAT16 else FLOAT32
        net = TorchNet(*_model(name), device, held)
        net.cuda_graphs = way.graphs
        yield net


@cache
def _model(name: str) -> tuple[Any, Any]:
    net, _, _ = load(name, "torch")
    return net.model, net.preprocessor


@contextmanager
def _with_tf32(device: torch.device) -> Iterator[None]:
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = True
        yield
    finally:
        for switch, was in zip(switches, before, strict=True):
            switch.allow_tf32 = was


def images(net: TorchNet, count: int) -> np.ndarray:
    """Starting images, (count, C, H, W) float32."""
    return _noise((count, *net.preprocessor.shape))


@lru_cache(maxsize=4)
def _noise(shape: tuple[int, ...]) -> np.ndarray:
    return 10 * np.random.default_rng(0).standard_normal(shape, np.float32)

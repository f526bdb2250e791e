"""Both kinds of arrays, and torch's as on a GPU, for tests of code that works on either."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepvis_caffe.engines.arrays import ArrayOps, NumpyOps, TorchOps
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.optimizer.batch_info import BatchInfo


class DeviceOps(TorchOps):
    """Torch's as on a device whose memory numpy cannot share."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.on_host = False

    def free_memory(self) -> None:
        """There is no such device to ask."""


OPS = {"numpy": NumpyOps(), "torch": TorchOps(), "device": DeviceOps()}


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normal numbers of a seed of their own, float64."""
    return np.random.RandomState(seed).normal(0, scale, shape)


def batch_info(
    ops: ArrayOps, height: int, width: int, channels: int = 3, swap: Any = None, **more: Any
) -> BatchInfo:
    """A batch of images of that size, whose gray level is 1."""
    return BatchInfo(ops, Preprocessor((channels, height, width), channel_swap=swap), **more)

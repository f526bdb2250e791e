"""The kinds of arrays, for tests of code that works on each; see the fixture `ops`."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck

from deepvis_caffe.engines.arrays import ArrayOps, NumpyOps, TorchOps
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.optimizer.batch_info import BatchInfo

# For hypothesis with the fixture `ops`, which is the same for all examples.
ON_EACH_KIND: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}
KINDS = {"numpy": NumpyOps(), "torch": TorchOps(), "cuda": TorchOps("cuda:0")}


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normal numbers of a seed of their own, float64."""
    return np.random.RandomState(seed).normal(0, scale, shape)


def batch_info(
    ops: ArrayOps, height: int, width: int, channels: int = 3, swap: Any = None, **more: Any
) -> BatchInfo:
    """A batch of images of that size, whose gray level is 1."""
    return BatchInfo(ops, Preprocessor((channels, height, width), channel_swap=swap), **more)

"""First images: ``(seed, preprocessor) -> x (C, H, W)``, float32, in the net's units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import UnknownNameError
from deepvis_caffe.model.preprocess import Preprocessor

Floats = NDArray[np.float32]

NOISE = 10  # standard deviation, in gray levels of 255: the Deep Visualization Toolbox's


def noise(seed: int, preprocessor: Preprocessor) -> Floats:
    """The mean picture plus gaussian noise of 10 gray levels."""
    x = np.random.RandomState(seed).normal(0, NOISE, preprocessor.shape)
    return np.asarray(x * preprocessor.pixel_scale, np.float32)


def uniform(seed: int, preprocessor: Preprocessor) -> Floats:
    """Every value anywhere between black and white."""
    low, high = preprocessor.low, preprocessor.high
    unit = np.random.RandomState(seed).uniform(0, 1, preprocessor.shape)
    return np.asarray(low + unit * (high - low), np.float32)


def mean(seed: int, preprocessor: Preprocessor) -> Floats:
    """The mean picture, whatever the seed."""
    return np.zeros(preprocessor.shape, np.float32)


STARTS: dict[str, Callable[[int, Preprocessor], Floats]] = {
    "noise": noise,
    "uniform": uniform,
    "mean": mean,
}


def check_start(name: str) -> None:
    """`UnknownNameError` where `name` is none of `STARTS`."""
    if name not in STARTS:
        raise UnknownNameError("start", name, STARTS)


def first_images(name: str, seeds: list[int], preprocessor: Preprocessor) -> Floats:
    """The start called `name` from each seed, (N, C, H, W)."""
    check_start(name)
    return np.stack([STARTS[name](seed, preprocessor) for seed in seeds])

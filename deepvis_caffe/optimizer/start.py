"""First images: ``(seed, preprocessor) -> x (C, H, W)``, float32, in the net's units.

The start of an ascent is one of `STARTS` by name, or the path of a picture.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deepvis_caffe.errors import ImageError, SettingsError, UnknownNameError
from deepvis_caffe.image import Floats
from deepvis_caffe.image_channels import read_channels
from deepvis_caffe.model.preprocess import Preprocessor

NOISE = 10  # standard deviation, in gray levels of 255: the Deep Visualization Toolbox's


def noise(seed: int, preprocessor: Preprocessor) -> Floats:
    """The mean picture plus gaussian noise of 10 gray levels."""
    x = np.random.RandomState(seed).normal(0, NOISE, preprocessor.shape)
    return np.asarray(x * preprocessor.pixel_scale, np.float32)


def uniform(seed: int, preprocessor: Preprocessor) -> Floats:
    """Each value uniform between black and white."""
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
    """Raise a `DeepVisError` if `name` is neither in `STARTS` nor the path of a file."""
    if not isinstance(name, str | os.PathLike):
        raise SettingsError(
            f"start must be one of {', '.join(STARTS)} or a picture's path; got "
            f"{type(name).__name__}: write the picture into a file, and give its path"
        )
    if name not in STARTS and not Path(name).is_file():
        looks_like_a_file = bool(Path(name).suffix) or "/" in name
        if looks_like_a_file:
            raise ImageError(
                f"there is no picture {name} to start from; give a picture's path, or one of "
                f"{', '.join(STARTS)}"
            )
        raise UnknownNameError("start", name, STARTS)


def start_digest(name: str) -> str | None:
    """A digest of the picture at the path `name`; None for a start in `STARTS`."""
    if name in STARTS:
        return None
    return hashlib.blake2b(Path(name).read_bytes(), digest_size=16).hexdigest()


def first_images(name: str, seeds: list[int], preprocessor: Preprocessor) -> Floats:
    """The first image of each seed, (N, C, H, W); a picture is the same for all seeds."""
    check_start(name)
    if name not in STARTS:
        image = read_channels(Path(name), preprocessor.shape[0])
        return np.stack([preprocessor(image)] * len(seeds))
    return np.stack([STARTS[name](seed, preprocessor) for seed in seeds])

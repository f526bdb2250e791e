"""First images: ``(seed, preprocessor) -> x (C, H, W)``, float32, in the net's units.

The start of an ascent is one of `STARTS` by name, the path of a picture, or an array.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ImageError, SettingsError, UnknownNameError
from deepvis_caffe.image import Floats
from deepvis_caffe.image_channels import read_channels
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.optimizer.frozen_array import FrozenArray
from deepvis_caffe.optimizer.value_records import Recorded

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


@dataclass(frozen=True, eq=False)
class OtherStart:
    """A first image that replaces the one from an ascent's parameters.

    Attributes
    ----------
    x
        (C, H, W) float32, in the net's units.
    record
        A description of it, as JSON types.
    """

    x: Floats = field(repr=False)
    record: Mapping[str, Any]


def frozen_start(start: Any) -> Any:
    """An array as a `FrozenArray`; any other start unchanged."""
    is_array = hasattr(start, "__array__") or hasattr(start, "__array_interface__")
    return FrozenArray(start) if is_array else start


def check_start(start: Any) -> None:
    """Raise a `DeepVisError` if `start` is not in `STARTS`, the path of a file or an array."""
    if isinstance(start, FrozenArray):
        if start.array.dtype.kind not in "uf" or start.array.ndim not in (2, 3, 4):
            raise ImageError(
                f"start cannot be an array of {start.array.dtype} and shape {start.array.shape}; "
                "give a picture (H, W, 3), uint8 or float, or the net's input (C, H, W), float, "
                "or one for each seed"
            )
        return
    if isinstance(start, Recorded):
        return
    if not isinstance(start, str | os.PathLike):
        raise SettingsError(
            f"start must be one of {', '.join(STARTS)}, a picture's path or an array; got "
            f"{type(start).__name__}"
        )
    if start not in STARTS and not Path(start).is_file():
        looks_like_a_file = bool(Path(start).suffix) or "/" in str(start)
        if looks_like_a_file:
            raise ImageError(
                f"no picture {start} to start from; give a picture's path, or one of "
                f"{', '.join(STARTS)}"
            )
        raise UnknownNameError("start", str(start), STARTS)


def start_differs_by_seed(start: Any) -> bool:
    """Whether different seeds start from different images."""
    if isinstance(start, FrozenArray):
        return start.array.ndim == 4
    return start in ("noise", "uniform")


def start_digest(start: Any) -> str | None:
    """A digest of the picture or array to start from; None for a start in `STARTS`."""
    if isinstance(start, FrozenArray):
        return start.digest
    if isinstance(start, Recorded):
        return str(start.record["array"])
    if start in STARTS:
        return None
    return hashlib.blake2b(Path(start).read_bytes(), digest_size=16).hexdigest()


def first_images(start: Any, seeds: list[int], preprocessor: Preprocessor) -> Floats:
    """The first image of each seed, (N, C, H, W).

    A picture is the same for all seeds, and so is an array, unless it holds several: then seed s
    starts from the s-th, counting from 0. Floats whose last axes have the input's shape are used
    unchanged, in the net's units; any other array holds pictures, which are preprocessed.
    """
    check_start(start)
    if isinstance(start, Recorded):
        raise start.missing("start")
    if isinstance(start, FrozenArray):
        return _from_array(start.array, seeds, preprocessor)
    if start not in STARTS:
        image = read_channels(Path(start), preprocessor.shape[0])
        return np.stack([preprocessor(image)] * len(seeds))
    return np.stack([STARTS[start](seed, preprocessor) for seed in seeds])


def _from_array(array: NDArray[Any], seeds: list[int], preprocessor: Preprocessor) -> Floats:
    if array.ndim == 4:
        if max(seeds) >= len(array):
            raise ImageError(
                f"start holds {len(array)} images, one for each of the seeds 0 to "
                f"{len(array) - 1}; got seed {max(seeds)}"
            )
        images = [array[seed] for seed in seeds]
    else:
        images = [array] * len(seeds)
    shape = preprocessor.shape
    if array.dtype.kind == "f" and array.shape[-3:] == shape:
        x = np.stack([np.asarray(image, np.float32) for image in images])
        if not np.isfinite(x).all():
            raise ImageError("start holds values that are not finite numbers")
        return x
    if array.ndim == 4 and array.dtype.kind == "f" and array.shape[1] == shape[0]:
        raise ImageError(
            f"start has shape {array.shape}; as inputs of the net, expected (N, "
            f"{', '.join(map(str, shape))})"
        )
    return np.stack([preprocessor(image) for image in images])

"""Occlusion: ``(score, x (1, C, H, W)) -> map (H, W)``."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.attribution.baseline import Baseline, baseline_image
from deepvis_caffe.attribution.score import Score, whole_number
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.image import Floats


def occlusion(
    score: Score,
    x: Floats,
    *,
    window: int | tuple[int, int] | None = None,
    stride: int | tuple[int, int] | None = None,
    baseline: Baseline = "mean",
    batch_size: int = 16,
) -> Floats:
    """The drop of the score when a sliding window covers the image.

    At each pixel this is the mean of ``F(x) - F(x under the window)`` over the windows that cover
    it. The last windows at the right and at the bottom are clipped to the image.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2,
    https://arxiv.org/abs/1311.2901

    Parameters
    ----------
    score, x
        The score to attribute, and the image.
    window
        Its height and width in pixels, or one number for both; by default a seventh of the image.
    stride
        Pixels between windows, down and to the right; by default half the window.
    baseline
        What covers the image, see `baseline_image`; by default the mean.
    batch_size
        Number of covered images that run at a time.
    """
    size = x.shape[2:]
    extent = tuple(max(1, n // 7) for n in size) if window is None else _pair("window", window)
    step = tuple(max(1, n // 2) for n in extent) if stride is None else _pair("stride", stride)
    if any(n > whole for n, whole in zip(extent, size, strict=True)):
        raise SettingsError(f"window {extent} is larger than the image, {tuple(size)} pixels")
    if any(n > covered for n, covered in zip(step, extent, strict=True)):
        raise SettingsError(f"stride {step} leaves pixels out between windows of {extent} pixels")
    cover = baseline_image(baseline, score.net.preprocessor, x[0])
    corners = product(
        *(
            range(0, -(-(whole - n) // s) * s + 1, s)
            for whole, n, s in zip(size, extent, step, strict=True)
        )
    )
    windows = [
        (slice(top, top + extent[0]), slice(left, left + extent[1])) for top, left in corners
    ]
    (whole_score,) = score(x)
    total, count = np.zeros(size), np.zeros(size)

    def covered_scores(part: slice) -> NDArray[np.float64]:
        covered = np.repeat(x, part.stop - part.start, axis=0)
        for image, (rows, columns) in zip(covered, windows[part], strict=True):
            image[:, rows, columns] = cover[:, rows, columns]
        return score(covered)

    for part, scores in score.in_batches(len(windows), batch_size, covered_scores):
        for one, place in zip(scores, windows[part], strict=True):
            total[place] += whole_score - one
            count[place] += 1
    return np.asarray(total / count, np.float32)


def _pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(numbers) != 2:
        raise SettingsError(f"{name} must be one number, or (height, width); got {value!r}")
    return whole_number(name, numbers[0]), whole_number(name, numbers[1])

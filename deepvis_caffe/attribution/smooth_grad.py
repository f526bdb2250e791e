"""SmoothGrad: ``(score, x (1, C, H, W)) -> map (C, H, W)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepvis_caffe.attribution.score import Score, positive_number, whole_number
from deepvis_caffe.image import Floats


def smooth_grad(
    score: Score,
    x: Floats,
    *,
    samples: int = 50,
    noise_level: float = 0.15,
    seed: int = 0,
    batch_size: int = 8,
) -> Floats:
    """The mean gradient of noisy copies of the image.

    ``mean over n of dF / dx at x + N(0, sigma^2)``, where sigma is `noise_level` times the range of
    x's values. The noise does not depend on the batch size.

    Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise",
    https://arxiv.org/abs/1706.03825

    Parameters
    ----------
    score, x
        The score to attribute, and the image.
    samples
        Number of noisy copies.
    noise_level
        Standard deviation of the noise, as a fraction of the range of x's values.
    seed
        Seed of the noise.
    batch_size
        Number of copies that run at a time.
    """
    count = whole_number("samples", samples)
    sigma = positive_number("noise_level", noise_level) * float(x.max() - x.min())
    random = np.random.default_rng(whole_number("seed", seed, least=0))
    total = np.zeros(x.shape[1:])
    # Random states by start, as a batch that does not fit into memory runs again.
    before: dict[int, Any] = {}

    def gradients_of(part: slice) -> Floats:
        generator = random.bit_generator
        generator.state = before.setdefault(part.start, generator.state)
        noise = random.standard_normal((part.stop - part.start, *x.shape[1:]), np.float32)
        return score.gradients(x + np.float32(sigma) * noise)

    for _, gradients in score.in_batches(count, batch_size, gradients_of):
        total += gradients.sum(axis=0, dtype=np.float64)
    return np.asarray(total / count, np.float32)

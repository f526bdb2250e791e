"""Integrated gradients: ``(score, x (1, C, H, W)) -> map (C, H, W)``."""

from __future__ import annotations

import numpy as np

from deepvis_caffe.attribution.baseline import Baseline, baseline_image
from deepvis_caffe.attribution.score import Score, whole_number
from deepvis_caffe.image import Floats


def integrated_gradients(
    score: Score,
    x: Floats,
    *,
    steps: int = 50,
    baseline: Baseline = "mean",
    batch_size: int = 8,
) -> Floats:
    """The mean gradient on the straight path from a baseline, times the difference to it.

    ``(x - x') * integral over a in 0..1 of dF / dx at x' + a (x - x')``, by Gauss-Legendre
    quadrature. It is complete: the map sums to F(x) - F(x'), up to the quadrature error.

    Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks",
    https://arxiv.org/abs/1703.01365

    Parameters
    ----------
    score, x
        The score to attribute, and the image.
    steps
        Number of gradients along the path.
    baseline
        x', see `baseline_image`.
    batch_size
        Number of gradients computed at a time.
    """
    nodes, weights = np.polynomial.legendre.leggauss(whole_number("steps", steps))
    start = baseline_image(baseline, score.net.preprocessor, x[0])
    way = x[0] - start
    total = np.zeros(way.shape)

    def gradients_at(part: slice) -> Floats:
        alphas = np.asarray((nodes[part] + 1) / 2, np.float32)  # from -1..1 to 0..1
        return score.gradients(start + alphas[:, None, None, None] * way)

    for part, gradients in score.in_batches(len(nodes), batch_size, gradients_at):
        total += np.tensordot(weights[part] / 2, gradients, axes=1)
    return np.asarray(total * way, np.float32)

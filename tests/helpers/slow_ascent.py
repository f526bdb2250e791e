"""A slow ascent: numpy, scipy and a loop over images, written from the paper alone.

``maximize(value_and_gradient, x, ...)`` shares no line with `deepvis_caffe.optimizer`. It runs in
float64 and takes one image (C, H, W) at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

ValueAndGradient = Callable[[np.ndarray], tuple[float, np.ndarray]]


class Run(NamedTuple):
    """What `maximize` saw: every activation, every image, and the rates."""

    values: list[float]
    images: list[np.ndarray]
    rates: list[float]

    @property
    def best(self) -> np.ndarray:
        return self.images[int(np.argmax(self.values))]


def maximize(
    value_and_gradient: ValueAndGradient,
    x: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    steps: int,
    rate: Callable[[float, float], float],
    decay: float = 0,
    width: float = 0,
    every: int = 0,
    value_pct: float = 0,
    norm_pct: float = 0,
    benefit_pct: float = 0,
    contribution_pct: float = 0,
    sign: int = 1,
) -> Run:
    """`rate` maps (|g|^2, activation) to lr."""
    run = Run([], [], [])
    x = x.astype(np.float64)
    for t in range(steps):
        x = np.minimum(np.maximum(x, low), high)
        a, g = value_and_gradient(x)
        g = sign * g
        run.values.append(sign * a)
        run.images.append(x.copy())
        if t == steps - 1:
            break
        lr = rate(float((g * g).sum()), a)
        run.rates.append(lr)
        x = x + lr * g
        x = x * (1 - decay)
        if width > 0 and every > 0 and t % every == 0:
            x = np.stack([gaussian_filter(channel, width) for channel in x])
        if value_pct > 0:
            x[np.abs(x) < np.percentile(np.abs(x), value_pct)] = 0
        if norm_pct > 0:
            norms = np.linalg.norm(x, axis=0)
            x[:, norms < np.percentile(norms, norm_pct)] = 0
        if benefit_pct > 0:
            benefit = (g * -x).sum(axis=0)
            x[:, benefit < np.percentile(benefit, benefit_pct)] = 0
        if contribution_pct > 0:
            contribution = np.abs((g * x).sum(axis=0))
            x[:, contribution < np.percentile(contribution, contribution_pct)] = 0
    return run


RATES: dict[str, Callable[..., Any]] = {
    "constant": lambda lr: lambda gg, a: lr,
    "progress": lambda most, desired: lambda gg, a: min(most, desired / gg),
    "progress01": lambda most, early, late: (
        lambda gg, a: min(most, min(early, late * (1 - a)) / gg)
    ),
}

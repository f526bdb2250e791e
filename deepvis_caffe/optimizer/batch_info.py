"""`BatchInfo`: what transforms, regularizers and parameterizations can know of a batch of ascents.

They are values that say what to do, and are bound to each batch once: ``value.bind(info)`` gives
the function that the ascent calls at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.model.preprocess import Preprocessor


@dataclass(frozen=True, eq=False)
class BatchInfo:
    """A batch of ascents, before its first step.

    Attributes
    ----------
    ops
        Operations of the engine's arrays.
    preprocessor
        Of the part of the input that the images are.
    steps
        How many there are, unless every image ends before.
    seeds
        Of each image.
    units
        The unit of each image, as a number.
    repeats
        How many transforms of the same type come before this one; each draws other numbers.
    takes_size
        Whether what is maximized is the same for images of another (height, width), so that the net
        may be shown these.
    """

    ops: ArrayOps
    preprocessor: Preprocessor
    steps: int = 1
    seeds: Sequence[int] = (0,)
    units: Sequence[int] = (0,)
    repeats: int = 0
    takes_size: Callable[[tuple[int, int]], bool] = field(default=lambda size: False)

    @property
    def height(self) -> int:
        """Of the images, in pixels."""
        return self.preprocessor.shape[1]

    @property
    def width(self) -> int:
        """Of the images, in pixels."""
        return self.preprocessor.shape[2]

    @property
    def pixel_scale(self) -> float:
        """How far one 8-bit gray level moves the input."""
        return self.preprocessor.pixel_scale

    def uniform(self, stream: int, count: int) -> NDArray[np.float64]:
        """Numbers in [-1, 1) of each step and image, (steps, N, count), from its seed alone."""
        more = [self.repeats] if self.repeats else []
        return np.stack(
            [
                np.random.default_rng([stream, seed, *more]).uniform(-1, 1, (self.steps, count))
                for seed in self.seeds
            ],
            axis=1,
        )

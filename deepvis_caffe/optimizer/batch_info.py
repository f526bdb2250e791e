"""`BatchInfo`: what transforms, regularizers and parameterizations know about a batch of ascents.

They are values, each bound to a batch once: ``value.bind(info)`` returns the function that the
ascent calls at every step.
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
        Operations on the engine's arrays.
    preprocessor
        For the part of the input that the images cover.
    steps
        Number of steps, unless every image stops earlier.
    seeds
        The seed of each image.
    units
        The unit of each image, as a number.
    repeats
        Number of earlier transforms of the same type; each one draws different numbers.
    takes_size
        Whether the objective is the same for images of another (height, width), so that the net may
        be shown these.
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
        """The change of the input for one 8-bit gray level."""
        return self.preprocessor.pixel_scale

    def uniform(self, stream: int, count: int) -> NDArray[np.float64]:
        """Numbers in [-1, 1) for each step and image, (steps, N, count), from its seed alone."""
        more = [self.repeats] if self.repeats else []
        return np.stack(
            [
                np.random.default_rng([stream, seed, *more]).uniform(-1, 1, (self.steps, count))
                for seed in self.seeds
            ],
            axis=1,
        )

"""The strongest images of each unit: a table that grows by batches and merges with others.

The order is total: a higher value first, and of equal values the image that comes first. So tables
can be merged in any order and any grouping with one result, that of a single pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NONE = -1  # where there are fewer images than places


@dataclass(frozen=True, eq=False)
class Top:
    """For each of C units, its K strongest activations, at most one an image.

    Attributes
    ----------
    value
        float32 (C, K), descending; -inf where there is none.
    image
        int64 (C, K), the images' numbers; `NONE` where there is none.
    position
        int64 (C, K), where on the unit's map, rows first; 0 for units without one.
    """

    value: NDArray[np.float32]
    image: NDArray[np.int64]
    position: NDArray[np.int64]

    @classmethod
    def empty(cls, units: int, count: int) -> Top:
        """A table of `count` places for each unit, with nothing in it."""
        shape = (units, count)
        return cls(
            np.full(shape, -np.inf, np.float32),
            np.full(shape, NONE, np.int64),
            np.zeros(shape, np.int64),
        )

    @property
    def count(self) -> int:
        """Places a unit."""
        return self.value.shape[1]

    def with_batch(
        self,
        value: NDArray[np.float32],
        image: NDArray[np.int64],
        position: NDArray[np.int64],
    ) -> Top:
        """The table after N more images.

        Parameters
        ----------
        value, position
            Each image's strongest activation, (N, C), finite, and where it is.
        image
            The images' numbers, (N,), each higher than all in the table.
        """
        higher = (value > self.value[:, -1]).any(axis=0) | (self.image[:, -1] == NONE)
        units = np.flatnonzero(higher)  # few, once the table is full
        if not len(units):
            return self
        images = np.broadcast_to(image, (len(units), len(image)))
        changed = self._of(units).merged(Top(value.T[units], images, position.T[units]))
        table = Top(self.value.copy(), self.image.copy(), self.position.copy())
        table.value[units], table.image[units] = changed.value, changed.image
        table.position[units] = changed.position
        return table

    def _of(self, units: NDArray[np.int64]) -> Top:
        return Top(self.value[units], self.image[units], self.position[units])

    def merged(self, other: Top) -> Top:
        """The strongest of both; no image may be in both."""
        value, image, position = (
            np.concatenate([getattr(self, name), getattr(other, name)], axis=1)
            for name in ("value", "image", "position")
        )
        places = np.iinfo(np.int64).max  # what is empty comes last, among -inf too
        order = np.lexsort((np.where(image == NONE, places, image), -value), axis=1)
        best = order[:, : self.count]
        return Top(*(np.take_along_axis(one, best, axis=1) for one in (value, image, position)))

    def renumbered(self, numbers: NDArray[np.int64]) -> Top:
        """The same images under other numbers, by old number; ascending order must stay."""
        image = np.where(self.image == NONE, NONE, numbers[np.maximum(self.image, 0)])
        return Top(self.value, image, self.position)

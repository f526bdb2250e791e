"""A scan's data for one layer: ``LayerScan``. Merging parts gives the same as a single pass.

`Top`
    Each unit's top images: its highest activations and their positions. The order is total: higher
    values first, and among equal values earlier images first. So tables can be merged in any order
    and grouping.
histogram
    Histogram of the images' highest activations. The bins are fixed, so that no pass is needed to
    find a range, and histograms of parts add up. For either sign they are a factor of sqrt(2) wide,
    from 2^-12 to 2^20; 0 has its own bin, and the outermost ones are unbounded.
`Classes`
    Sums over the images of each class.
moments
    See `deepvis_caffe.dataset.moments`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.moments import Moments
from deepvis_caffe.dataset.reduction import Reduction

HALF_OCTAVES = np.arange(-24, 41)
POSITIVE = 2.0 ** (HALF_OCTAVES / 2)
# Bin k of a histogram holds EDGES[k] <= value < EDGES[k + 1]; the middle one holds exactly 0.
EDGES = np.concatenate(
    [[-np.inf], -POSITIVE[:0:-1], [0.0], [np.nextafter(0, 1)], POSITIVE[1:], [np.inf]]
)
BINS = len(EDGES) - 1


def count_values(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """The histogram of each column of `values` (N, C), int64 (C, `BINS`)."""
    bins = np.searchsorted(EDGES, values.astype(np.float64), side="right") - 1
    units = values.shape[1]
    places = np.clip(bins, 0, BINS - 1) + BINS * np.arange(units)
    return np.bincount(places.ravel(), minlength=units * BINS).reshape(units, BINS)


NONE = -1  # in the empty places of a table


@dataclass(frozen=True, eq=False)
class Top:
    """The K top images of each of C units, each with its highest activation.

    Attributes
    ----------
    value
        float32 (C, K), the activations, descending; -inf where there is none.
    image
        int64 (C, K), the images' indices; `NONE` where there is none.
    position
        int64 (C, K), the flat index into the unit's map; 0 for units without one.
    """

    value: NDArray[np.float32]
    image: NDArray[np.int64]
    position: NDArray[np.int64]

    @classmethod
    def empty(cls, units: int, count: int) -> Top:
        """An empty table with `count` places per unit."""
        shape = (units, count)
        return cls(
            np.full(shape, -np.inf, np.float32),
            np.full(shape, NONE, np.int64),
            np.zeros(shape, np.int64),
        )

    @property
    def count(self) -> int:
        """Places per unit."""
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
            Each image's highest activation, (N, C), finite, and its position.
        image
            The images' indices, (N,), each higher than all in the table.
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
        """The top images of both; no image may be in both."""
        value, image, position = (
            np.concatenate([getattr(self, name), getattr(other, name)], axis=1)
            for name in ("value", "image", "position")
        )
        last = np.iinfo(np.int64).max  # empty places come last, even after images at -inf
        order = np.lexsort((np.where(image == NONE, last, image), -value), axis=1)
        best = order[:, : self.count]
        return Top(*(np.take_along_axis(one, best, axis=1) for one in (value, image, position)))

    def renumbered(self, numbers: NDArray[np.int64]) -> Top:
        """Renumber images: `numbers` holds new indices by old index, in the same order."""
        image = np.where(self.image == NONE, NONE, numbers[np.maximum(self.image, 0)])
        return Top(self.value, image, self.position)


@dataclass(frozen=True, eq=False)
class Classes:
    """Sums over the images of each class.

    Attributes
    ----------
    label
        int64 (L,), ascending.
    count
        int64 (L,), number of images.
    total
        float64 (L, C), the sum of a unit's mean activation over those images.
    """

    label: NDArray[np.int64]
    count: NDArray[np.int64]
    total: NDArray[np.float64]

    @classmethod
    def empty(cls, units: int) -> Classes:
        """Sums over no images."""
        none = np.zeros(0, np.int64)
        return cls(none, none, np.zeros((0, units)))

    @classmethod
    def of_images(cls, labels: NDArray[np.int64], means: NDArray[np.float32]) -> Classes:
        """From each image's label, (N,), and mean activations, (N, C)."""
        label, which = np.unique(labels, return_inverse=True)
        total = np.zeros((len(label), means.shape[1]))
        np.add.at(total, which, means.astype(np.float64))
        return cls(label, np.bincount(which, minlength=len(label)).astype(np.int64), total)

    def merged(self, other: Classes) -> Classes:
        """Sums over the images of both."""
        label = np.union1d(self.label, other.label)
        count = np.zeros(len(label), np.int64)
        total = np.zeros((len(label), self.total.shape[1]))
        for part in (self, other):
            where = np.searchsorted(label, part.label)
            count[where] += part.count
            total[where] += part.total
        return Classes(label, count, total)


@dataclass(frozen=True, eq=False)
class LayerScan:
    """Statistics of one layer over some images.

    Attributes
    ----------
    shape
        Shape of its value for one image: (units, height, width), or (units,).
    top
        The top images of each unit.
    moments
        Moments over every position of every image.
    zeros
        int64 (C,): number of these values that are exactly 0.
    low, high
        float32 (C,): the lowest and the highest of all images' highest activations.
    active
        int64 (C,): images in which the unit is above 0 somewhere.
    histogram
        int64 (C, `BINS`): histogram of the images' highest activations, in the bins of `EDGES`.
    classes
        Sums by class, over the images that have one.
    """

    shape: tuple[int, ...]
    top: Top
    moments: Moments
    zeros: NDArray[np.int64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    active: NDArray[np.int64]
    histogram: NDArray[np.int64]
    classes: Classes

    @classmethod
    def empty(cls, shape: tuple[int, ...], count: int, correlation: bool = False) -> LayerScan:
        """Statistics over no images.

        Parameters
        ----------
        count
            Number of top images to keep for each unit.
        correlation
            Whether to keep what the correlation between units needs.
        """
        units = shape[0]
        none = np.zeros(units, np.int64)
        return cls(
            shape=shape,
            top=Top.empty(units, count),
            moments=Moments.empty(units, correlation),
            zeros=none,
            low=np.full(units, np.inf, np.float32),
            high=np.full(units, -np.inf, np.float32),
            active=none,
            histogram=np.zeros((units, BINS), np.int64),
            classes=Classes.empty(units),
        )

    @property
    def units(self) -> int:
        """The number of units."""
        return self.shape[0]

    def with_batch(
        self,
        part: Reduction,
        images: NDArray[np.int64],
        labels: NDArray[np.int64],
        labelled: NDArray[np.bool_],
    ) -> LayerScan:
        """Statistics after N more images.

        Parameters
        ----------
        part
            The reduction of their values.
        images, labels, labelled
            (N,): their indices, their classes, and whether they have one.
        """
        classes = self.classes
        if labelled.any():
            more = Classes.of_images(labels[labelled], part.mean[labelled])
            classes = classes.merged(more)
        return replace(
            self,
            top=self.top.with_batch(part.high, images, part.position),
            moments=self.moments.merged(
                Moments.of_images(part.count, part.mean, part.squares, part.products)
            ),
            zeros=self.zeros + part.zeros.sum(axis=0),
            low=np.minimum(self.low, part.high.min(axis=0)),
            high=np.maximum(self.high, part.high.max(axis=0)),
            active=self.active + (part.high > 0).sum(axis=0),
            histogram=self.histogram + count_values(part.high),
            classes=classes,
        )

    def merged(self, other: LayerScan) -> LayerScan:
        """Statistics over the images of both, which share indices but no image."""
        return replace(
            self,
            top=self.top.merged(other.top),
            moments=self.moments.merged(other.moments),
            zeros=self.zeros + other.zeros,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            active=self.active + other.active,
            histogram=self.histogram + other.histogram,
            classes=self.classes.merged(other.classes),
        )

    def renumbered(self, numbers: NDArray[np.int64]) -> LayerScan:
        """Renumber images, see `Top.renumbered`."""
        return replace(self, top=self.top.renumbered(numbers))

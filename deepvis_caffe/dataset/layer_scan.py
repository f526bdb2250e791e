"""What is kept of one layer: its units' strongest images and statistics, mergeable."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.histogram import BINS, count_values
from deepvis_caffe.dataset.moments import Moments
from deepvis_caffe.dataset.reduction import Reduction
from deepvis_caffe.dataset.top import Top


@dataclass(frozen=True, eq=False)
class Classes:
    """Sums over the images of each class.

    Attributes
    ----------
    label
        int64 (L,), ascending.
    count
        int64 (L,), images.
    total
        float64 (L, C), over those images, of a unit's mean activation.
    """

    label: NDArray[np.int64]
    count: NDArray[np.int64]
    total: NDArray[np.float64]

    @classmethod
    def empty(cls, units: int) -> Classes:
        """Of no images."""
        none = np.zeros(0, np.int64)
        return cls(none, none, np.zeros((0, units)))

    @classmethod
    def of_images(cls, labels: NDArray[np.int64], means: NDArray[np.float32]) -> Classes:
        """From the label, (N,), and the mean activations, (N, C), of each image."""
        label, which = np.unique(labels, return_inverse=True)
        total = np.zeros((len(label), means.shape[1]))
        np.add.at(total, which, means.astype(np.float64))
        return cls(label, np.bincount(which, minlength=len(label)).astype(np.int64), total)

    def merged(self, other: Classes) -> Classes:
        """Over the images of both."""
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
    """One layer over some images.

    Attributes
    ----------
    shape
        Of its value for one image: (units, height, width), or (units,).
    top
        The strongest images of each unit.
    moments
        Over every position of every image.
    zeros
        int64 (C,): how many of those values are exactly 0.
    low, high
        float32 (C,): the lowest and the highest of all images' strongest activations.
    active
        int64 (C,): images in which the unit is above 0 somewhere.
    histogram
        int64 (C, `BINS`): each image's strongest activation, in the bins of `histogram.EDGES`.
    classes
        By class, where images have one.
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
        """Over no images.

        Parameters
        ----------
        count
            Strongest images to keep for each unit.
        correlation
            Whether to keep what the units' correlation takes.
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
        """How many there are."""
        return self.shape[0]

    def with_batch(
        self,
        part: Reduction,
        images: NDArray[np.int64],
        labels: NDArray[np.int64],
        labelled: NDArray[np.bool_],
    ) -> LayerScan:
        """After N more images.

        Parameters
        ----------
        part
            Theirs.
        images, labels, labelled
            (N,): their numbers, classes, and whether they have one.
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
        """Over the images of both, which are numbered together and apart."""
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
        """The same images under other numbers, see `Top.renumbered`."""
        return replace(self, top=self.top.renumbered(numbers))

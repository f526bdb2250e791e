"""Blobs: a script's access to a net's values and diffs."""

from __future__ import annotations

import math
import operator
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from deepvis_caffe.caffe.memory import Array, Memory, Shape
from deepvis_caffe.errors import DeepVisError, UnknownNameError


class SizeError(DeepVisError, TypeError):
    """The size of an axis is not an integer."""


class ShapeError(DeepVisError, ValueError):
    """A shape that a blob cannot have, or that lacks the requested axis name."""


class Blob:
    """A float32 array and its diff, in C order, batch axis first.

    Parameters
    ----------
    shape
        Shape of both.
    device
        Where the engine computes.

    Attributes
    ----------
    unknown
        Whether its shape is unknown, because a layer below it cannot run.
    """

    def __init__(self, shape: Sequence[int] = (), device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")
        self.unknown = False
        self._shape: Shape = tuple(shape)
        self._capacity = math.prod(self._shape)
        self.data_memory = Memory(self._capacity, self._device)
        self.diff_memory = Memory(self._capacity, self._device)

    @property
    def data(self) -> Array:
        """The values: a new writable array on each access, over the same memory."""
        return self.data_memory.view(self._shape)

    @property
    def diff(self) -> Array:
        """The diffs: a new writable array on each access, over the same memory."""
        return self.diff_memory.view(self._shape)

    @property
    def shape(self) -> Shape:
        """The sizes of the axes."""
        return self._shape

    @property
    def count(self) -> int:
        """The number of values."""
        return math.prod(self._shape)

    def reshape(self, *shape: int) -> None:
        """Change the blob's shape.

        A blob that does not grow keeps its values, in C order; one that grows is filled with zeros.
        Dependent blobs are reshaped by ``net.reshape()`` or the next forward pass.

        Raises
        ------
        ValueError
            A size is negative.
        TypeError
            A size is not an integer.
        """
        listed = [size for sizes in shape for size in np.ravel(sizes).tolist()]
        if broken := [size for size in listed if isinstance(size, float)]:
            raise SizeError(
                f"a blob cannot have shape {tuple(listed)}: {broken[0]} is not an integer; in "
                "Python 3, a / b gives a float, and a // b an integer"
            )
        sizes = tuple(map(operator.index, listed))
        if any(size < 0 for size in sizes):
            raise ShapeError(f"a blob cannot have shape {sizes}: sizes must not be negative")
        self._shape = sizes
        if self.count > self._capacity:
            self._capacity = self.count
            self.data_memory = Memory(self._capacity, self._device)
            self.diff_memory = Memory(self._capacity, self._device)

    # -- Caffe's four axes -------------------------------------------------------------------

    @property
    def num(self) -> int:
        """Size of the first axis."""
        return self._legacy(0)

    @property
    def channels(self) -> int:
        """Size of the second axis; 1 if there is none."""
        return self._legacy(1)

    @property
    def height(self) -> int:
        """Size of the third axis; 1 if there is none."""
        return self._legacy(2)

    @property
    def width(self) -> int:
        """Size of the fourth axis; 1 if there is none."""
        return self._legacy(3)

    def _legacy(self, axis: int) -> int:
        if len(self._shape) > 4:
            raise ShapeError(
                "num, channels, height and width need a blob of at most 4 axes; this one has "
                f"shape {self._shape}: use shape"
            )
        return self._shape[axis] if axis < len(self._shape) else 1

    def __repr__(self) -> str:
        return f"<Blob {self._shape}>"

    # -- the engine's side -------------------------------------------------------------------

    def share_data(self, other: Blob) -> None:
        """Share the values of another blob of the same count, in this blob's own shape."""
        self.data_memory = other.data_memory

    def share_diff(self, other: Blob) -> None:
        """Share the diffs of another blob of the same count, in this blob's own shape."""
        self.diff_memory = other.diff_memory


class ByName(OrderedDict[str, Any]):
    """Parts of a net by name; an unknown name is a KeyError that lists the known ones."""

    def __init__(self, items: Iterable[tuple[str, Any]] = (), what: str = "blob") -> None:
        super().__init__(items)
        self.what = what

    def __missing__(self, name: str) -> Any:
        raise UnknownNameError(self.what, name, self)


class BlobVec(list[Any]):
    """A list of blobs, as in `Net.params` and the layers."""

    def add_blob(self, *shape: int) -> None:
        """Append a blob of zeros; for Python layers with parameters."""
        self.append(Blob(tuple(int(size) for size in shape)))

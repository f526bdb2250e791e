"""What an ascent raises: one unit's activation in each image, ``values -> activation, diff``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import SettingsError

Position = Literal["center", "all"] | Sequence[int]


class Objective:
    """The activation of image i's unit ``units[i]`` of a layer, and its diff.

    Parameters
    ----------
    ops
        Operations of the engine's arrays.
    units
        A channel for each image of the batch.
    shape
        The layer's shape without the batch axis: (), (channels,) or (channels, height, width);
        any number of axes may follow the channels.
    where
        The position within a channel's map, one index an axis, or None for the whole channel,
        whose activation is the sum over the map.
    push
        1 or -1, the sign of :attr:`diff`.

    Attributes
    ----------
    diff
        (N, *shape), the engine's own: `push` at each image's unit, 0 elsewhere.
    """

    def __init__(
        self,
        ops: ArrayOps,
        units: Sequence[int],
        shape: tuple[int, ...],
        where: tuple[int, ...] | None,
        push: int = 1,
    ) -> None:
        self._rows = ops.asarray(np.arange(len(units)), np.int64)
        self._units = ops.asarray(units, np.int64)
        self._map = tuple(range(2, 1 + len(shape)))
        self._where = where
        channels, *extent = shape or (1,)
        diff = np.zeros((len(units), channels, *extent), np.float32)
        place = (slice(None),) * len(extent) if where is None else where
        diff[(np.arange(len(units)), np.asarray(units), *place)] = push
        self.diff = ops.asarray(diff.reshape(len(units), *shape))

    def __call__(self, values: Any) -> tuple[Any, Any]:
        """Read the units.

        Parameters
        ----------
        values
            The layer's values, (N, *shape).

        Returns
        -------
        activation
            (N,), each image's own unit.
        on_top
            (N,) bool, whether that unit is the highest of the layer's units, compared at the same
            position.
        """
        values = values.reshape(len(values), 1) if values.ndim == 1 else values
        if self._where is not None:
            scores = values[(slice(None), slice(None), *self._where)]
        else:
            scores = values.sum(axis=self._map) if self._map else values
        return scores[self._rows, self._units], scores.argmax(axis=1) == self._units


def resolve_position(
    position: Position, shape: tuple[int, ...], layer: str
) -> tuple[int, ...] | None:
    """The place in a channel's map that `position` means; None means all of it.

    Parameters
    ----------
    position
        ``"center"``, the middle (``size // 2`` on each axis); ``"all"``, the whole channel; or one
        index an axis, (y, x) in a map of two.
    shape
        The layer's shape without the batch axis.

    Raises
    ------
    SettingsError
        Another word, a wrong number of indices, or an index outside the map.
    """
    extent = tuple(shape[1:])
    position = plain_position(position)
    if position == "all":
        return None
    if position == "center":
        return tuple(size // 2 for size in extent)
    if len(position) != len(extent) or not all(
        0 <= index < size for index, size in zip(position, extent, strict=True)
    ):
        map_of = f"a map of {' x '.join(map(str, extent))}" if extent else "no map, only channels"
        raise SettingsError(
            f"position {position} is not in layer {layer!r}, which has {map_of}; give one "
            f"index from 0 for each of its {len(extent)} axes, or 'center' or 'all'"
        )
    return position


def plain_position(position: Position) -> Literal["center", "all"] | tuple[int, ...]:
    """A position in Python's own types; `SettingsError` where it is none."""
    if isinstance(position, str):
        if position in ("center", "all"):
            return position
    elif all(_is_index(index) for index in position):
        return tuple(int(index) for index in position)
    raise SettingsError(
        f"position must be 'center', 'all', or whole numbers (y, x); got {position!r}"
    )


def check_units(units: Sequence[int], shape: tuple[int, ...], layer: str) -> list[int]:
    """`units` as a list; `SettingsError` where the layer has no such channel, or there are none."""
    channels = shape[0] if shape else 1
    for unit in units:
        if not _is_index(unit) or not 0 <= unit < channels:
            raise SettingsError(
                f"layer {layer!r} has no unit {unit!r}; it has {channels}, numbered 0 to "
                f"{channels - 1}"
            )
    return [int(unit) for unit in units]


def _is_index(number: object) -> bool:
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)

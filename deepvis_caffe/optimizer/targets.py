"""Targets: what is maximized in one layer, ``(units, layer's shape) -> targets``.

=====================  =====================================================================
``130``                the activation of one channel
``(130, 340)``         the sum of several, for example of a group of classes
``Direction(v, name)`` ``v . channels``, for example the difference between two classes, or
                       the weights of a concept (Kim et al. 2018, "TCAV")
``"layer"``            half the squared norm of the whole layer: whatever it responds to
                       (Mordvintsev et al. 2015, "Inceptionism", known as DeepDream)
=====================  =====================================================================

Each is read at one position of the channels' maps, or summed over the map. For anything else, such
as several layers, there is `deepvis_caffe.optimizer.objective.Objective`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.model.unit_text import LAYER
from deepvis_caffe.npy import read_npy_file

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

UnitName = int | str


@dataclass(frozen=True)
class Direction:
    """A direction in the space of a layer's channels.

    Parameters
    ----------
    vector
        One number per channel, not all 0.
    name
        The name for results: letters, digits, ``_``, ``.`` and ``-``.
    """

    vector: tuple[float, ...] = field(repr=False)
    name: str = "direction"

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", tuple(float(one) for one in self.vector))
        if not self.vector or not np.isfinite(self.vector).all() or not any(self.vector):
            raise SettingsError(
                f"direction {self.name!r} must hold one finite number per channel, not all 0"
            )
        if not self.name or not all(c.isascii() and (c.isalnum() or c in "_.-") for c in self.name):
            raise SettingsError(
                f"a direction's name may contain only letters, digits, '_', '.' and '-'; got "
                f"{self.name!r}"
            )
        if self.name == LAYER or self.name[0].isdigit():
            raise SettingsError(
                f"a direction's name must start with a letter and not be {LAYER!r}; got "
                f"{self.name!r}"
            )


LONGEST = 100  # characters in the name of a sum, which is part of a file name

Target = int | tuple[int, ...] | Direction | Literal["layer"]


def numbered(net: Net, layer: str, target: Any) -> Any:
    """A target with labels replaced by numbers; see `Net.units`.

    Raises
    ------
    SettingsError
        The text means several targets.
    UnknownNameError
        No unit has that name.
    """
    found = listed_targets(net, layer, target)
    if len(found) > 1:
        raise SettingsError(
            f"{target!r} means {len(found)} units of layer {layer!r}; expected one unit, or a sum "
            "such as 3+4"
        )
    return found[0]


def listed_targets(net: Net, layer: str, target: Any) -> list[Any]:
    """The targets that one stands for: several for a text like ``"0-3"``; see `Net.units`."""
    if isinstance(target, str):
        return list(net.units(layer, target))
    if isinstance(target, (list, tuple)):
        return [tuple(chain.from_iterable(_members(net, layer, one) for one in target))]
    return [target]


def _members(net: Net, layer: str, given: Any) -> list[Any]:
    """The units that one member of a sum stands for."""
    found = listed_targets(net, layer, given)
    return [unit for one in found for unit in (one if isinstance(one, tuple) else (one,))]


def check_targets(targets: Iterable[Any], shape: tuple[int, ...], layer: str) -> list[Target]:
    """Check `targets` against a layer, and convert them to Python types.

    Parameters
    ----------
    shape
        The layer's, without the batch axis.

    Raises
    ------
    SettingsError
        The layer has no such channel, or a direction's length is not its number of channels.
    """
    channels = shape[0] if shape else 1
    checked: list[Target] = []
    for target in targets:
        if isinstance(target, Direction):
            if len(target.vector) != channels:
                raise SettingsError(
                    f"direction {target.name!r} has {len(target.vector)} numbers, and layer "
                    f"{layer!r} has {channels} channels; give one number for each"
                )
            checked.append(target)
        elif isinstance(target, str) and target == LAYER:
            checked.append(LAYER)
        elif isinstance(target, Sequence) and not isinstance(target, str) and len(target):
            members = tuple(dict.fromkeys(_channel(one, channels, layer) for one in target))
            checked.append(members if len(members) > 1 else members[0])
        else:
            checked.append(_channel(target, channels, layer))
    return checked


def read_directions(path: Path) -> list[Direction]:
    """The directions in a .npy file, (channels,) or (K, channels), named after the file.

    Raises
    ------
    SettingsError
        The file cannot be read, or holds something else.
    """
    try:
        rows = read_npy_file(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read directions from {path}: {error}") from error
    if rows.ndim not in (1, 2) or rows.dtype.kind not in "iuf":
        raise SettingsError(
            f"{path} must hold one number per channel, or rows of them, as numpy.save writes them"
        )
    if rows.ndim == 1:
        return [Direction(tuple(rows), path.stem)]
    return [Direction(tuple(row), f"{path.stem}-{index}") for index, row in enumerate(rows)]


def check_units(units: Iterable[Any], shape: tuple[int, ...], layer: str) -> list[int]:
    """Check single channels against a layer; raises `SettingsError` if it does not have one."""
    channels = shape[0] if shape else 1
    return [_channel(unit, channels, layer) for unit in units]


def name_of(target: Target) -> UnitName:
    """The name for results: a unit's number, ``130+340`` for a sum, or a name.

    The name of a direction ends in a digest of its numbers, so that different vectors have
    different results. So does that of a sum too long for a file name:
    ``151+152+...+268-1f0a73bc``.
    """
    if isinstance(target, tuple):
        name = "+".join(map(str, target))
        if len(name) <= LONGEST:
            return name
        digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
        return f"{target[0]}+{target[1]}+...+{target[-1]}-{digest}"
    if isinstance(target, Direction):
        numbers = np.array(target.vector, "<f4").tobytes()
        return f"{target.name}-{hashlib.blake2b(numbers, digest_size=4).hexdigest()}"
    return target


def weights_of(target: Target, channels: int) -> np.ndarray:
    """The weight of each channel in the activation, (channels,)."""
    if isinstance(target, Direction):
        return np.array(target.vector, np.float32)
    if target == LAYER:
        return np.ones(channels, np.float32)
    members = target if isinstance(target, tuple) else (target,)
    return np.isin(np.arange(channels), members).astype(np.float32)


def _channel(unit: Any, channels: int, layer: str) -> int:
    whole = isinstance(unit, (int, np.integer)) and not isinstance(unit, bool)
    if not whole or not 0 <= unit < channels:
        raise SettingsError(
            f"layer {layer!r} has no unit {unit!r}; it has {channels}, numbered 0 to {channels - 1}"
        )
    return int(unit)


Position = Literal["center", "all"] | Sequence[int]


def resolve_position(
    position: Position, shape: tuple[int, ...], layer: str
) -> tuple[int, ...] | None:
    """The index into a channel's map for `position`; None for all of it.

    Parameters
    ----------
    position
        ``"center"``, the middle (``size // 2`` on each axis); ``"all"``, the whole channel; or one
        index per axis, (y, x) for a 2-D map.
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
    """A position as Python types; raises `SettingsError` if it is not one."""
    if isinstance(position, str):
        if position in ("center", "all"):
            return position
    elif all(_is_index(index) for index in position):
        return tuple(int(index) for index in position)
    raise SettingsError(
        f"position must be 'center', 'all', or whole numbers (y, x); got {position!r}"
    )


def _is_index(number: object) -> bool:
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)

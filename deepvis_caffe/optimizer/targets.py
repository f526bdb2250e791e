"""What can be climbed: a unit, a sum of units, a direction in channel space, or a whole layer.

=====================  ======================================================================
``130``                one channel
``(130, 340)``         the sum of channels, as of a group of classes
``Direction(v, name)`` ``v . channels``, for example the difference of two classes, or a row of
                       a concept's weights (Kim et al. 2018, "TCAV")
``"layer"``            half the squared norm of all of the layer, so that whatever it answers to
                       is raised (Mordvintsev et al. 2015, "Inceptionism": DeepDream)
=====================  ======================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deepvis_caffe.errors import SettingsError

UnitName = int | str
LAYER: Literal["layer"] = "layer"


@dataclass(frozen=True)
class Direction:
    """A direction in the space of a layer's channels.

    Parameters
    ----------
    vector
        One number a channel, not all 0.
    name
        What results are called; letters, digits, ``_``, ``.`` and ``-``.
    """

    vector: tuple[float, ...] = field(repr=False)
    name: str = "direction"

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", tuple(float(one) for one in self.vector))
        if not self.vector or not np.isfinite(self.vector).all() or not any(self.vector):
            raise SettingsError(
                f"direction {self.name!r} must hold one finite number a channel, not all of them 0"
            )
        if not self.name or not all(c.isascii() and (c.isalnum() or c in "_.-") for c in self.name):
            raise SettingsError(
                f"a direction's name is made of letters, digits, '_', '.' and '-'; got "
                f"{self.name!r}"
            )
        if self.name == LAYER or self.name[0].isdigit():
            raise SettingsError(
                f"a direction's name starts with a letter, and is not {LAYER!r}; got {self.name!r}"
            )


LONGEST = 100  # characters of a sum's name: with its layer's it is a file's

Target = int | tuple[int, ...] | Direction | Literal["layer"]


def check_targets(targets: Iterable[Any], shape: tuple[int, ...], layer: str) -> list[Target]:
    """`targets` in Python's own types.

    Parameters
    ----------
    shape
        The layer's, without the batch axis.

    Raises
    ------
    SettingsError
        The layer has no such channel, or another number of them than a direction.
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
    """The directions of a .npy file, (channels,) or (K, channels), called after the file.

    Raises
    ------
    SettingsError
        The file cannot be read, or holds something else.
    """
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SettingsError(f"cannot read directions from {path}: {error}") from error
    if not isinstance(rows, np.ndarray) or rows.ndim not in (1, 2) or rows.dtype.kind not in "iuf":
        raise SettingsError(
            f"{path} must hold one number a channel, or rows of them, as numpy.save writes them"
        )
    if rows.ndim == 1:
        return [Direction(tuple(rows), path.stem)]
    return [Direction(tuple(row), f"{path.stem}-{index}") for index, row in enumerate(rows)]


def check_units(units: Iterable[Any], shape: tuple[int, ...], layer: str) -> list[int]:
    """Single channels only; `SettingsError` where the layer has no such one."""
    channels = shape[0] if shape else 1
    return [_channel(unit, channels, layer) for unit in units]


def name_of(target: Target) -> UnitName:
    """What results are called: a unit's number, ``130+340`` for a sum, or a name.

    A direction's holds a digest of its numbers, so that another vector is another result, and so
    does that of a sum which is too long for a file's name: ``151+152+...+268-1f0a73bc``.
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
    """The number that each channel counts with, (channels,)."""
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

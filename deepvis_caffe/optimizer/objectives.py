"""What an ascent maximizes: ``values of a layer (N, C, ...) -> activation (N,), diff``.

For each image of a batch one target, which is what a user asks for:

=====================  =====================================================================
``130``                the activation of one channel
``(130, 340)``         the sum of several, for example of a group of classes
``Direction(v, name)`` ``v . channels``, for example the difference between two classes, or
                       the weights of a concept (Kim et al. 2018, "TCAV")
``"layer"``            half the squared norm of the whole layer: whatever it responds to
                       (Mordvintsev et al. 2015, "Inceptionism", known as DeepDream)
=====================  =====================================================================

and where in the channels' maps: at one position, or summed over the map. The diff is the gradient
of the activation with respect to the layer's values. `ObjectiveReader` evaluates it step after step
with as few channels as possible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import SettingsError

if TYPE_CHECKING:
    from deepvis_caffe.model.preprocess import Preprocessor

UnitName = int | str
LAYER: Literal["layer"] = "layer"


@dataclass(frozen=True)
class Direction:
    """A direction in the space of a layer's channels.

    Parameters
    ----------
    vector
        One number per channel, not all 0.
    name
        What results are called: letters, digits, ``_``, ``.`` and ``-``.
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
                f"a direction's name is made of letters, digits, '_', '.' and '-'; got "
                f"{self.name!r}"
            )
        if self.name == LAYER or self.name[0].isdigit():
            raise SettingsError(
                f"a direction's name starts with a letter, and is not {LAYER!r}; got {self.name!r}"
            )


LONGEST = 100  # characters in the name of a sum: it is part of a file name

Target = int | tuple[int, ...] | Direction | Literal["layer"]


def check_targets(targets: Iterable[Any], shape: tuple[int, ...], layer: str) -> list[Target]:
    """Check `targets` against a layer, and convert them to Python's own types.

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
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SettingsError(f"cannot read directions from {path}: {error}") from error
    if not isinstance(rows, np.ndarray) or rows.ndim not in (1, 2) or rows.dtype.kind not in "iuf":
        raise SettingsError(
            f"{path} must hold one number per channel, or rows of them, as numpy.save writes them"
        )
    if rows.ndim == 1:
        return [Direction(tuple(rows), path.stem)]
    return [Direction(tuple(row), f"{path.stem}-{index}") for index, row in enumerate(rows)]


def check_units(units: Iterable[Any], shape: tuple[int, ...], layer: str) -> list[int]:
    """Check single channels against a layer; `SettingsError` where it has no such channel."""
    channels = shape[0] if shape else 1
    return [_channel(unit, channels, layer) for unit in units]


def name_of(target: Target) -> UnitName:
    """What results are called: a unit's number, ``130+340`` for a sum, or a name.

    The name of a direction ends in a digest of its numbers, so that another vector is another
    result. So does that of a sum too long for a file name: ``151+152+...+268-1f0a73bc``.
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
    """The index into a channel's map that `position` means; None means all of it.

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
    """A position in Python's own types; `SettingsError` where it is not one."""
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


class Reading(NamedTuple):
    """An objective, evaluated for each image of a batch.

    `diff` is the engine's own array, the others are those of ``ops.for_numbers``.

    Attributes
    ----------
    activation
        (N,), the activation; of several units or a whole channel the sum.
    on_top
        (N,) bool, whether the highest of the channels that were read, at the same position, is the
        image's own or one of its group. False for directions and layers.
    diff
        (N, *shape), the gradient of ``sign * activation`` with respect to the values.
    highest
        (N,) int, which of the channels that were read is the highest; None for layers.
    """

    activation: Any
    on_top: Any
    diff: Any
    highest: Any


class Objective:
    """What is maximized in each image of a batch.

    Parameters
    ----------
    ops
        Operations of the engine's arrays.
    targets
        One for each image; see the top of this module. ``"layer"`` for all images or none.
    shape
        The layer's shape without the batch axis: (), (channels,) or (channels, height, width);
        any number of axes may follow the channels.
    where
        The position within a channel's map, one index per axis; None for the whole channel, whose
        activation is the sum over the map.
    sign
        1 to maximize, -1 to minimize.
    channels
        The channels that the values will hold; None for all of them.

    Attributes
    ----------
    channels
        As given.
    count
        How many channels the layer has.
    """

    def __init__(
        self,
        ops: ArrayOps,
        targets: Sequence[Target],
        shape: tuple[int, ...],
        where: tuple[int, ...] | None,
        sign: int = 1,
        channels: tuple[int, ...] | None = None,
    ) -> None:
        self._same = (ops, targets, shape, where, sign)
        self._shape, self._where, self._sign = shape, where, sign
        self._map_axes = tuple(range(2, 1 + len(shape)))
        self._ops, small = ops, ops.for_numbers
        self.channels = channels
        count, extent = (*shape, 1)[0], shape[1:]
        self.count = count
        if LAYER in targets:
            if any(target != LAYER for target in targets):
                raise SettingsError("whole layers and single units cannot be in one batch")
            mask = np.zeros((1, count, *extent), np.float32)
            mask[(slice(None), slice(None), *self._place(len(extent)))] = sign
            self._weights, self._diff = None, ops.asarray(mask)
            return
        weights = np.stack([weights_of(target, count) for target in targets])
        named = np.array([not isinstance(target, Direction) for target in targets])
        self._needed = frozenset(int(i) for i in np.flatnonzero(weights.any(axis=0)))
        if channels is not None:
            weights = weights[:, channels]
        self._rows = small.asarray(np.arange(len(targets)), np.int64)
        self._weights = small.asarray(weights)
        self._counts = small.asarray(weights != 0, np.bool_)
        self._members = small.asarray((weights != 0) & named[:, None], np.bool_)
        diff = np.zeros((*weights.shape, *extent), np.float32)
        place = (slice(None), slice(None), *self._place(len(extent)))
        diff[place] = sign * weights[(..., *(None,) * (diff[place].ndim - 2))]
        self._diff = ops.asarray(diff if shape else diff[:, 0])

    def __call__(self, values: Any) -> Reading:
        """Evaluate the objective.

        Parameters
        ----------
        values
            The layer's values, (N, *shape), of the objective's channels.
        """
        numbers, xp = self._ops.numbers, self._ops.for_numbers.xp
        if self._weights is None:
            diff = self._diff * values
            squares = numbers((diff * values).reshape(len(values), -1).sum(axis=1))
            activation = squares * (0.5 * self._sign)
            return Reading(activation, xp.zeros_like(activation) > 0, diff, None)
        values = values.reshape(len(values), 1) if values.ndim == 1 else values
        if self._where is not None:
            scores = numbers(values)[(slice(None), slice(None), *self._where)]
        else:
            scores = numbers(values.sum(axis=self._map_axes) if self._map_axes else values)
        # `where`, as a channel of weight 0 may be infinite.
        counted = xp.where(self._counts, scores * self._weights, 0)
        highest = scores.argmax(axis=1)
        return Reading(counted.sum(axis=1), self._members[self._rows, highest], self._diff, highest)

    def narrowed(self, others: Iterable[int] = ()) -> Objective:
        """The same objective on fewer channels: those that it maximizes, and some others.

        A whole layer, and values without a channel axis, cannot be narrowed: the objective itself.
        """
        if self._weights is None or not self._shape:
            return self
        return Objective(*self._same, tuple(sorted(self._needed.union(others))))

    def _place(self, axes: int) -> tuple[slice | int, ...]:
        return (slice(None),) * axes if self._where is None else self._where


LEADERS = 4  # compare with leaders only while at most a quarter of the channels is computed


class Differentiable(Protocol):
    """What an ascent needs of a net; see `Net` for each."""

    ops: ArrayOps

    @property
    def preprocessor(self) -> Preprocessor:
        """How pictures become the input, and back."""

    def saves_channels(self, name: str) -> bool:
        """Whether some channels of a layer cost less than all of them."""

    def evaluate(self, x: Any, name: str, channels: tuple[int, ...] | None = None) -> Any:
        """A layer's values for images."""

    def input_gradient(self, diff: Any, mode: str = "gradient") -> Any:
        """The diff of the images for one of those values."""


class ObjectiveReader:
    """Evaluates an objective step after step, computing as few channels as it needs.

    The objective itself needs only the channels it maximizes. To tell when a unit first becomes the
    highest of its layer takes every channel. But a unit below one other channel is not the highest,
    whatever the rest are: so, between two readings of all channels, each unit is compared only with
    those that led then. All are read again when a unit overtakes its leaders, and never again once
    every image has been on top. What is reported is exactly what all channels would say.

    On the convolutions of SqueezeNet an ascent is 1.4 to 1.6 times as fast for it.

    Parameters
    ----------
    net, layer
        As in `Net.evaluate`.
    objective
        What is maximized, with all channels.
    """

    def __init__(self, net: Differentiable, layer: str, objective: Objective) -> None:
        self._net, self._layer, self._whole = net, layer, objective
        saves = net.saves_channels(layer)
        self._compares_leaders = saves and net.ops.on_host
        self._part: Objective | None = None  # what is read instead of `_whole`
        self._done = not saves  # no further narrowing
        self._undecided: Any = None  # images (N,) that `_part` tells to be below a leader
        self._highest: Any = None  # (N,) channels, when all were last read
        self._leaders: set[int] = set()

    def __call__(self, x: Any) -> Reading:
        """Evaluate images (N, C, H, W); `on_top` is exact for images that never were on top.

        `Net.input_gradient` takes the reading's diff.
        """
        if self._part is not None:
            reading = self._read(x, self._part)
            if self._undecided is None or not bool((reading.on_top & self._undecided).any()):
                return reading._replace(on_top=reading.on_top & False)
            self._part = None  # until the next `narrow`: other units will overtake theirs soon
        reading = self._read(x, self._whole)
        self._highest = reading.highest
        return reading

    def narrow(self, undecided: Any) -> None:
        """Read fewer channels from now on, if possible; on a GPU this waits for the device.

        Parameters
        ----------
        undecided
            (N,) bool, the images that still run and never were on top.
        """
        if self._done:
            return
        if not bool(undecided.any()):
            self._done = True
            self._set_part(self._whole.narrowed(), None)
        elif self._part is not None:
            self._undecided = undecided
        elif self._compares_leaders and self._highest is not None:
            now = set(self._highest[undecided].tolist())
            # Earlier leaders stay as long as there is room: channels take turns in leading.
            for leaders in (self._leaders | now, now):
                part = self._whole.narrowed(leaders)
                if part.channels and LEADERS * len(part.channels) <= self._whole.count:
                    self._set_part(part, undecided)
                    self._leaders = leaders
                    break

    def _set_part(self, part: Objective, undecided: Any) -> None:
        self._part = None if part is self._whole else part
        self._undecided = undecided

    def _read(self, x: Any, objective: Objective) -> Reading:
        return objective(self._net.evaluate(x, self._layer, objective.channels))

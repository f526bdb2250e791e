"""Readers evaluate what an ascent maximizes: ``x -> activation, on top``, then the gradient.

`TargetReader`
    One target per image, all in one layer, with as few channels as possible.
`ObjectiveReader`
    The same `deepvis_caffe.optimizer.objective.Objective` for every image.
`NaturalReader`
    Either, with a gradient that also pulls towards the channel moments of photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.engines.rules import REDIRECTED
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.optimizer.channel_moments import (
    Departure,
    departure,
    moment_layers,
    photograph_values,
)
from deepvis_caffe.optimizer.relu_inputs import layers_below_relus
from deepvis_caffe.optimizer.targets import LAYER, Direction, Target, weights_of

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.model.preprocess import Preprocessor
    from deepvis_caffe.optimizer.objective import Evaluate


class Reader(Protocol):
    """What an ascent maximizes, evaluated for a batch of images."""

    def __call__(self, x: Any) -> tuple[Any, Any]:
        """Each image's activation (N,), and whether its unit is the highest of its layer (N,)."""

    def gradient(self) -> Any:
        """The gradient of ``sign * activation`` for the images of the last call.

        May be called once after each. The engine's own array, (N, C, H, W), valid until the next
        call.
        """

    def redirected_gradient(self, x: Any) -> Any:
        """As `gradient`, for images whose gradient was 0 in the last call.

        A ReLU that would block all of an image's gradient passes the part that would switch its
        units on; see `deepvis_caffe.engines.rules`. This evaluates the images again.
        """

    def narrow(self, undecided: Any) -> None:
        """Compute less from now on, if possible.

        Parameters
        ----------
        undecided
            A host array (N,) bool: the images that still run and were never on top.
        """


class Reading(NamedTuple):
    """Targets, evaluated for each image of a batch.

    `diff` is the engine's own array, the others are arrays of ``ops.for_numbers``.

    Attributes
    ----------
    activation
        (N,), the activation; for several units or a whole channel, the sum.
    on_top
        (N,) bool, whether the highest of the channels that were read, at the same position, is the
        image's own or one of its group. False for directions and layers.
    diff
        (N, *shape), the gradient of ``sign * activation`` with respect to the values.
    highest
        (N,) int, the highest of the channels that were read; None for layers.
    """

    activation: Any
    on_top: Any
    diff: Any
    highest: Any


class TargetBatch:
    """The targets of a batch: one per image, all in one layer.

    Parameters
    ----------
    ops
        Operations on the engine's arrays.
    targets
        One per image, from `deepvis_caffe.optimizer.targets`; ``"layer"`` for all images or none.
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
        Number of channels of the layer.
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
        """Evaluate the targets.

        Parameters
        ----------
        values
            The layer's values, (N, *shape), of `channels`.
        """
        numbers, xp = self._ops.numbers, self._ops.for_numbers.xp
        if self._weights is None:
            diff = self._diff * values
            squares = self._ops.sums(diff * values)
            activation = squares * (0.5 * self._sign)
            return Reading(activation, xp.zeros_like(activation) > 0, diff, None)
        values = values.reshape(len(values), 1) if values.ndim == 1 else values
        if self._where is not None:
            scores = numbers(values)[(slice(None), slice(None), *self._where)]
        else:
            scores = self._ops.sums(values, 2) if self._map_axes else numbers(values)
        # `where`, because a channel with weight 0 may be infinite.
        counted = xp.where(self._counts, scores * self._weights, 0)
        highest = scores.argmax(axis=1)
        return Reading(counted.sum(axis=1), self._members[self._rows, highest], self._diff, highest)

    def spread(self, values: Any) -> NDArray[np.float64]:
        """How much each target's activation varies over other images, (N,).

        That is its standard deviation if all channels varied independently and by the same amount,
        their root mean square.

        Parameters
        ----------
        values
            A host array, the layer's values for the other images, (M, *shape).
        """
        if self._weights is None:
            place = (slice(None), slice(None), *self._place(values.ndim - 2))
            squares = (values.reshape(len(values), -1, *values.shape[2:])[place] ** 2).reshape(
                len(values), -1
            )
            return np.full(1, squares.sum(axis=1).std() / 2)
        channels = values.reshape(len(values), max(1, self.count), -1)
        if self._where is None:  # the activation is the sum over the map
            variance = channels.sum(axis=2).var(axis=0).mean()
        else:
            variance = channels.var(axis=(0, 2)).mean()
        weights = self._ops.for_numbers.numpy(self._weights).astype(np.float64)
        spread: NDArray[np.float64] = np.sqrt(variance * (weights**2).sum(axis=1))
        return spread

    def narrowed(self, others: Iterable[int] = ()) -> TargetBatch:
        """The same targets on fewer channels: those that they maximize, and some others.

        For a whole layer, and for values without a channel axis, this is the batch itself. The
        result always has several channels: kernels for a single channel sum in a different order,
        so that an image would depend on the rest of its batch.
        """
        if self._weights is None or not self._shape:
            return self
        channels = self._needed.union(others)
        if len(channels) == 1 < self.count:
            (only,) = channels
            channels |= {(only + 1) % self.count}
        return TargetBatch(*self._same, tuple(sorted(channels)))

    def _place(self, axes: int) -> tuple[slice | int, ...]:
        return (slice(None),) * axes if self._where is None else self._where


LEADERS = 4  # compare with leaders only while at most a quarter of the channels is computed


class Differentiable(Protocol):
    """What an ascent needs of a net; see `Net` for each."""

    ops: ArrayOps

    @property
    def preprocessor(self) -> Preprocessor:
        """Converts pictures to the input and back."""

    def saves_channels(self, name: str) -> bool:
        """Whether some channels of a layer cost less than all of them."""

    def evaluate(self, x: Any, name: str, channels: tuple[int, ...] | None = None) -> Any:
        """A layer's values for images."""

    def input_gradient(self, diff: Any, mode: str = "gradient") -> Any:
        """The diff of the images for one of those values."""


class TargetReader:
    """Evaluates targets at each step, computing as few channels as possible.

    The targets themselves need only the channels that are maximized, but finding out when a unit
    first becomes the highest of its layer takes every channel. Yet a unit below any other channel
    is not the highest. So between two readings of all channels, each unit is compared only with the
    leaders of the last one. All are read again when a unit overtakes its leaders, and no longer
    once every image has been on top. The result is exactly that of reading all channels.

    For SqueezeNet's convolutions this makes an ascent 1.4 to 1.6 times as fast.

    Parameters
    ----------
    net, layer
        As in `Net.evaluate`.
    targets
        What is maximized, with all channels.
    """

    def __init__(self, net: Differentiable, layer: str, targets: TargetBatch) -> None:
        self._net, self._layer, self._whole = net, layer, targets
        saves = net.saves_channels(layer)
        self._compares_leaders = saves and net.ops.on_host
        self._part: TargetBatch | None = None  # read instead of `_whole`
        self._done = not saves  # no further narrowing
        self._undecided: Any = None  # images (N,) that `_part` shows to be below a leader
        self._highest: Any = None  # (N,) channels, when all were last read
        self._leaders: set[int] = set()
        self._diff: Any = None  # of the last call
        self._channels: tuple[int, ...] | None = None  # those that it read

    def __call__(self, x: Any) -> tuple[Any, Any]:
        """See `Reader`; `on_top` is exact for images whose unit was not on top before."""
        reading = self._reading(x)
        self._diff = reading.diff
        return reading.activation, reading.on_top

    def gradient(self) -> Any:
        """See `Reader`."""
        return self._net.input_gradient(self._diff)

    def redirected_gradient(self, x: Any) -> Any:
        """See `Reader`."""
        self._net.evaluate(x, self._layer, self._channels)
        return self._net.input_gradient(self._diff, REDIRECTED)

    def _reading(self, x: Any) -> Reading:
        if self._part is not None:
            reading = self._read(x, self._part)
            if self._undecided is None or not bool((reading.on_top & self._undecided).any()):
                return reading._replace(on_top=reading.on_top & False)
            self._part = None  # until the next `narrow`: others will follow soon
        reading = self._read(x, self._whole)
        self._highest = reading.highest
        return reading

    def narrow(self, undecided: Any) -> None:
        """See `Reader`: fewer channels are computed."""
        if self._done:
            return
        if not undecided.any():
            self._done = True
            self._set_part(self._whole.narrowed(), None)
        elif self._part is not None:
            self._undecided = undecided
        elif self._compares_leaders and self._highest is not None:
            now = set(self._highest[undecided].tolist())
            # Keep earlier leaders while there is room: the lead alternates between channels.
            for leaders in (self._leaders | now, now):
                part = self._whole.narrowed(leaders)
                if part.channels and LEADERS * len(part.channels) <= self._whole.count:
                    self._set_part(part, undecided)
                    self._leaders = leaders
                    break

    def _set_part(self, part: TargetBatch, undecided: Any) -> None:
        self._part = None if part is self._whole else part
        self._undecided = undecided

    def _read(self, x: Any, targets: TargetBatch) -> Reading:
        self._channels = targets.channels
        return targets(self._net.evaluate(x, self._layer, targets.channels))


class ObjectiveReader:
    """Evaluates one objective for every image; no unit is on top of anything.

    Parameters
    ----------
    net
        As in `Net.evaluate_layers`.
    layers
        The names that the objective reads.
    evaluate
        The objective, bound to the net.
    sign
        1 to maximize, -1 to minimize.
    """

    def __init__(self, net: Net, layers: Sequence[str], evaluate: Evaluate, sign: int = 1) -> None:
        self._net, self._layers, self._evaluate, self._sign = net, layers, evaluate, sign
        self._diffs: Mapping[str, Any] = {}

    def __call__(self, x: Any) -> tuple[Any, Any]:
        """See `Reader`."""
        activation, self._diffs = self._evaluate(self._net.evaluate_layers(x, self._layers))
        return activation, self._net.ops.for_numbers.xp.zeros_like(activation) > 0

    def gradient(self) -> Any:
        """See `Reader`."""
        return self._gradient("gradient")

    def redirected_gradient(self, x: Any) -> Any:
        """See `Reader`."""
        self._net.evaluate_layers(x, self._layers)
        return self._gradient(REDIRECTED)

    def _gradient(self, mode: str) -> Any:
        diffs = {name: self._sign * diff for name, diff in self._diffs.items()}
        return self._net.layers_gradient(diffs, mode)

    def narrow(self, undecided: Any) -> None:
        """See `Reader`: nothing, as everything that an objective reads is needed."""


Evaluated = tuple[Any, Any, dict[str, Any]]  # activation, on top, diffs by layer


class NaturalReader:
    """Evaluates targets or an objective, with a pull towards natural channel moments.

    The gradient is that of ``sign * activation - strength * spread * departure``: the departure
    from photographs (`deepvis_caffe.optimizer.channel_moments`) is weighted by the standard
    deviation of the activation over the same photographs, so that a strength means the same for
    every unit. Only the activation is reported. Behind a rectifier there is no pull while an
    image's activation is 0, so that the ascent notices the missing gradient.

    Parameters
    ----------
    net
        As in `Net.evaluate_layers`.
    layers
        The names that the targets or the objective read.
    evaluate
        Maps their values to the activation, whether it is on top, and diffs by layer.
    spread
        Maps these layers' values for photographs, on the host, to the standard deviation of the
        activation: one per image, or one for all.
    strength
        At least 0.
    """

    def __init__(
        self,
        net: Net,
        layers: Sequence[str],
        evaluate: Callable[[Mapping[str, Any]], Evaluated],
        spread: Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float64]],
        strength: float,
    ) -> None:
        self._net, self._layers, self._evaluate = net, tuple(layers), evaluate
        self._spread, self._strength = spread, strength
        self._natural = moment_layers(net, layers)
        self._names = tuple(dict.fromkeys((*self._layers, *self._natural)))
        self._rectified = any(layers_below_relus(net, name) for name in layers)
        self._pulls: dict[tuple[int, int], tuple[Any, Departure]] = {}  # by the images' size
        self._diffs: dict[str, Any] = {}

    def __call__(self, x: Any) -> tuple[Any, Any]:
        """See `Reader`."""
        factor, departs = self._pull(tuple(x.shape[2:]))
        values = self._net.evaluate_layers(x, self._names)
        activation, on_top, self._diffs = self._evaluate(values)
        if self._rectified:
            factor = factor * self._net.ops.xp.asarray(activation != 0)
        _, diffs = departs({name: values[name] for name in self._natural})
        for name, diff in diffs.items():
            diff = diff * factor[(slice(None), *(None,) * (diff.ndim - 1))]
            self._diffs[name] = self._diffs[name] - diff if name in self._diffs else -diff
        return activation, on_top

    def gradient(self) -> Any:
        """See `Reader`."""
        return self._net.layers_gradient(self._diffs)

    def redirected_gradient(self, x: Any) -> Any:
        """See `Reader`."""
        self._net.evaluate_layers(x, self._names)
        return self._net.layers_gradient(self._diffs, REDIRECTED)

    def narrow(self, undecided: Any) -> None:
        """See `Reader`: nothing, as everything that is read is needed."""

    def _pull(self, size: tuple[int, int]) -> tuple[Any, Departure]:
        """The factor of the departure's gradient, (N,) or (1,), and the departure."""
        if size not in self._pulls:
            found = photograph_values(self._net, self._natural, self._layers, size)
            factor = self._strength * self._spread(found.values)
            pull = self._net.ops.asarray(factor), departure(self._net.ops, found.moments)
            self._pulls[size] = pull
        return self._pulls[size]


def natural_targets(net: Net, layer: str, targets: TargetBatch, strength: float) -> NaturalReader:
    """A `NaturalReader` for targets in one layer."""

    def evaluate(values: Mapping[str, Any]) -> Evaluated:
        reading = targets(values[layer])
        return reading.activation, reading.on_top, {layer: reading.diff}

    return NaturalReader(
        net, (layer,), evaluate, lambda values: targets.spread(values[layer]), strength
    )


def natural_objective(
    net: Net,
    layers: Sequence[str],
    bound: Evaluate,
    sign: int,
    strength: float,
) -> NaturalReader:
    """A `NaturalReader` for an objective bound to the net."""
    ops = net.ops

    def evaluate(values: Mapping[str, Any]) -> Evaluated:
        activation, diffs = bound(values)
        on_top = ops.for_numbers.xp.zeros_like(activation) > 0
        return activation, on_top, {name: sign * diff for name, diff in diffs.items()}

    def spread(values: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        numbers, _ = bound({name: ops.asarray(of) for name, of in values.items()})
        return np.full(1, float(ops.for_numbers.numpy(numbers).std()))

    return NaturalReader(net, layers, evaluate, spread, strength)

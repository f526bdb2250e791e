"""Objectives: ``values of layers -> one number per image, and its gradient``.

An objective is a value that knows which layers it reads. Combine objectives with `+`, `-` and
factors::

    goal = unit("pool10", 130) + 0.5 * unit("fire5/concat", 12) - 0.1 * channel("conv1", 3)
    optimize(net, goal)

=====================  =====================================================================
`unit`                 a unit, or the sum of several, at a position or over its map
`channel`              the mean of a unit's map
`direction`            ``v . channels``
`cosine_direction`     the same, times the cosine of the angle to v
`layer`                half the squared norm of a layer (Mordvintsev et al. 2015, "Inceptionism",
                       known as DeepDream)
`log_probability`      the log softmax of a class
`match`                the values for another image: inversion (Mahendran and Vedaldi 2015,
                       "Understanding Deep Image Representations by Inverting Them")
`caricature`           exaggerates another image (Olah et al. 2017, "Feature Visualization")
`channel_moments`      channels with the moments of photographs (after Yin et al. 2020,
                       "Dreaming to Distill")
`diversity`            unlike the other images of the batch (Olah et al. 2017)
`function`             any function of torch tensors
`parse`                ``"pool10:130 + 0.5*fire5/concat:12"``
=====================  =====================================================================

All but `function` compute their own gradient, on numpy and torch. `function` uses autograd down to
the layers' values; from there the engine's own backward pass continues, so that it also works with
Caffe's layers.

A layer's values are those where backward passes start: below trailing in-place ReLUs; see
`deepvis_caffe.model.graph`. The input blob's name means the image itself.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepvis_caffe.errors import DeepVisError, EngineError, SettingsError
from deepvis_caffe.image import Floats, image_content
from deepvis_caffe.model.input_window import Box
from deepvis_caffe.model.picture_input import as_input
from deepvis_caffe.optimizer.channel_moments import departure, photograph_values
from deepvis_caffe.optimizer.frozen_array import FrozenArray
from deepvis_caffe.optimizer.objective import Evaluate, Objective, Origins, Values, is_number
from deepvis_caffe.optimizer.shapes import unit_shape
from deepvis_caffe.optimizer.targets import (
    LAYER,
    Direction,
    Position,
    Target,
    check_targets,
    check_units,
    numbered,
    plain_position,
    resolve_position,
    weights_of,
)
from deepvis_caffe.optimizer.value_records import record_of
from deepvis_caffe.resources import pip_install

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

Where = Position | Literal["mean"]

TINY = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class _OfLayer(Objective):
    """An objective that reads one layer."""

    name_of_layer: str

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.name_of_layer,)

    def block(self, net: Net, layer: str) -> Box | None:
        return None


@dataclass(frozen=True, eq=False, repr=False)
class _Placed(_OfLayer):
    """An objective that reads one layer, at one position or all of them."""

    position: Where

    def block(self, net: Net, layer: str) -> Box | None:
        index = _index(self.position, unit_shape(net, layer), layer)
        return (*index, *(one + 1 for one in index)) if index and len(index) == 2 else None  # type: ignore[return-value]

    def _places(self, net: Net, origins: Origins) -> tuple[slice | int, ...]:
        """The index into the values, after the image and channel axes, of what is read."""
        layer = self.name_of_layer
        shape = unit_shape(net, layer)
        index = _index(self.position, shape, layer)
        if index is None:
            return (slice(None),) * len(shape[1:])
        origin = origins.get(layer, (0,) * len(index))
        return tuple(at - first for at, first in zip(index, origin, strict=True))

    @property
    def _where(self) -> str | list[int]:
        """The position as JSON types."""
        return self.position if isinstance(self.position, str) else list(self.position)

    @property
    def _suffix(self) -> str:
        if self.position == "center":
            return ""
        at = self.position
        return f"@{at if isinstance(at, str) else ','.join(map(str, at))}"


def _index(position: Where, shape: tuple[int, ...], layer: str) -> tuple[int, ...] | None:
    return resolve_position("all" if position == "mean" else position, shape, layer)


def _plain_where(position: Where) -> Where:
    if isinstance(position, str) and position not in ("center", "all", "mean"):
        raise SettingsError(
            f"position must be 'center', 'all', 'mean', or whole numbers (y, x); got {position!r}"
        )
    return position if position == "mean" else plain_position(position)


@dataclass(frozen=True, eq=False, repr=False)
class _Linear(_Placed):
    """A weighted sum of a layer's channels: `unit`, `channel` and `direction`."""

    target: Any  # a `Target`, with labels in place of some numbers

    @property
    def plain(self) -> tuple[str, Target, Position] | None:
        if self.position == "mean":
            return None
        return self.name_of_layer, self.target, self.position

    def bind(self, net: Net, origins: Origins) -> Evaluate:
        layer, shape = self.name_of_layer, unit_shape(net, self.name_of_layer)
        (target,) = check_targets([numbered(net, layer, self.target)], shape, layer)
        weights = weights_of(target, (*shape, 1)[0])
        places = self._places(net, origins)
        if self.position == "mean":
            weights = weights / max(1, int(np.prod(shape[1:])))
        channels = [int(channel) for channel in np.flatnonzero(weights)]
        ops = net.ops
        factors = ops.for_numbers.asarray(weights[channels])
        index = ops.asarray(channels, np.int64)  # a list would be copied to the device each time
        kept: dict[tuple[int, ...], Any] = {}  # the diff depends only on the batch size

        def diff_for(size: tuple[int, ...]) -> Any:
            if size not in kept:
                diff = np.zeros((size[0], len(weights), *size[2:]), np.float32)
                for channel in channels:
                    diff[(slice(None), channel, *places)] = weights[channel]
                kept.clear()
                kept[size] = ops.asarray(diff.reshape(size))
            return kept[size]

        def evaluate(values: Values) -> tuple[Any, dict[str, Any]]:
            array = values[layer]
            rows = array if array.ndim > 1 else array.reshape(len(array), 1)
            read = rows[(slice(None), index, *places)].reshape(len(rows), len(channels), -1)
            activation = (ops.sums(read, 2) * factors).sum(axis=1)
            return activation, {layer: diff_for(tuple(array.shape))}

        return evaluate

    def record(self) -> dict[str, Any]:
        what: Any = self.target
        if isinstance(what, Direction):
            what = {"name": what.name, "vector": list(what.vector)}
        return {"layer": self.name_of_layer, "target": what, "position": self._where}

    def __str__(self) -> str:
        match self.target:
            case Direction(name=name):
                what = name
            case tuple(members):
                what = "+".join(map(str, members))
            case other:
                what = str(other)
        return f"{self.name_of_layer}:{what}{self._suffix}"


def unit(
    layer: str, unit: int | str | Sequence[int | str], position: Where = "center"
) -> Objective:
    """The activation of a unit, or the sum of several.

    Parameters
    ----------
    layer
        A layer's or blob's name.
    unit
        A channel or its label, or several.
    position
        Position in its map: ``"center"``, ``(y, x)``, ``"all"`` for the sum over the map, or
        ``"mean"``. For a layer without maps all of these words mean the same.
    """
    return _Linear(layer, _plain_where(position), _units(layer, unit))


def channel(layer: str, unit: int | str | Sequence[int | str]) -> Objective:
    """The mean of a unit's map, or of several units' sum: ``unit(layer, unit, "mean")``."""
    return _Linear(layer, "mean", _units(layer, unit))


def _units(layer: str, given: int | str | Sequence[int | str]) -> Any:
    several = isinstance(given, Iterable) and not isinstance(given, str)
    members = list(given) if several else [given]  # type: ignore[arg-type]
    if not members or not all(_is_unit(one) for one in members):
        raise SettingsError(
            f"unit must be a channel's number or label, or several; got {given!r} for layer "
            f"{layer!r}"
        )
    chosen = tuple(dict.fromkeys(map(_plain_unit, members)))
    return chosen if len(chosen) > 1 else chosen[0]


def _is_unit(one: object) -> bool:
    number = isinstance(one, (int, np.integer)) and not isinstance(one, bool)
    return number or (isinstance(one, str) and one != LAYER)


def _plain_unit(one: Any) -> int | str:
    return one if isinstance(one, str) else int(one)


def direction(
    layer: str, vector: ArrayLike, position: Where = "center", name: str = "direction"
) -> Objective:
    """``vector . channels``: a difference of classes, or the weights of a concept.

    Parameters
    ----------
    layer
        A layer's or blob's name.
    vector
        (channels,), not all 0.
    position
        As for `unit`.
    name
        The name for results.
    """
    numbers = np.asarray(vector, np.float64)
    if numbers.ndim != 1:
        raise SettingsError(
            f"a direction in layer {layer!r} is one number per channel; got an array of shape "
            f"{numbers.shape}"
        )
    return _Linear(layer, _plain_where(position), Direction(tuple(numbers), name))


@dataclass(frozen=True, eq=False, repr=False)
class _Aligned(_Placed):
    """``mean over positions of (u . v) * max(floor, cos(u, v)) ** power``, u a fixed vector.

    `cosine_direction` and `caricature`.
    """

    wanted: Callable[[Net], Floats] = field(repr=False)  # -> (C,) or (C, *map)
    power: float
    what: dict[str, Any]
    text: str

    FLOOR = 0.1  # of the cosine, so that the gradient does not vanish at 90 degrees and beyond

    def bind(self, net: Net, origins: Origins) -> Evaluate:
        layer, ops = self.name_of_layer, net.ops
        shape, places = unit_shape(net, layer), self._places(net, origins)
        wanted = self.wanted(net)
        if wanted.shape not in (shape, shape[:1]):
            raise SettingsError(
                f"layer {layer!r} takes a vector of {shape[0] if shape else 1} numbers, one per "
                f"channel, or values of shape {shape}; got shape {wanted.shape}"
            )
        u = wanted.reshape(1, wanted.shape[0] if wanted.shape else 1, -1)
        long = np.sqrt((u.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
        if not long.any():
            raise SettingsError(f"{self}: the target to align with is 0 everywhere")
        # A position where u is 0 has no direction and contributes nothing.
        unit_ = ops.asarray(np.where(long > 0, u / np.maximum(long, TINY), 0))
        size = ops.asarray(long)
        xp, power, floor = ops.xp, self.power, self.FLOOR

        def evaluate(values: Values) -> tuple[Any, dict[str, Any]]:
            array = values[layer]
            rows = array if array.ndim > 1 else array.reshape(len(array), 1)
            picked = rows[(slice(None), slice(None), *places)]
            v = picked.reshape(len(rows), rows.shape[1], -1)
            dot = (v * unit_).sum(axis=1)[:, None]  # (N, 1, P), with the unit vector
            norm = xp.sqrt((v * v).sum(axis=1))[:, None] + TINY
            cosine = dot / norm
            held = xp.clip(cosine, floor, None)
            factor = held**power
            scale = size / v.shape[2]
            activation = ops.sums(dot * factor * scale)
            # d(dot * cos^p) = cos^p u + p cos^p (u - cos v / |v|), unless the cosine is clamped
            free = (cosine > floor) * power
            slope = scale * factor * (unit_ + free * (unit_ - cosine * (v / norm)))
            diff = xp.zeros_like(rows)
            diff[(slice(None), slice(None), *places)] = slope.reshape(picked.shape)
            return activation, {layer: diff.reshape(array.shape)}

        return evaluate

    def record(self) -> dict[str, Any]:
        power = {"power": self.power, "position": self._where}
        return {"layer": self.name_of_layer, **self.what, **power}

    def __str__(self) -> str:
        return f"{self.text}{self._suffix}"


def cosine_direction(
    layer: str,
    vector: ArrayLike,
    position: Where = "mean",
    power: float = 1.0,
    name: str = "direction",
) -> Objective:
    """`direction` weighted by the cosine, so that the values also align with it.

    ``(u . v) * max(0.1, cos(u, v)) ** power`` at the position, or its mean over all positions; u is
    the vector, v the channels. With power 0 it equals `direction`.

    Parameters
    ----------
    layer, vector, name
        As for `direction`.
    position
        ``"mean"``, ``"center"`` or ``(y, x)``.
    power
        At least 0.
    """
    numbers = np.asarray(vector, np.float32)
    wanted = Direction(tuple(np.ravel(numbers)), name)  # checks it
    if numbers.ndim != 1:
        raise SettingsError(
            f"a direction in layer {layer!r} is one number per channel; got an array of shape "
            f"{numbers.shape}"
        )
    what = {"cosine_direction": {"name": name, "vector": list(wanted.vector)}}
    text = f"cosine({layer}:{name})"
    return _Aligned(layer, _mean_where(position), _Constant(numbers), _power(power), what, text)


def caricature(
    layer: str, image: NDArray[Any] | str | os.PathLike[str], power: float = 1.0
) -> Objective:
    """Exaggerate an image's values in a layer: `cosine_direction` towards them, by position.

    Parameters
    ----------
    layer
        A layer's or blob's name.
    image
        A file, a picture, or a preprocessed image, (C, H, W).
    power
        At least 0.
    """
    given = _Image(image, layer)
    what = {"caricature": given.digest}
    return _Aligned(layer, "mean", given, _power(power), what, f"caricature({layer})")


def _power(power: float) -> float:
    if not is_number(power) or not 0 <= power < np.inf:
        raise SettingsError(f"power must be a number of at least 0; got {power!r}")
    return float(power)


def _mean_where(position: Where) -> Where:
    if position == "all":
        raise SettingsError("position must be 'mean', 'center' or (y, x) here; got 'all'")
    return _plain_where(position)


class _Constant:
    """Numbers that do not depend on the net."""

    def __init__(self, numbers: Floats) -> None:
        self._numbers = numbers

    def __call__(self, net: Net) -> Floats:
        return self._numbers


class _Image:
    """The values of a layer for an image."""

    def __init__(self, image: NDArray[Any] | str | os.PathLike[str], layer: str) -> None:
        is_file = isinstance(image, (str, os.PathLike))
        self._image: Any = image if is_file else FrozenArray(image)
        self._layer = layer

    @property
    def digest(self) -> str:
        """A digest of the file or the array."""
        if isinstance(self._image, FrozenArray):
            return self._image.digest
        return hashlib.blake2b(image_content(self._image)[1], digest_size=16).hexdigest()

    def __call__(self, net: Net) -> Floats:
        image = self._image.array if isinstance(self._image, FrozenArray) else self._image
        x = as_input(net.preprocessor, image)[np.newaxis]
        found = net.evaluate_layers(net.ops.asarray(x), [self._layer])[self._layer]
        values: Floats = net.ops.numpy(found)[0]
        return values


@dataclass(frozen=True, eq=False, repr=False)
class _SquaredNorm(_Placed):
    """Half the squared norm of a layer."""

    @property
    def plain(self) -> tuple[str, Target, Position] | None:
        return None if self.position == "mean" else (self.name_of_layer, LAYER, self.position)

    def bind(self, net: Net, origins: Origins) -> Evaluate:
        layer, ops = self.name_of_layer, net.ops
        shape = unit_shape(net, layer)
        places = (..., *self._places(net, origins)) if shape else (...,)
        size = max(1, int(np.prod(shape[1:]))) if self.position == "mean" else 1

        def evaluate(values: Values) -> tuple[Any, dict[str, Any]]:
            array = values[layer]
            diff = ops.xp.zeros_like(array)
            diff[places] = array[places] / size
            return ops.sums(diff * array) / 2, {layer: diff}

        return evaluate

    def record(self) -> dict[str, Any]:
        return {"layer": self.name_of_layer, "target": LAYER, "position": self._where}

    def __str__(self) -> str:
        suffix = "" if self.position == "all" else self._suffix or "@center"
        return f"{self.name_of_layer}:{LAYER}{suffix}"


def layer(layer: str, position: Where = "all") -> Objective:
    """Half the squared norm of a layer: whatever it responds to (DeepDream).

    Parameters
    ----------
    layer
        A layer's or blob's name; the input's own name means the image.
    position
        ``"all"`` for the sum over all positions, ``"mean"``, ``"center"`` or ``(y, x)``.
    """
    return _SquaredNorm(layer, _plain_where(position))


@dataclass(frozen=True, eq=False, repr=False)
class _LogProbability(_Placed):
    """The log softmax of a unit over the channels."""

    unit: int | str

    def bind(self, net: Net, origins: Origins) -> Evaluate:
        layer, ops = self.name_of_layer, net.ops
        shape = unit_shape(net, layer)
        (unit_,) = check_units([numbered(net, layer, self.unit)], shape, layer)
        if not shape:
            raise SettingsError(
                f"layer {layer!r} has only one unit, so there is nothing to compare it with"
            )
        places, xp = self._places(net, origins), ops.xp

        def evaluate(values: Values) -> tuple[Any, dict[str, Any]]:
            array = values[layer]
            picked = array[(slice(None), slice(None), *places)]
            scores = picked.reshape(len(array), array.shape[1], -1)
            scores = scores - xp.amax(scores, axis=1)[:, None]
            powers = xp.exp(scores)
            total = powers.sum(axis=1)[:, None]
            numbers = (scores[:, unit_] - xp.log(total)[:, 0]).mean(axis=1)
            slope = -powers / total
            slope[:, unit_] += 1
            diff = xp.zeros_like(array)
            diff[(slice(None), slice(None), *places)] = (slope / scores.shape[2]).reshape(
                picked.shape
            )
            return ops.numbers(numbers), {layer: diff}

        return evaluate

    def record(self) -> dict[str, Any]:
        what = {"log_probability": self.unit, "position": self._where}
        return {"layer": self.name_of_layer, **what}

    def __str__(self) -> str:
        return f"log_probability({self.name_of_layer}:{self.unit}{self._suffix})"


def log_probability(layer: str, unit: int | str, position: Where = "center") -> Objective:
    """A class's log probability: ``log softmax`` of the logits over channels.

    It also rises when the other classes' logits fall, so that an image shows what distinguishes the
    class from others.

    Parameters
    ----------
    layer
        The logits, below a net's softmax.
    unit
        The class, or its label.
    position
        For a layer with maps: ``"center"``, ``(y, x)``, or the ``"mean"`` over all positions.
    """
    if not _is_unit(unit):
        raise SettingsError(
            f"unit must be a channel's number or label; got {unit!r} for layer {layer!r}"
        )
    return _LogProbability(layer, _mean_where(position), _plain_unit(unit))


@dataclass(frozen=True, eq=False, repr=False)
class _Match(_OfLayer):
    """``-|v - v0|^2 / |v0|^2``, v0 the values of an image."""

    image: _Image

    def bind(self, net: Net, origins: Origins) -> Evaluate:
        layer, ops = self.name_of_layer, net.ops
        unit_shape(net, layer)
        wanted = self.image(net)
        size = float((wanted.astype(np.float64) ** 2).sum())
        if not size:
            raise SettingsError(f"{self}: the layer is 0 everywhere for that image")
        target = ops.asarray(wanted)[None]

        def evaluate(values: Values) -> tuple[Any, dict[str, Any]]:
            away = values[layer] - target
            return ops.sums(away * away) / -size, {layer: away * (-2 / size)}

        return evaluate

    def record(self) -> dict[str, Any]:
        return {"layer": self.name_of_layer, "match": self.image.digest}

    def __str__(self) -> str:
        return f"match({self.name_of_layer})"


def match(layer: str, image: NDArray[Any] | str | os.PathLike[str]) -> Objective:
    """Match a layer's values for an image: ``-|v - v0|^2 / |v0|^2``, 0 if they are equal.

    Inversion (Mahendran and Vedaldi 2015): shows what the layer has kept of the image.

    Parameters
    ----------
    layer
        A layer's or blob's name.
    image
        A file, a picture, or a preprocessed image, (C, H, W).
    """
    return _Match(layer, _Image(image, layer))


@dataclass(frozen=True, eq=False, repr=False)
class _ChannelMoments(Objective):
    """Minus the departure from the channel moments of photographs."""

    names: tuple[str, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        return self.names

    def block(self, net: Net, layer: str) -> Box | None:
        return None

    def bind(self, net: Net, origins: Origins) -> Evaluate:
        for name in self.names:
            shape = unit_shape(net, name)
            if len(shape) < 2:
                raise SettingsError(
                    f"layer {name!r} has no feature maps whose moments could be compared: got "
                    f"shape {shape}, expected (channels, height, width)"
                )
        departs = departure(net.ops, photograph_values(net, self.names).moments)

        def evaluate(values: Values) -> tuple[Any, dict[str, Any]]:
            numbers, diffs = departs(values)
            return -numbers, {name: -diff for name, diff in diffs.items()}

        return evaluate

    def record(self) -> dict[str, Any]:
        return {"channel_moments": list(self.names)}

    def __str__(self) -> str:
        return f"channel_moments({', '.join(self.names)})"


def channel_moments(*layers: str) -> Objective:
    """Match the channels' means and standard deviations over their maps to those of photographs.

    The negative mean, over layers and channels, of their squared distances from those of
    photographs, in standard deviations; see `deepvis_caffe.optimizer.channel_moments`. Added to an
    objective with a factor, it keeps the image natural. The parameter ``naturalness`` of an ascent
    adds it with suitable layers and factor.

    Parameters
    ----------
    *layers
        Names of layers with maps.
    """
    if not layers or not all(isinstance(name, str) for name in layers):
        raise SettingsError(
            "name the layers whose moments are compared: channel_moments('conv1', 'conv3'); got "
            f"{', '.join(map(repr, layers)) or 'none'}"
        )
    return _ChannelMoments(tuple(dict.fromkeys(layers)))


@dataclass(frozen=True, eq=False, repr=False)
class _Diversity(_OfLayer):
    """Minus the mean cosine similarity of Gram matrices with the other images of the batch."""

    @property
    def compares_images(self) -> bool:
        return True

    def bind(self, net: Net, origins: Origins) -> Evaluate:
        layer, ops = self.name_of_layer, net.ops
        shape, xp = unit_shape(net, layer), net.ops.xp
        if net.why_mixed(layer, start=True):
            raise SettingsError(
                f"{self} compares the images of a batch, so it cannot be used with this net, whose "
                "outputs depend on the rest of the batch"
            )

        def evaluate(values: Values) -> tuple[Any, dict[str, Any]]:
            array = values[layer]
            count = len(array)
            if count == 1:
                return ops.numbers(array.reshape(1, -1).sum(axis=1) * 0), {
                    layer: xp.zeros_like(array)
                }
            f = array.reshape(count, shape[0] if shape else 1, -1)
            gram = f @ f.swapaxes(1, 2)
            flat = gram.reshape(count, -1)
            norm = xp.sqrt((flat * flat).sum(axis=1))[:, None] + TINY
            unit_ = flat / norm
            others = unit_.sum(axis=0)[None] - unit_
            alike = (unit_ * others).sum(axis=1) / (count - 1)
            # Each pair counts twice in the sum over images, hence the factor 2.
            slope = (-2 / (count - 1)) * (others - (unit_ * others).sum(axis=1)[:, None] * unit_)
            diff = 2 * ((slope / norm).reshape(gram.shape) @ f)
            return ops.numbers(-alike), {layer: diff.reshape(array.shape)}

        return evaluate

    def record(self) -> dict[str, Any]:
        return {"layer": self.name_of_layer, "diversity": True}

    def __str__(self) -> str:
        return f"diversity({self.name_of_layer})"


def diversity(layer: str) -> Objective:
    """The negative mean similarity to the other images of the batch, from -1 to 0.

    The similarity of two images is the cosine between the layer's Gram matrices, which tell which
    channels are active together, regardless of where (Olah et al. 2017). Add it, with a factor, to
    an objective that runs for several seeds; these then stay in one batch.
    """
    return _Diversity(layer)


@dataclass(frozen=True, eq=False, repr=False)
class _Function(Objective):
    """Any function of torch tensors."""

    function: Callable[..., Any]
    names: tuple[str, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.names))

    def block(self, net: Net, layer: str) -> Box | None:
        return None

    def bind(self, net: Net, origins: Origins) -> Evaluate:
        try:
            import torch
        except ModuleNotFoundError as error:
            raise EngineError(
                f"{self} needs PyTorch for its gradient: {pip_install('torch')}"
            ) from error
        ops, on_torch = net.ops, net.ops.xp.__name__ == "torch"
        for name in self.names:
            net.check_gradient(name)

        def evaluate(values: Values) -> tuple[Any, dict[str, Any]]:
            leaves = {
                name: (values[name] if on_torch else torch.from_numpy(np.array(values[name])))
                .detach()
                .requires_grad_()
                for name in self.layers
            }
            count = len(next(iter(leaves.values())))
            with torch.enable_grad():
                numbers = self.function(*(leaves[name] for name in self.names))
                self._check(numbers, count)
                found = torch.autograd.grad(numbers.sum(), list(leaves.values()), allow_unused=True)
            diffs = {
                name: torch.zeros_like(leaf) if diff is None else diff
                for (name, leaf), diff in zip(leaves.items(), found, strict=True)
            }
            numbers = numbers.detach().float()
            if not on_torch:
                return numbers.numpy(), {name: diff.numpy() for name, diff in diffs.items()}
            return ops.numbers(numbers), diffs

        return evaluate

    def _check(self, numbers: Any, count: int) -> None:
        import torch

        if not isinstance(numbers, torch.Tensor):
            raise SettingsError(
                f"{self} must return a tensor of one number per image; got {type(numbers).__name__}"
            )
        if tuple(numbers.shape) != (count,):
            raise SettingsError(
                f"{self} must return one number per image, a tensor of shape ({count},); got "
                f"shape {tuple(numbers.shape)}"
            )
        if not numbers.requires_grad:
            raise SettingsError(
                f"{self} has no gradient: its result does not depend on the layers' values, or was "
                "detached from them"
            )

    def record(self) -> dict[str, Any]:
        return {"layers": list(self.names), "function": record_of(self.function)}

    def __str__(self) -> str:
        called = getattr(self.function, "__name__", type(self.function).__name__)
        return f"{'function' if called == '<lambda>' else called}({', '.join(self.names)})"


def function(function: Callable[..., Any], *layers: str) -> Objective:
    r"""Any function of torch tensors.

    Parameters
    ----------
    function
        ``function(values, ...) -> (N,)``: takes the values (N, \*shape) of each of `layers` and
        returns one number per image. Autograd differentiates it.
    *layers
        The names of the layers or blobs that it reads.
    """
    if not callable(function):
        raise SettingsError(f"function must be a function of torch tensors; got {function!r}")
    if not layers or not all(isinstance(name, str) for name in layers):
        raise SettingsError(
            "name the layers that the function reads: function(f, 'conv5', 'fc8'); got "
            f"{', '.join(map(repr, layers)) or 'none'}"
        )
    return _Function(function, layers)


# -- as text -------------------------------------------------------------------------------------

_FACTOR = re.compile(r"\s*([+-]?)\s*(?:((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*\*\s*)?", re.I)
_UNIT = r"(?:\d+|[^\W\d_][^:@+]*)"  # a number or a name
_UNITS = re.compile(rf"{_UNIT}(?:\+{_UNIT})*")
_POSITION = re.compile(r"center|all|mean|\d+(?:,\d+)*")


def parse(text: str) -> Objective:
    """An objective written as text: ``"pool10:130 + 0.5*fire5/concat:12"``.

    Terms are separated by `` + `` or `` - ``, with a space on each side. Each is a layer's name, a
    colon, and a unit's number or label, units as ``130+340``, or ``layer``; then, for another
    position than the center, ``@`` and ``all``, ``mean`` or ``y,x``. A number and ``*`` in front is
    its factor.

    Raises
    ------
    SettingsError
        The text has another syntax.
    """
    pieces = re.split(r"\s+([+-])\s+", text.strip())
    total: Objective | None = None
    for sign, piece in zip(["+", *pieces[1::2]], pieces[::2], strict=True):
        found = _FACTOR.match(piece)
        assert found is not None  # it matches the empty text
        factor = float(found[2] or 1) * (-1 if found[1] == "-" else 1) * (-1 if sign == "-" else 1)
        term = (
            factor * _parse_term(piece[found.end() :], text)
            if factor != 1
            else _parse_term(piece[found.end() :], text)
        )
        total = term if total is None else total + term
    assert total is not None
    return total


def objective_in(net: Net, text: str) -> Objective | None:
    """The objective that a text describes; None if it is a layer's name.

    Raises
    ------
    SettingsError
        It has a colon, is not a layer's name, and does not have `parse`'s syntax.
    """
    try:
        net.model.graph.activation(text)
    except DeepVisError:  # there is no such layer
        return parse(text) if ":" in text else None
    return None


def _parse_term(term: str, text: str) -> Objective:
    name, _, what = term.rpartition(":")
    what, at, position = what.partition("@")
    without_spaces = re.search(r":\d+\s*[+-]", name)  # between two terms
    fits = name and (what == LAYER or _UNITS.fullmatch(what)) and not without_spaces
    if not fits or (at and not _POSITION.fullmatch(position)):
        raise SettingsError(
            f"cannot read {term!r} in the objective {text!r}: each term is written LAYER:UNIT, for "
            "example 'pool10:130', 'pool10:tabby', 'conv1:3@mean', 'conv5:7+12@4,5' or "
            "'conv5:layer', with a factor as in '0.5*pool10:130', and a space on each side of + "
            "and -"
        )
    where: Any = position
    if at and position[0].isdigit():
        where = tuple(map(int, position.split(",")))
    if what == LAYER:
        return layer(name, where or "all")
    units = tuple(int(one) if one.isdecimal() else one.strip() for one in what.split("+"))
    return unit(name, units, where or "center")

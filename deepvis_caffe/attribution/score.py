"""The score that is attributed: ``images (N, C, H, W) -> one number per image``, with gradient.

The score of a unit is linear in the unit's map, with weights that are set once, for the image in
question, and then stay constant:

- at one position, it is the value there;
- for the whole map (position "all"), it is the sum of its values, each weighted by the unit's
  activation there. Its gradient is the backward pass of the Deep Visualization Toolbox, which
  starts from the unit's own activations;
- for a unit with a single value, such as a class, it is that value.

The values are those where backward passes start, below in-place ReLUs; see
`deepvis_caffe.model.graph`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.out_of_memory import in_batches
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.image import Floats
from deepvis_caffe.optimizer.shapes import unit_shape
from deepvis_caffe.optimizer.targets import Position, check_units, resolve_position

if TYPE_CHECKING:
    Numbers = NDArray[np.float64]

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Score:
    """A unit's score, for any images of one size.

    Attributes
    ----------
    net, layer, unit
        The net, a layer's or blob's name, and a channel of it.
    weights
        The weight of each value of the unit's map; () for a layer with one number per image.
    activation
        The activation for the image that the weights are from: the largest on the map, or that at
        the position.
    has_channels
        Whether the layer has more than one number per image.
    between
        Called between batches of passes, while the net is free for other work. An exception that it
        raises ends the attribution.
    """

    net: Net
    layer: str
    unit: int
    weights: Floats
    activation: float
    has_channels: bool
    between: Callable[[], None] = field(default=lambda: None, repr=False)

    @classmethod
    def of(cls, net: Net, x: Floats, layer: str, unit: int | str, position: Position) -> Score:
        """The score of a unit for an image.

        Parameters
        ----------
        x
            (1, C, H, W), the net's input.
        layer, unit, position
            As for `deepvis_caffe.attribution.attribute`.

        Raises
        ------
        SettingsError
            The layer has no such unit or position.
        EngineError, ModelError
            The layer cannot run, or has no units.
        UnknownNameError
            The net has no such layer or blob.
        """
        unit = net.unit(layer, unit) if isinstance(unit, str) else unit
        check_units([unit], unit_shape(net, layer), layer)
        name = net.model.graph.activation_name(layer)
        values = net.forward({net.image_input(): x, **net.other_inputs(x)}, [name])[name]
        return cls.of_values(net, values, layer, unit, position)

    @classmethod
    def of_values(
        cls, net: Net, values: Floats, layer: str, unit: int, position: Position = "all"
    ) -> Score:
        """The score of a unit for an image whose activations are known.

        Parameters
        ----------
        values
            (1, *shape), the layer's activations.
        layer, unit, position
            As for `of`.

        Raises
        ------
        SettingsError
            The layer has no such unit or position.
        """
        shape = values.shape[1:]
        (unit,) = check_units([unit], shape, layer)
        index = resolve_position(position, shape, layer)
        own = values[0, unit] if shape else values[0]
        weights = own
        if own.size == 1:
            weights = np.ones_like(own)
        elif index is not None:
            weights = np.zeros_like(own)
            weights[index] = 1
        activation = own.max() if index is None else own[index]
        return cls(net, layer, unit, weights, float(activation), bool(shape))

    def __call__(self, images: Floats) -> Numbers:
        """The scores (N,) of images (N, C, H, W)."""
        values = self.net.ops.numpy(self._evaluated(images))
        return (values * self._diff).reshape(len(images), -1).sum(axis=1, dtype=np.float64)

    def gradients(self, images: Floats, mode: str = "gradient") -> Floats:
        """The gradient of each image's score, (N, C, H, W), in a backward mode."""
        values = self._evaluated(images)
        diff = self.net.ops.asarray(np.broadcast_to(self._diff, tuple(values.shape)))
        found: Floats = self.net.ops.numpy(self.net.input_gradient(diff, mode))
        return found

    def diff(self, shape: tuple[int, ...]) -> Floats:
        """The weights as a diff of the whole layer, whose value has the given shape."""
        diff = np.zeros(shape, np.float32)
        diff[(slice(None), self.unit) if self.has_channels else ...] = self.weights
        return diff

    def in_batches(
        self, count: int, batch_size: int, run: Callable[[slice], Result]
    ) -> Iterator[tuple[slice, Result]]:
        """Run `count` images in batches; one by one if the net mixes the images of a batch.

        Parameters
        ----------
        count, batch_size
            Number of images, and how many run at a time; fewer once memory runs out.
        run
            ``run(part)`` runs some of them.

        Yields
        ------
        tuple of slice and Result
            Each batch, and what `run` returned for it.

        Raises
        ------
        SettingsError
            `batch_size` is less than 1.
        OutOfMemoryError
            Not even one image fits.
        """
        size = min(whole_number("batch_size", batch_size), max(1, count))
        if size > 1 and self.net.why_mixed(self.layer, start=True):
            size = 1

        def of_some(some: Sequence[int], most: int) -> tuple[slice, Result]:
            if some[0]:
                self.between()
            part = slice(some[0], some[-1] + 1)
            return part, run(part)

        return in_batches(self.net, f"layer {self.layer!r}", range(count), of_some, size)

    def _evaluated(self, images: Floats) -> Any:
        channels = (self.unit,) if self.has_channels else None
        return self.net.evaluate(self.net.ops.asarray(images), self.layer, channels)

    @property
    def _diff(self) -> Floats:
        """The weights as a diff of the unit alone, (1, 1, ...)."""
        return self.weights[np.newaxis, np.newaxis] if self.has_channels else self.weights[None]


def whole_number(name: str, value: int, least: int = 1) -> int:
    """`value` if it is an integer of at least `least`; raises `SettingsError` otherwise."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least:
        raise SettingsError(f"{name} must be a whole number of at least {least}; got {value!r}")
    return int(value)


def positive_number(name: str, value: float) -> float:
    """`value` if it is a finite number above 0; raises `SettingsError` otherwise."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 0 < value < np.inf:
        raise SettingsError(f"{name} must be a number above 0; got {value!r}")
    return float(value)

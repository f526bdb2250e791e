"""Learning rates: ``slope -> lr``, one rate an image.

`Constant`, `Progress` and `Progress01` are the Deep Visualization Toolbox's policies, in its units.
`GrayLevels` is the default: it needs no tuning to the net or the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, Protocol

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import SettingsError


@dataclass(frozen=True, eq=False)
class Slope:
    """What a rate may look at: one step's gradient and activation, of each image.

    Attributes
    ----------
    gradient
        (N, C, H, W), the gradient of ``push * activation``.
    direction
        (N, C, H, W), where the step goes: the gradient, or what a preconditioner made of it.
    steepest
        (N,), the largest magnitude in `direction`; like `activation` of ``ops.for_numbers``.
    activation
        (N,).
    pixel_scale
        How far one 8-bit gray level moves the input.
    ops
        Operations of the engine's arrays.
    """

    gradient: Any
    direction: Any
    steepest: Any
    activation: Any
    pixel_scale: float
    ops: ArrayOps

    @property
    def xp(self) -> ModuleType:
        """The namespace of numbers, and of rates."""
        return self.ops.for_numbers.xp

    @cached_property
    def square(self) -> Any:
        """(N,) float64, the squared norm of `direction`; worked out where a rate asks for it.

        The direction is divided by its maximum before it is squared: a saturated softmax has
        gradients of 1e-30, whose squares float32 cannot hold.
        """
        xp = self.xp
        scale = self.ops.xp.asarray(xp.where(self.steepest > 0, self.steepest, 1))
        unit = self.direction / scale[:, None, None, None]
        square = self.ops.numbers((unit * unit).sum(axis=(1, 2, 3)))
        square = xp.asarray(square, dtype=xp.float64)
        steepest = xp.asarray(self.steepest, dtype=xp.float64)
        return steepest * steepest * square


class Rate(Protocol):
    """Anything that maps a :class:`Slope` to learning rates: ``x += rate(slope) * direction``."""

    def __call__(self, slope: Slope) -> Any:
        """The learning rates, (N,) float64."""


@dataclass(frozen=True)
class Constant:
    """The same `lr` at every step."""

    lr: float

    def __post_init__(self) -> None:
        _expect_positive(self, lr=self.lr)

    def __call__(self, slope: Slope) -> Any:
        """The learning rates, (N,)."""
        return slope.xp.full_like(slope.steepest, self.lr, dtype=slope.xp.float64)


@dataclass(frozen=True)
class Progress:
    """``min(max_lr, desired / |g|^2)``: to first order the activation rises by `desired` a step."""

    max_lr: float
    desired: float

    def __post_init__(self) -> None:
        _expect_positive(self, max_lr=self.max_lr, desired=self.desired)

    def __call__(self, slope: Slope) -> Any:
        """The learning rates, (N,)."""
        return (self.desired / slope.square).clip(max=self.max_lr)


@dataclass(frozen=True)
class Progress01:
    """``min(max_lr, min(early, late * (1 - a)) / |g|^2)``, for units that live in [0, 1].

    The desired progress tapers off as the activation a comes near 1; beyond 1 it is negative.
    """

    max_lr: float
    early: float
    late: float

    def __post_init__(self) -> None:
        _expect_positive(self, max_lr=self.max_lr, early=self.early, late=self.late)

    def __call__(self, slope: Slope) -> Any:
        """The learning rates, (N,)."""
        activation = slope.xp.asarray(slope.activation, dtype=slope.xp.float64)
        desired = (self.late * (1 - activation)).clip(max=self.early)
        return (desired / slope.square).clip(max=self.max_lr)


@dataclass(frozen=True)
class GrayLevels:
    """A step of `levels` gray levels of 255, whatever the net: ``levels * scale / rms(g)``.

    How long a gradient is says how the net is scaled, not how far to step: an average pool divides
    it by its area, a saturated softmax by millions, a deep convolution multiplies it. So the step
    is fixed where people see it, in the picture: its root mean square over the values that the unit
    sees at all (those with a gradient, or else a unit with a small receptive field would leap).
    Every image takes its own rate at every step; Mordvintsev et al. 2015 normalize gradients too.
    Blur and decay then set the contrast that is reached: on SqueezeNet with preset 3, 1 level
    leaves classes faint, 4 shows them plainly within 300 steps, at ``pool10``, ``prob`` and
    convolutions alike, and 8 covers them with fine noise.
    """

    levels: float = 4.0

    def __post_init__(self) -> None:
        _expect_positive(self, levels=self.levels)

    def __call__(self, slope: Slope) -> Any:
        """The learning rates, (N,)."""
        seen = slope.ops.numbers((slope.gradient != 0).sum(axis=(1, 2, 3)))
        return self.levels * slope.pixel_scale * slope.xp.sqrt(seen / slope.square)


def _expect_positive(rate: Any, **values: float) -> None:
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise SettingsError(
                f"{name} of {type(rate).__name__} must be a positive number; got {value!r}"
            )

"""Learning rates: ``gradient info -> rate (N,)``, one rate per image.

At each step ``x += rate * direction``. With activation a and direction g:

=================  ===========================================================  =================
`Constant`         ``lr``                                                       the toolbox's
`Progress`         ``min(max_lr, desired / |g|^2)``                             the toolbox's
`Progress01`       ``min(max_lr, min(early, late * (1 - a)) / |g|^2)``          the toolbox's
`GrayLevels`       ``levels * pixel_scale / rms(g)``                            ours, the default
`FallingLevels`    the same, times ``1 - t / steps``                            ours
=================  ===========================================================  =================

The toolbox is the Deep Visualization Toolbox of Yosinski et al. 2015; its rates have its units.
`GrayLevels` needs no tuning to the net or the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, Protocol

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import SettingsError


@dataclass(frozen=True, eq=False)
class GradientInfo:
    """The gradient and activation of each image at one step, for a rate.

    Attributes
    ----------
    gradient
        (N, C, H, W), the gradient of ``sign * activation``.
    direction
        (N, C, H, W), the direction of the step: the gradient after preconditioning.
    largest
        (N,), the largest magnitude in `direction`; like `activation` an array of
        ``ops.for_numbers``.
    activation
        (N,).
    pixel_scale
        The change of the input for one 8-bit gray level.
    ops
        Operations on the engine's arrays.
    progress
        The fraction of steps done, in [0, 1).
    """

    gradient: Any
    direction: Any
    largest: Any
    activation: Any
    pixel_scale: float
    ops: ArrayOps
    progress: float = 0.0

    @property
    def xp(self) -> ModuleType:
        """The namespace of `largest` and `activation`, and of rates."""
        return self.ops.for_numbers.xp

    @cached_property
    def square(self) -> Any:
        """(N,) float64, the squared norm of `direction`, computed on demand.

        The direction is divided by its maximum before squaring: gradients of a saturated softmax
        are around 1e-30, and their squares would underflow in float32.
        """
        xp = self.xp
        scale = self.ops.xp.asarray(xp.where(self.largest > 0, self.largest, 1))
        unit = self.direction / scale[:, None, None, None]
        square = xp.asarray(self.ops.sums(unit * unit), dtype=xp.float64)
        largest = xp.asarray(self.largest, dtype=xp.float64)
        return largest * largest * square


class Rate(Protocol):
    """Anything that maps a `GradientInfo` to learning rates: ``x += rate(info) * direction``."""

    def __call__(self, info: GradientInfo) -> Any:
        """The learning rates, (N,) float64."""


@dataclass(frozen=True)
class Constant:
    """The same `lr` at every step."""

    lr: float

    def __post_init__(self) -> None:
        _expect_positive(self, lr=self.lr)

    def __call__(self, info: GradientInfo) -> Any:
        """The learning rates, (N,)."""
        return info.xp.full_like(info.largest, self.lr, dtype=info.xp.float64)


@dataclass(frozen=True)
class Progress:
    """``min(max_lr, desired / |g|^2)``: to first order the activation gains `desired` per step."""

    max_lr: float
    desired: float

    def __post_init__(self) -> None:
        _expect_positive(self, max_lr=self.max_lr, desired=self.desired)

    def __call__(self, info: GradientInfo) -> Any:
        """The learning rates, (N,)."""
        return (self.desired / info.square).clip(max=self.max_lr)


@dataclass(frozen=True)
class Progress01:
    """``min(max_lr, min(early, late * (1 - a)) / |g|^2)``, for activations a in [0, 1].

    The desired progress shrinks as a approaches 1; beyond 1 it is negative.
    """

    max_lr: float
    early: float
    late: float

    def __post_init__(self) -> None:
        _expect_positive(self, max_lr=self.max_lr, early=self.early, late=self.late)

    def __call__(self, info: GradientInfo) -> Any:
        """The learning rates, (N,)."""
        activation = info.xp.asarray(info.activation, dtype=info.xp.float64)
        desired = (self.late * (1 - activation)).clip(max=self.early)
        return (desired / info.square).clip(max=self.max_lr)


@dataclass(frozen=True)
class GrayLevels:
    """A step of `levels` gray levels of 255 in every net and layer: ``levels * scale / rms(g)``.

    The magnitude of a gradient depends on the net's scaling: average pooling divides it by its
    area, a saturated softmax by millions, and deep convolutions multiply it. So the step has a
    fixed size in the image instead: its root mean square over the values that the unit sees, which
    are those with a nonzero gradient. (Over the whole image, a unit with a small receptive field
    would take too large a step.) Each image has its own rate at each step. Mordvintsev et al. 2015
    normalize gradients similarly.

    Blur and decay then determine the contrast. On SqueezeNet with preset 3, 1 level leaves classes
    faint; 4 levels show them clearly within 300 steps, at ``pool10``, ``prob`` and convolutions
    alike; 8 levels cover them with fine noise.
    """

    levels: float = 4.0

    def __post_init__(self) -> None:
        _expect_positive(self, levels=self.levels)

    def __call__(self, info: GradientInfo) -> Any:
        """The learning rates, (N,)."""
        seen = info.ops.numbers((info.gradient != 0).sum(axis=(1, 2, 3)))
        return self.levels * info.pixel_scale * info.xp.sqrt(seen / info.square)


@dataclass(frozen=True)
class FallingLevels(GrayLevels):
    """`GrayLevels` that decreases linearly from `levels` towards 0 at the end of the run.

    Long steps find the coarse structure. With random transforms they also leave noise, which the
    short steps at the end remove.
    """

    def __call__(self, info: GradientInfo) -> Any:
        """The learning rates, (N,)."""
        return (1 - info.progress) * super().__call__(info)


def _expect_positive(rate: Any, **values: float) -> None:
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise SettingsError(
                f"{name} of {type(rate).__name__} must be a positive number; got {value!r}"
            )

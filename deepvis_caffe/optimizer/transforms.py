"""Transforms: ``(x, t) -> seen, adjoint``, applied to an image before the net sees it at step t.

Mordvintsev et al. 2015 ("Inceptionism") jitter the image before each step; Olah et al. 2017
("Feature Visualization") also scale and rotate it. Structure that depends on single pixels does not
survive this; structure that a person would recognize does. The adjoint maps the gradient with
respect to `seen` to the gradient with respect to x.

>>> dv.optimize(net, "pool10", 130, transforms=[jitter(0.07), scale(0.1), noise(4), my_function])

They are applied in the order of the list. Those below are values; they draw new random numbers at
each step, for each image from its seed alone:

================================  ============================================================
`jitter`                          translates
`scale`, `octaves`                scale, at random and in stages
`rotation`, `flip`                rotate and mirror
`random_resized_crop`             shows a crop at full size
`noise`                           adds gaussian noise
`coarse_to_fine`                  shows the image smaller at first; the last of a list
================================  ============================================================

All but the last two are affine maps with bilinear sampling, and consecutive ones are combined into
one: a rotation, scaling and mirroring about the image's center, and a translation. So their order
does not matter.

Any function of a torch tensor is also a transform, ``f(x) -> seen`` or ``f(x, t) -> seen``, on
either engine; autograd gives its adjoint. Functions may change the image's size, for example by
padding or cropping; after the last of several consecutive ones it is resized back.

With transforms, activations are those of `seen` and do not tell which x is best. So the latest x is
the result, and at the last step the net is shown x itself.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import EngineError, SettingsError
from deepvis_caffe.optimizer import ranges
from deepvis_caffe.optimizer.batch_info import BatchInfo
from deepvis_caffe.optimizer.value_records import in_words, name_of_callable
from deepvis_caffe.resources import pip_install

Adjoint = Callable[[Any], Any]
Shown = Callable[[Any, int], tuple[Any, Adjoint]]

# Streams of random numbers from a seed; the first image uses another one.
STREAM, FLIP_STREAM, CROP_STREAM, NOISE_STREAM = 1, 2, 3, 4


class Transform(abc.ABC):
    """A transform of what the net is shown."""

    @abc.abstractmethod
    def bind(self, info: BatchInfo) -> Shown:
        """The transform for a batch.

        Returns
        -------
        callable
            Maps x (N, C, H, W) and the step to what the net is shown, which has the same shape
            unless the transform is the last of a list, and the adjoint.
        """


def composed(transforms: Sequence[Transform | Callable[..., Any]], info: BatchInfo) -> Shown:
    """The transforms in sequence, and the image itself at the last step.

    Parameters
    ----------
    transforms
        Values of this module, and functions of torch tensors.
    info
        The batch.
    """
    for one in transforms[:-1]:
        if isinstance(one, coarse_to_fine):
            raise SettingsError(
                "coarse_to_fine must be the last of the transforms, as the others take images of "
                f"the input's size; got {in_words(tuple(transforms))}"
            )
    shown = list(_bound(transforms, info))
    last = info.steps - 1

    def show(x: Any, t: int) -> tuple[Any, Adjoint]:
        if not shown or t >= last:
            return x, _identity
        adjoints = []
        for one in shown:
            x, adjoint = one(x, t)
            adjoints.append(adjoint)
        return x, lambda gradient: _through(reversed(adjoints), gradient)

    return show


def _identity(gradient: Any) -> Any:
    return gradient


def _through(adjoints: Iterable[Adjoint], gradient: Any) -> Any:
    for adjoint in adjoints:
        gradient = adjoint(gradient)
    return gradient


def _bound(
    transforms: Sequence[Transform | Callable[..., Any]], info: BatchInfo
) -> Iterable[Shown]:
    """Each bound to the batch; consecutive affine ones as one warp, functions likewise."""
    before: dict[type, int] = {}
    numbered: list[tuple[Any, BatchInfo]] = []
    for one in transforms:
        repeats = before.get(type(one), 0)
        before[type(one)] = repeats + 1
        numbered.append((one, replace(info, repeats=repeats)))
    for kind, pairs in groupby(numbered, key=lambda pair: _kind(pair[0])):
        if kind is _Affine:
            yield _warp(info, affine_maps([one.move(its_info) for one, its_info in pairs], info))
        elif kind is Transform:
            yield from (one.bind(its_info) for one, its_info in pairs)
        else:
            yield _by_autograd([function for function, _ in pairs])


def _kind(transform: Any) -> type:
    if isinstance(transform, _Affine):
        return _Affine
    return Transform if isinstance(transform, Transform) else object


def _warp(info: BatchInfo, affines: NDArray[np.float64]) -> Shown:
    return info.ops.warps(affines, info.height, info.width)


# -- affine maps ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Move:
    """How an affine transform moves each image at each step.

    Attributes
    ----------
    angle
        (steps, N), rotation about the center, in radians.
    zoom
        (steps, N), magnification of the image.
    mirror
        (steps, N), -1 to swap left and right.
    shift
        (steps, N, 2), rows and columns by which the image moves up and left.
    """

    angle: Any = 0.0
    zoom: Any = 1.0
    mirror: Any = 1.0
    shift: Any = 0.0


def affine_maps(moves: Iterable[Move], info: BatchInfo) -> NDArray[np.float64]:
    """The affine map of each step and image, (steps, N, 2, 3), for `ArrayOps.warps`."""
    angle, zoom, mirror = (np.full((info.steps, len(info.seeds)), start) for start in (0.0, 1, 1))
    shift = np.zeros((*angle.shape, 2))
    for move in moves:
        angle = angle + move.angle
        zoom = zoom * move.zoom
        mirror = mirror * move.mirror
        shift = shift + move.shift
    turn = np.array(
        [[np.cos(angle), -np.sin(angle) * mirror], [np.sin(angle), np.cos(angle) * mirror]]
    )
    turn = np.moveaxis(turn, (0, 1), (-2, -1)) / zoom[..., None, None]
    middle = (np.array([info.height, info.width]) - 1) / 2
    origin = middle + shift - turn @ middle
    return np.concatenate([turn, origin[..., None]], axis=-1)


class _Affine(Transform):
    """A transform that combines with adjacent ones into one warp."""

    @abc.abstractmethod
    def move(self, info: BatchInfo) -> Move:
        """How it moves the images of a batch."""

    def bind(self, info: BatchInfo) -> Shown:
        """The warp of this transform alone."""
        return _warp(info, affine_maps([self.move(info)], info))


def _draws(info: BatchInfo) -> NDArray[np.float64]:
    """Random numbers for the rotation, the scale, and the shift of rows and columns."""
    return info.uniform(STREAM, 4)


@dataclass(frozen=True)
class jitter(_Affine):
    """Translate by up to a fraction of each side, uniformly.

    Parameters
    ----------
    fraction
        At least 0 and less than 1.
    """

    fraction: float

    def __post_init__(self) -> None:
        ranges.expect(self, fraction=ranges.fraction(self.fraction))

    def move(self, info: BatchInfo) -> Move:
        """How it moves the images."""
        size = np.array([info.height, info.width])
        return Move(shift=self.fraction * size * _draws(info)[..., 2:])


@dataclass(frozen=True)
class scale(_Affine):
    """Scale by a factor between ``1 / (1 + by)`` and ``1 + by``, uniform in its logarithm.

    Parameters
    ----------
    by
        From 0 to 3.
    """

    by: float

    def __post_init__(self) -> None:
        ranges.expect(self, by=ranges.between(self.by, 0, 3))

    def move(self, info: BatchInfo) -> Move:
        """How it moves the images."""
        return Move(zoom=(1 + self.by) ** _draws(info)[..., 1])


@dataclass(frozen=True)
class rotation(_Affine):
    """Rotate about the center by up to a number of degrees, uniformly.

    Parameters
    ----------
    degrees
        From 0 to 180.
    """

    degrees: float

    def __post_init__(self) -> None:
        ranges.expect(self, degrees=ranges.between(self.degrees, 0, 180))

    def move(self, info: BatchInfo) -> Move:
        """How it moves the images."""
        return Move(angle=np.radians(self.degrees) * _draws(info)[..., 0])


@dataclass(frozen=True)
class octaves(_Affine):
    """Divide the run into equal parts, each of which shows the net a larger image.

    Parameters
    ----------
    count
        Number of parts, from 1 to 16. The last one shows the image at its own size.
    factor
        From 1 to 4: the factor between consecutive parts' sizes.
    """

    count: int
    factor: float = 1.4

    def __post_init__(self) -> None:
        ranges.expect(
            self, count=ranges.whole(self.count, 1, 16), factor=ranges.between(self.factor, 1, 4)
        )

    def move(self, info: BatchInfo) -> Move:
        """How it moves the images."""
        octave = np.arange(info.steps) * self.count // info.steps
        return Move(zoom=(self.factor ** (octave - (self.count - 1.0)))[:, None])


@dataclass(frozen=True)
class flip(_Affine):
    """Mirror the image left to right, half of the time."""

    def move(self, info: BatchInfo) -> Move:
        """How it moves the images."""
        return Move(mirror=np.where(info.uniform(FLIP_STREAM, 1)[..., 0] < 0, -1.0, 1.0))


@dataclass(frozen=True)
class random_resized_crop(_Affine):
    """Show a random crop of the image at full size.

    Parameters
    ----------
    smallest, largest
        Range of the crop's sides as a fraction of the image's, drawn uniformly; more than 0 and at
        most 1.
    """

    smallest: float
    largest: float = 1.0

    def __post_init__(self) -> None:
        fits = 0 < self.smallest <= self.largest <= 1
        what = f"more than 0 and at most largest, which is {self.largest!r} and at most 1"
        ranges.expect(self, smallest=(fits, what))

    def move(self, info: BatchInfo) -> Move:
        """How it moves the images."""
        draws = info.uniform(CROP_STREAM, 3)
        side = self.smallest + (self.largest - self.smallest) * (draws[..., 0] + 1) / 2
        room = (1 - side[..., None]) / 2 * np.array([info.height, info.width])
        return Move(zoom=1 / side, shift=room * draws[..., 1:])


# -- others --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class noise(Transform):
    """Add gaussian noise to each value.

    The numbers of a seed are the same in any batch. On a GPU they differ from those of a CPU, and
    may differ between kinds of GPUs and versions of PyTorch.

    Parameters
    ----------
    gray_levels
        Standard deviation, in gray levels of 255.
    """

    gray_levels: float

    def __post_init__(self) -> None:
        ranges.expect(self, gray_levels=ranges.between(self.gray_levels, 0, 255))

    def bind(self, info: BatchInfo) -> Shown:
        """The transform for a batch."""
        draw = info.ops.normals([(NOISE_STREAM, seed, info.repeats) for seed in info.seeds])
        size = float(self.gray_levels * info.pixel_scale)

        def show(x: Any, t: int) -> tuple[Any, Adjoint]:
            return x + size * draw(tuple(x.shape[1:])), _identity

        return show


@dataclass(frozen=True)
class coarse_to_fine(Transform):
    """Show a smaller image in the first part of the run, and the full size in the rest.

    A net that averages over its last map favors as many objects as fit. In a small image there is
    room for only one; at full size the rest of the run adds detail. The smaller steps also cost
    less. If the net takes images of one size only, as below an InnerProduct, or if only a part of
    the image runs, the image is never resized.

    Parameters
    ----------
    size
        Sides of the smaller image, as a fraction of the image's; more than 0 and at most 1.
    part
        Fraction of the steps that show it, from 0 to 1.
    """

    size: float
    part: float = 0.7

    def __post_init__(self) -> None:
        fits = ranges.between(self.size, 0, 1)[0] and self.size > 0
        ranges.expect(
            self,
            size=(fits, "a fraction of the size, more than 0 and at most 1"),
            part=ranges.between(self.part, 0, 1),
        )

    def bind(self, info: BatchInfo) -> Shown:
        """The transform for a batch."""
        size = max(1, round(info.height * self.size)), max(1, round(info.width * self.size))
        if size == (info.height, info.width) or not info.takes_size(size):
            return lambda x, t: (x, _identity)
        # 4 axes: with 2, torch merges all images into one product, whose rounding depends on N.
        rows = info.ops.asarray(shrinking(info.height, size[0]))[None, None]
        columns = info.ops.asarray(shrinking(info.width, size[1]).T)[None, None]
        rows_back, columns_back = rows.swapaxes(2, 3), columns.swapaxes(2, 3)
        until = self.part * info.steps

        def show(x: Any, t: int) -> tuple[Any, Adjoint]:
            if t >= until:
                return x, _identity
            return rows @ x @ columns, lambda gradient: rows_back @ gradient @ columns_back

        return show


def shrinking(size: int, to: int) -> NDArray[np.float64]:
    """The (to, size) matrix that downsamples a row of `size` pixels without aliasing.

    Linear interpolation with the triangle filter scaled to the result's pixels, as in
    ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)``.
    """
    scale = size / to
    at = (np.arange(to)[:, None] + 0.5) * scale - 0.5
    weights = np.maximum(0, 1 - abs(np.arange(size)[None] - at) / max(scale, 1))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)


def _by_autograd(functions: Sequence[Callable[..., Any]]) -> Shown:
    """Consecutive functions of torch tensors, and their adjoint by autograd, on engine arrays.

    The last result is resized to the image's own size, the only one that the net takes.
    """
    names = [name_of_callable(function) for function in functions]
    try:
        import torch
    except ImportError as error:
        raise EngineError(
            f"transform {names[0]} is a function of torch tensors, and PyTorch is not installed; "
            f"install it with: {pip_install('torch')}"
        ) from error
    steps = [_takes_step(function) for function in functions]

    def show(x: Any, t: int) -> tuple[Any, Adjoint]:
        from_numpy = isinstance(x, np.ndarray)
        with torch.enable_grad():
            own = (torch.from_numpy(x) if from_numpy else x).detach().requires_grad_()
            seen = own.clone()  # functions may write into it
            for function, name, takes_step in zip(functions, names, steps, strict=True):
                before, seen = seen, function(seen, t) if takes_step else function(seen)
                _check_shown(seen, before, name)
            if seen.shape != own.shape:
                seen = torch.nn.functional.interpolate(
                    seen, own.shape[2:], mode="bilinear", align_corners=False
                )
            seen = seen.to(torch.float32)
        shown = seen.detach().contiguous()

        def adjoint(gradient: Any) -> Any:
            given = torch.from_numpy(gradient) if from_numpy else gradient
            (back,) = torch.autograd.grad(seen, own, given, allow_unused=True)
            if back is None:
                raise _without_gradient(", ".join(names))
            return back.numpy() if from_numpy else back

        return (shown.numpy() if from_numpy else shown), adjoint

    return show


def _takes_step(function: Callable[..., Any]) -> bool:
    """Whether a function also takes the step: as a second required argument, or one named ``t``."""
    try:
        named = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C
        return False
    by_place = [
        one for one in named if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    second = by_place[1] if len(by_place) > 1 else None
    return second is not None and (second.default is second.empty or second.name == "t")


def _check_shown(seen: Any, x: Any, name: str) -> None:
    """Raise if a function's result is not a batch of images that depends on `x`."""
    import torch

    count, channels = x.shape[:2]
    if not isinstance(seen, torch.Tensor):
        raise SettingsError(
            f"transform {name} returned {type(seen).__name__}; expected a torch tensor of shape "
            f"({count}, {channels}, height, width)"
        )
    if seen.ndim != 4 or seen.shape[:2] != x.shape[:2] or not seen.numel():
        raise SettingsError(
            f"transform {name} returned shape {tuple(seen.shape)} for images of shape "
            f"{tuple(x.shape)}; expected ({count}, {channels}, height, width)"
        )
    if not seen.requires_grad:
        raise _without_gradient(name)


def _without_gradient(name: str) -> SettingsError:
    return SettingsError(
        f"transform {name} returned a tensor without a gradient with respect to the image: it was "
        "detached, or made without the image; expected torch operations on the image alone"
    )


TRANSFORMS: dict[str, type[Transform]] = {
    one.__name__: one
    for one in (
        jitter,
        scale,
        rotation,
        octaves,
        flip,
        random_resized_crop,
        noise,
        coarse_to_fine,
    )
}

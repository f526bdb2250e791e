"""Layer type -> shape rule: ``(param, bottom shapes) -> (top shapes, weight shapes)``.

A rule is for one layer type and independent of the net. It raises `ModelError` with the reason;
:func:`infer <deepvis_caffe.model.shapes.infer>` adds the layer and its bottoms. Caffe has the same
checks, but aborts the process if one fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.schema_pb2 import LayerParameter

Shape = tuple[int, ...]


class Outcome(NamedTuple):
    """The shapes of a layer's tops and of its weights, in order."""

    tops: Sequence[Shape]
    weights: Sequence[Shape] = ()


Function = Callable[[LayerParameter, Sequence[Shape]], Outcome]


@dataclass(frozen=True)
class Rule:
    """A layer type's shape function, and the number of blobs that it reads and writes.

    Attributes
    ----------
    function
        Called after the numbers of bottoms and tops were checked.
    bottoms, tops
        Minimum and maximum number; None for no limit.
    in_place
        Whether Caffe allows the layer to work in place.
    """

    function: Function
    bottoms: tuple[int, int | None]
    tops: tuple[int, int | None]
    in_place: bool

    def __call__(self, param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
        """Check the counts, then apply the function."""
        _check_count("bottom", len(param.bottom), self.bottoms)
        _check_count("top", len(param.top), self.tops)
        if not self.in_place and set(param.top) & set(param.bottom):
            raise ModelError("cannot work in place; give its top a name of its own")
        return self.function(param, bottoms)


RULES: dict[str, Rule] = {}


def rule(
    *types: str,
    bottoms: tuple[int, int | None] = (1, 1),
    tops: tuple[int, int | None] = (1, 1),
    in_place: bool = True,
) -> Callable[[Function], Function]:
    """Register a function as the shape rule of layer types, each of which may have only one."""

    def register(function: Function) -> Function:
        for kind in types:
            if kind in RULES:
                raise ValueError(f"layer type {kind!r} has a shape rule already")
            RULES[kind] = Rule(function, bottoms, tops, in_place)
        return function

    return register


def require(holds: bool, message: str) -> None:
    """Raise `ModelError` with `message` unless `holds`."""
    if not holds:
        raise ModelError(message)


def canonical_axis(shape: Shape, axis: int, name: str = "axis") -> int:
    """`axis` as a nonnegative index; a negative one counts from the end, as in Python."""
    require(
        -len(shape) <= axis < len(shape),
        f"{name} {axis} is out of range for a bottom of {len(shape)} axes",
    )
    return axis % len(shape)


def legacy(shape: Shape) -> Shape:
    """`shape` with ones appended up to 4 axes, as Caffe's ``num()`` to ``width()`` read a blob."""
    require(len(shape) <= 4, f"takes bottoms of at most 4 axes, got {len(shape)}")
    return shape + (1,) * (4 - len(shape))


count = math.prod


def _check_count(what: str, got: int, limits: tuple[int, int | None]) -> None:
    least, most = limits
    if got < least or (most is not None and got > most):
        expected = f"{least}" if most == least else f"{least} or more"
        if most is not None and most != least:
            expected = f"{least} to {most}"
        raise ModelError(f"takes {expected} {what} blob(s), got {got}")

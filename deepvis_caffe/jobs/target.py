"""Layers whose units a job maximizes: ``(net, name, position) -> shape, index, what they see``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from deepvis_caffe.engines.base import Net
from deepvis_caffe.optimizer import Position
from deepvis_caffe.optimizer.objectives import (
    Target,
    check_targets,
    plain_position,
    resolve_position,
)
from deepvis_caffe.optimizer.shapes import unit_shape
from deepvis_caffe.results.records import Box


@dataclass(frozen=True)
class TargetLayer:
    """A layer whose units are maximized, with its shape and the position in it resolved.

    Attributes
    ----------
    name
        As for `optimize`.
    shape
        Without the batch axis.
    position
        As for `optimize`: ``"center"``, ``"all"`` or one index an axis.
    index
        What that is in this layer: one index an axis, or None for all positions.
    receptive_field
        The part of the image that a unit sees from there, (top, left, bottom, right) in pixels;
        None where that is unknown.
    """

    name: str
    shape: tuple[int, ...]
    position: Literal["center", "all"] | tuple[int, ...]
    index: tuple[int, ...] | None
    receptive_field: Box | None

    @classmethod
    def of(cls, net: Net, name: str, position: Position = "center") -> TargetLayer:
        """Resolve a layer of a net, and a position in it.

        Raises
        ------
        EngineError, SettingsError
            The layer cannot run, has no gradient, no units, or not this position.
        """
        net.check_gradient(name)
        shape = unit_shape(net, name)
        index = resolve_position(position, shape, name)
        field = net.model.receptive_fields.get(net.model.graph.gradient_start(name))
        seen = None
        if field is not None and index is not None and len(index) == 2:
            rows, columns = field.window(*index)
            seen = rows.start, columns.start, rows.stop, columns.stop
        return cls(name, shape, plain_position(position), index, seen)

    @property
    def count(self) -> int:
        """Number of units."""
        return self.shape[0] if self.shape else 1

    def check(self, targets: Iterable[Any]) -> list[Target]:
        """`targets` in Python's own types; `SettingsError` where the layer has no such one."""
        return check_targets(targets, self.shape, self.name)
